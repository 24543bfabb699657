"""`fit_together`: trainings that differ by seed only, in one loop, for networks too small to fill a machine.

A step of such a network costs mostly the calls that make it up, not their arithmetic. Here the trainings, called
lanes, share every call: a batch holds the rows of all lanes, the networks are one stacked network, the objective is
called once with a value per row, and one optimizer steps all weights. A lane's gradient is exactly that of its own
mean loss, since no row's loss depends on another row. The numbers are those of `fit` to float tolerance.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from drkd.checkpoint import Done, State
from drkd.checks import check_positive
from drkd.data.datasets import Data
from drkd.data.lanes import LanesLoader
from drkd.data.loader import Batch, Loader
from drkd.errors import InputError, NonFiniteLossError
from drkd.loop import Row, Select, one_by_one, run_epochs
from drkd.objective import Objective
from drkd.schedules import STEP_GAMMA, STEP_MILESTONES, learning_rate
from drkd.stacked import StackedNetwork
from drkd.step import Watch, make_optimizer, take_step
from drkd.targets import Memory


def fit_together(
    students: StackedNetwork,
    objective: Objective,
    data: Sequence[Data],
    *,
    seeds: Sequence[int],
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
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    select: Select = "best",
    outs: Sequence[Path] = (),
    checkpoints: Path | None = None,
    checkpoint_every: str | int = "epoch",
    on_epoch: Callable[[int, Row], None] | None = None,
) -> list[Done]:
    """Train lane s of `students` on `data[s].train` with `seeds[s]`, all lanes at once; otherwise as `drkd.fit` does.

    Args:
        students: trained in place, and left with each lane's selected weights, in eval mode.
        objective: with `reduction="none"` and independent rows; its teachers see the rows of all lanes.
        data: of each lane, fit to be served together (`drkd.data.lanes.misfit`).
        seeds: of each lane; they fix order and augmentation.
        epochs, batch_size, lr, optimizer, momentum, weight_decay: see `drkd.fit`; `batch_size` is a lane's.
        schedule, milestones, gamma, warmup_epochs, device, precision, select: see `drkd.fit`.
        outs: the lanes' run directories, for `metrics.csv` and `timing.csv`: written with a checkpoint and at the end.
        checkpoints: folder for checkpoints of all lanes together; a training goes on from the last one in it.
        checkpoint_every: see `drkd.fit`.
        on_epoch: called with a lane and its new row.

    Returns:
        How each lane went; `seconds` are a lane's share of the time.

    Raises:
        InputError: for an objective or data that cannot be shared.
        NonFiniteLossError: when the loss of any lane becomes NaN or infinite.

    Example:
        >>> import drkd
        >>> data = [drkd.load_data("digits", limit_train=100, seed=seed) for seed in (0, 1)]
        >>> networks = [drkd.create_model("mlp", num_classes=10, image_size=8, channels=1) for _ in data]
        >>> stacked = StackedNetwork(networks)
        >>> done = fit_together(stacked, drkd.label_smoothing(0.1, reduction="none"), data, seeds=(0, 1), epochs=2)
        >>> [list(lane.history[-1])[:5] for lane in done]
        [['epoch', 'lr', 'loss', 'ce', 'smoothing'], ['epoch', 'lr', 'loss', 'ce', 'smoothing']]
        >>> stacked.copy_to(networks)
    """
    for name, value in (("epochs", epochs), ("lr", lr)):
        check_positive(name, value)
    if not objective.independent_rows or objective.reduction != "none":
        raise InputError(
            f"`{objective.name}` cannot be shared by lanes: its rows must be independent, its reduction none"
        )
    place = torch.device(device)
    students.to(place)
    objective.to(place)
    lanes = len(seeds)
    served: dict[str, Any] = {"seeds": seeds, "device": place}
    loader = LanesLoader(data, [lane.train for lane in data], batch_size=batch_size, training=True, **served)
    rest = [lane.val for lane in data]
    validation = LanesLoader(data, rest, batch_size=max(512, batch_size), training=False, **served)
    if objective.needs - Loader.provides:
        missing = ", ".join(sorted(objective.needs - Loader.provides))
        raise InputError(f"`{objective.name}` needs {missing}, which the loader does not give")
    for part in objective.modules():
        if isinstance(part, Memory):
            part.size = lanes * loader.samples  # so that it need not look at every index
    scaler = torch.amp.GradScaler(place.type, enabled=False)
    state = State(students, objective, make_optimizer(optimizer, students, lr, momentum, weight_decay), scaler)
    if checkpoints is not None:
        state.restore(checkpoints)
    watch = Watch(objective.name, place)
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
    metric = "val_accuracy" if select == "best" and validation.samples else None

    def step(batch: Batch) -> bool:
        losses, logits, stepped = take_step(students, state, batch, rate(state.done.step), precision, None, watch)
        _accumulate(state.sums, losses, logits.argmax(dim=1) == batch.labels, lanes)
        return stepped

    def measure(epoch: int) -> list[Row]:
        means, measured = _means(state.sums), _validate(students, validation, lanes)
        common = {"epoch": epoch, "lr": rate(state.done.step - 1)}
        return [{**common, **means[lane], **measured[lane]} for lane in range(lanes)]

    run_epochs(
        state,
        loader,
        epochs=epochs,
        step=step,
        measure=measure,
        metric=metric,
        watch=watch,
        outs=outs,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        on_epoch=on_epoch,
    )
    students.load_state_dict(state.best)
    students.eval()
    return one_by_one(state.done, lanes, metric)


def _accumulate(sums: dict[str, Tensor], losses: dict[str, Tensor], right: Tensor, lanes: int) -> None:
    """Add a batch to the epoch's sums, a number per lane, on the device."""
    values = {**{name: value.detach() for name, value in losses.items()}, "train_accuracy": right}
    values["rows"] = torch.ones_like(right)
    added = torch.stack([value.double() for value in values.values()]).view(len(values), lanes, -1).sum(dim=2)
    for name, value in zip(values, added, strict=True):
        sums[name] = sums[name] + value if name in sums else value


def _means(sums: dict[str, Tensor]) -> list[Row]:
    """The sums over their rows, for each lane."""
    names = [name for name in sums if name != "rows"]
    means = torch.stack([sums[name] / sums["rows"] for name in names], dim=1).tolist()
    return [dict(zip(names, of_lane, strict=True)) for of_lane in means]


@torch.no_grad()
def _validate(students: StackedNetwork, validation: LanesLoader, lanes: int) -> list[Row]:
    """Accuracy and NLL of each lane on its own validation split."""
    if not validation.samples:
        return [{} for _ in range(lanes)]
    students.eval()
    right, nll = torch.zeros(2, lanes, dtype=torch.float64, device=validation.device)
    for batch in validation.batches():
        log_probs = students(batch.inputs).double().log_softmax(dim=1)
        right += (log_probs.argmax(dim=1) == batch.labels).view(lanes, -1).sum(dim=1)
        nll += F.nll_loss(log_probs, batch.labels, reduction="none").view(lanes, -1).sum(dim=1)
    if not nll.isfinite().all():
        raise NonFiniteLossError("a network answers NaN or infinite logits: it has diverged; lower the learning rate")
    accuracies, nlls = (right / validation.samples).tolist(), (nll / validation.samples).tolist()
    return [{"val_accuracy": a, "val_nll": n} for a, n in zip(accuracies, nlls, strict=True)]
