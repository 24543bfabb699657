"""`fit_detector`: one detector, one objective; `drkd.training.fit.fit` for images with boxes.

A batch goes through `drkd.training.loop`, as for classifiers: loader -> the detector's own training step, its class loss by the
objective -> optimizer -> update. After each epoch the validation split is measured.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from drkd.objective.objective import Objective
from drkd.objective.schedules import STEP_GAMMA, STEP_MILESTONES, learning_rate
from drkd.tasks.detection.batches import DetectionBatch, DetectionLoader
from drkd.tasks.detection.losses import detector_losses
from drkd.tasks.detection.metrics import evaluate_detector
from drkd.tasks.detection.splits import DetectionData
from drkd.training.checkpoint import TrainResult, TrainState
from drkd.training.loop import Row, Select, one_by_one, run_epochs, warn_if_nothing_was_rectified
from drkd.training.step import NonFiniteGuard, make_optimizer
from drkd.utils.checks import check_positive


def fit_detector(
    student: nn.Module,
    objective: Objective,
    data: DetectionData,
    *,
    epochs: int = 30,
    batch_size: int = 16,
    lr: float = 0.02,
    optimizer: Literal["sgd", "adamw"] = "sgd",
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    schedule: Literal["step", "cosine", "constant"] = "cosine",
    milestones: Sequence[float] = STEP_MILESTONES,
    gamma: float = STEP_GAMMA,
    warmup_epochs: float = 0.0,
    clip_norm: float | None = None,
    device: str = "cpu",
    seed: int = 0,
    select: Select = "best",
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: str | int = "epoch",
    on_epoch: Callable[[Row], None] | None = None,
) -> TrainResult:
    """Train `student` on `data.train`; keep the epoch with the highest mAP on `data.val`, or the last one.

    The test split is never touched. With the same settings two runs are bitwise equal on the CPU, and so is a resumed
    one.

    Args:
        student: torchvision's Faster R-CNN, SSD or RetinaNet, trained in place, and left in eval mode with its
            selected weights.
        objective: any method without `pairs` or `replay`; its teacher is an `AtPositions`.
        data: see `drkd.tasks.detection.load_detection`.
        seed: fixes order, mirroring and the sampling of proposals.
        select: `best` keeps the epoch with the highest mAP on the validation split, `last` the last one.
        out, resume, checkpoint_every, on_epoch: see `drkd.fit`, and so are the rest.

    Returns:
        How it went. A row of `history` has the `epoch`, `lr`, the mean over images of the whole `loss`, of
        torchvision's losses and of the objective's parts, and where there is a validation split `val_map`, `val_map50`
        and `val_ar`; `best_epoch` is the last of those with the highest `val_map`, or the last of all.

    Raises:
        InputError: for settings that do not fit each other.
        NonFiniteLossError: when a loss becomes NaN or infinite.

    Example:
        >>> from drkd import cross_entropy
        >>> from drkd.tasks.detection import DetectionSplit, create_detector
        >>> box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> split = DetectionSplit.of([torch.zeros(3, 48, 64, dtype=torch.uint8)] * 4, [box] * 4)
        >>> data = DetectionData("made up", ("cell",), 64, train=split, val=split, test=split)
        >>> student = create_detector("small_ssd", num_classes=1, image_size=64)
        >>> done = fit_detector(student, cross_entropy(), data, epochs=1, batch_size=2)
        >>> list(done.history[0])
        ['epoch', 'lr', 'loss', 'bbox_regression', 'classification', 'ce', 'val_map', 'val_map50', 'val_ar']
    """
    for name, value in (("epochs", epochs), ("lr", lr), ("clip_norm", 1.0 if clip_norm is None else clip_norm)):
        check_positive(name, value)
    path = torch.device(device)
    torch.manual_seed(seed)
    student.to(path)
    objective.to(path)
    loader = DetectionLoader(data, data.train, batch_size=batch_size, training=True, seed=seed, device=path)
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    scaler = torch.amp.GradScaler(path.type, enabled=False)
    state = TrainState(student, objective, make_optimizer(optimizer, student, lr, momentum, weight_decay), scaler)
    if resume and folder is not None:
        state.restore(folder / "checkpoints")
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
    metric = "val_map" if select == "best" and len(data.val) else None

    def step(batch: DetectionBatch) -> bool:
        values = _take_step(state, batch, rate(state.done.step), clip_norm, watch)
        _accumulate(state.sums, values, len(batch.images))
        return True

    def measure(epoch: int) -> list[Row]:
        row = {"epoch": epoch, "lr": rate(state.done.step - 1), **_means(state.sums)}
        return [{**row, **_validate(student, data)}]

    run_epochs(
        state,
        loader,
        epochs=epochs,
        step=step,
        measure=measure,
        metric=metric,
        watch=watch,
        outs=[] if folder is None else [folder],
        checkpoints=None if folder is None else folder / "checkpoints",
        checkpoint_every=checkpoint_every,
        on_epoch=None if on_epoch is None else lambda _, row: on_epoch(row),
    )
    student.load_state_dict(state.best)
    student.eval()
    objective.eval()
    warn_if_nothing_was_rectified(objective.name, state.done.history)
    return one_by_one(state.done, 1, metric)[0]


def _take_step(
    state: TrainState, batch: DetectionBatch, rate: float, clip_norm: float | None, watch: NonFiniteGuard
) -> dict[str, Tensor]:
    """One optimizer step; all losses and parts, detached."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    with watch.at_step(state.done.step):
        losses, parts = detector_losses(state.student, batch.images, batch.targets, state.objective, index=batch.index)
    loss = torch.stack(list(losses.values())).sum()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(state.student.parameters(), clip_norm)
    watch.guard(state, loss)
    state.optimizer.step()
    return {name: value.detach() for name, value in {"loss": loss, **losses, **parts}.items()}


def _accumulate(sums: dict[str, Tensor], values: dict[str, Tensor], images: int) -> None:
    weighted = {name: value.double() * images for name, value in values.items()}
    weighted["images"] = torch.tensor(float(images), dtype=torch.float64)
    for name, value in weighted.items():
        sums[name] = sums[name] + value if name in sums else value


def _means(sums: dict[str, Tensor]) -> Row:
    images = float(sums["images"])
    return {name: float(total) / images for name, total in sums.items() if name != "images"}


def _validate(student: nn.Module, data: DetectionData) -> Row:
    if not len(data.val):
        return {}
    measured = evaluate_detector(student, data, "val")
    return {"val_map": measured.map, "val_map50": measured.map50, "val_ar": measured.ar}
