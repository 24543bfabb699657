"""`fit`: one network, one objective, one training to read from top to bottom.

What is trained is put together here. A batch then goes through `drkd.training.loop`: loader -> student -> objective (whose
targets ask the teacher) -> optimizer -> `objective.update`. After each epoch the validation split is measured, a row is
written, and a checkpoint when one is due.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from drkd.data.datasets import Data
from drkd.data.loader import Batch, Loader
from drkd.objective.objective import Objective
from drkd.objective.schedules import STEP_GAMMA, STEP_MILESTONES, learning_rate
from drkd.training.checkpoint import TrainResult, TrainState
from drkd.training.compilation import Compile, Compiled, MemoryFormat, choose_memory_format, to_compile
from drkd.training.loop import Row, Select, one_by_one, run_epochs, warn_if_nothing_was_rectified
from drkd.training.metrics import measure, predict_logits
from drkd.training.step import NonFiniteGuard, make_optimizer, take_step
from drkd.utils.checks import IGNORED, check_positive
from drkd.utils.distributed import add_up, from_rank_0, rank, world_size
from drkd.utils.errors import InputError


def fit(
    student: nn.Module,
    objective: Objective,
    data: Data,
    *,
    epochs: int = 30,
    batch_size: int = 128,
    lr: float = 0.1,
    optimizer: Literal["sgd", "adamw"] = "sgd",
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    schedule: Literal["step", "cosine", "constant"] = "step",
    milestones: Sequence[float] = STEP_MILESTONES,
    gamma: float = STEP_GAMMA,
    warmup_epochs: float = 0.0,
    clip_norm: float | None = None,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    memory_format: MemoryFormat = "auto",
    compile: Compile = "auto",
    seed: int = 0,
    select: Select = "best",
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: str | int = "epoch",
    on_epoch: Callable[[Row], None] | None = None,
) -> TrainResult:
    """Train `student` on `data.train` with `objective`; keep the epoch that is best on `data.val`, or the last one.

    The test split is never touched. With the same settings two runs are bitwise equal on the CPU, and so is a resumed
    one. Under `torchrun` the batch is shared among the ranks.

    Args:
        student: trained in place, and left in eval mode with its selected weights, the last where `data.val` is empty.
        objective: any object with the protocol of `drkd.objective.objective`.
        data: see `drkd.load_data`.
        epochs, batch_size, lr: `batch_size` counts samples over all ranks.
        optimizer: `sgd` with `momentum`, or `adamw`; both with `weight_decay`.
        schedule, milestones, gamma, warmup_epochs: see `drkd.objective.schedules.learning_rate`.
        clip_norm: largest norm of the whole gradient, None for no clipping.
        device, precision: where, and in which type autocast computes.
        memory_format, compile: see `drkd.training.compilation`; the student is left in the usual memory format.
        seed: fixes order, augmentation and dropout.
        select: `best` keeps the epoch with the highest validation accuracy, `last` the last one.
        workers: see `drkd.data.loader.Loader`.
        out: a run directory for `metrics.csv`, `timing.csv` and checkpoints; nothing is written without.
        resume: go on from the last checkpoint in `out`, where there is one.
        checkpoint_every: `epoch`, a number of optimizer steps, or seconds such as `30s`.
        on_epoch: called with each new row, before a checkpoint is written.

    Returns:
        How it went. A row of `history` has the `epoch` (from 0), `lr`, the mean of every part of the loss,
        `train_accuracy` on the augmented images as trained on, `val_accuracy` and `val_nll` where there is a
        validation split; `best_epoch` is the selected one, the last of those with the highest validation accuracy,
        or the last of all.

    Raises:
        InputError: for settings that do not fit each other.
        NonFiniteLossError: when a loss becomes NaN or infinite; names the step, the method and the part.

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits", limit_train=100)
        >>> student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> done = drkd.fit(student, drkd.label_smoothing(0.1), data, epochs=2)
        >>> list(done.history[-1])[:5]
        ['epoch', 'lr', 'loss', 'ce', 'smoothing']
    """
    for name, value in (("epochs", epochs), ("lr", lr), ("clip_norm", 1.0 if clip_norm is None else clip_norm)):
        check_positive(name, value)
    path = torch.device(device)
    torch.manual_seed(seed)
    layout = choose_memory_format(memory_format, student)
    student.to(path).to(memory_format=layout)
    objective.to(path).to(memory_format=layout)
    ours: dict[str, Any] = {"needs": objective.needs, "rank": rank(), "world_size": world_size(), "seed": seed}
    loader = Loader(data, data.train, batch_size=batch_size, training=True, device=path, workers=workers, **ours)
    unchanged: dict[str, Any] = {"batch_size": max(512, batch_size), "training": False, "device": path}
    validation = Loader(data, data.val, workers=workers, **unchanged)
    if objective.needs - loader.provides:
        missing = ", ".join(sorted(objective.needs - loader.provides))
        raise InputError(f"`{objective.name}` needs {missing}, which the loader does not give")
    objective.prepare(Loader(data, data.train, workers=workers, **unchanged))
    folder = None if out is None or rank() else Path(out)  # rank 0 alone writes
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    scaler = torch.amp.GradScaler(path.type, enabled=precision == "float16")
    state = TrainState(student, objective, make_optimizer(optimizer, student, lr, momentum, weight_decay), scaler)
    model: Callable[[Tensor], Tensor] = DistributedDataParallel(student) if world_size() > 1 else student
    shape = tuple(data.train.inputs.shape[1:])
    if to_compile(compile, student, shape, images=epochs * len(data.train), device=path):
        model = Compiled(model, loader.rows, required=compile == "on")
    if resume and out is not None:
        state.restore(Path(out) / "checkpoints")
    watch = NonFiniteGuard(objective.name, path)
    rate = partial(
        learning_rate,
        lr=lr,
        steps_per_epoch=len(loader),
        epochs=epochs,
        schedule=schedule,
        milestones=milestones,
        gamma=gamma,
        warmup_epochs=warmup_epochs,
    )
    metric = "val_accuracy" if select == "best" and len(data.val) else None

    def step(batch: Batch) -> bool:
        now = rate(state.done.step)
        losses, logits, stepped = take_step(model, state, batch, now, precision, clip_norm, watch)
        _accumulate(state.sums, losses, logits, batch.labels)
        return stepped

    def measured(epoch: int) -> list[Row]:
        row = {"epoch": epoch, "lr": rate(state.done.step - 1), **_means(state.sums)}
        return [{**row, **from_rank_0(_validate(student, validation))}]

    run_epochs(
        state,
        loader,
        epochs=epochs,
        step=step,
        measure=measured,
        metric=metric,
        watch=watch,
        outs=[] if folder is None else [folder],
        checkpoints=None if folder is None else folder / "checkpoints",
        checkpoint_every=checkpoint_every,
        on_epoch=None if on_epoch is None else lambda _, row: on_epoch(row),
    )
    student.load_state_dict(state.best)
    student.to(memory_format=torch.contiguous_format).eval()
    warn_if_nothing_was_rectified(objective.name, state.done.history)
    return one_by_one(state.done, 1, metric)[0]


def _accumulate(sums: dict[str, Tensor], losses: dict[str, Tensor], logits: Tensor, labels: Tensor) -> None:
    """Add a batch to the epoch's sums, on the device."""
    rows = (labels != IGNORED).sum().double()
    values = {name: value.detach().double() * rows for name, value in losses.items()}
    values["train_accuracy"] = (logits.argmax(dim=1) == labels).sum().double()
    values["rows"] = rows
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value


def _means(sums: dict[str, Tensor]) -> Row:
    """The sums of all ranks over their rows."""
    totals = dict(zip(sums, add_up(torch.stack(list(sums.values()))).tolist(), strict=True))
    rows = totals.pop("rows")
    return {name: total / rows for name, total in totals.items()}


def _validate(student: nn.Module, validation: Loader) -> Row:
    if not len(validation.split):
        return {}
    measured = measure(*predict_logits(student, validation))
    return {"val_accuracy": measured.accuracy, "val_nll": measured.nll}
