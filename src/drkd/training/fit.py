"""`fit`: one network, one objective, one training.

What is trained is put together here, and then goes through the loop of `drkd.training.loop`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from drkd.config import FitSettings, validated
from drkd.config.effects import refuse_without_effect
from drkd.config.keywords import FitKeywords
from drkd.data.given import as_trainable
from drkd.data.record import DataRecord
from drkd.objective.objective import Objective
from drkd.objective.protocol import check_protocol
from drkd.training.averaging import make_average
from drkd.training.checkpoint import TrainResult, TrainState
from drkd.training.classifier import ClassifierLearner
from drkd.training.freezing import Freezing
from drkd.training.learner import Learner
from drkd.training.loop import Row, run_epochs, warn_if_nothing_was_rectified
from drkd.training.optimizer import make_optimizer
from drkd.training.step import Stepper
from drkd.training.trackers import check_trackers, tracked_run
from drkd.utils.arguments import check_arguments
from drkd.utils.device import choose_device
from drkd.utils.distributed import rank
from drkd.utils.errors import InputError


def fit(
    student: nn.Module,
    objective: Objective,
    data: Any,
    *,
    settings: FitSettings | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    **options: Unpack[FitKeywords],
) -> TrainResult:
    """Train `student` on `data.train` with `objective`; keep the epoch that is best on `data.val`, or the last one.

    The test split is never touched. With the same settings two runs are bitwise equal on the CPU, and so is a resumed
    one. Under `torchrun` the batch is shared among the ranks.

    Args:
        student: trained in place. It ends in eval mode with its selected weights, the last ones if `data.val` is empty.
            With `average` these are averages (`drkd.training.averaging`).
        objective: any object with the protocol of `drkd.objective.objective`. It forgets earlier trainings, unless this
            one resumes. For detectors, any method without `pairs` or `replay`; a detector that teaches is an
            `AtPositions`.
        data: see `drkd.load_data`, `drkd.from_tensors` and `drkd.tasks.detection.load_detection`; or whatever
            `drkd.as_data` takes, which splits it by `seed`.
        settings: all settings at once, such as the configuration of a run, instead of `options`.
        on_epoch: called with each new row, before a checkpoint is written; with `average` the student has the
            average's weights meanwhile.
        options: `epochs`, `lr` and so on, as on the command line; see `drkd.config.FitSettings`. `batch_size` counts
            samples over all ranks. `out` is a run directory for `metrics.csv`, `timing.csv` and checkpoints; without it
            nothing is written. Detectors have separate defaults (`drkd.config.DETECTION`).

    Returns:
        How it went. A row of `history` has the `epoch` (from 0), `lr`, the mean of every part of the loss, for
        classifiers `train_accuracy` on the augmented images as trained on, `val_accuracy` and `val_nll` where there is
        a validation split; for detectors torchvision's losses, `val_map`, `val_map50` and `val_ar`. `best_epoch` is the
        selected one: the last of those with the highest `val_accuracy` or `val_map`, or the last of all.

    Raises:
        InputError: for a plain loss instead of an objective, unknown settings, invalid values, and options without
            effect.
        NonFiniteLossError: if a loss becomes NaN or infinite; names the step, the method and the part.

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits", limit_train=100)
        >>> student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> result = drkd.fit(student, drkd.label_smoothing(0.1), data, epochs=2)
        >>> list(result.history[-1])[:5]
        ['epoch', 'lr', 'loss', 'ce', 'smoothing']
    """
    check_arguments(fit, {"settings": settings, "on_epoch": on_epoch})
    if not isinstance(student, nn.Module):
        raise InputError(f"fit needs a network, got {type(student).__name__}; make one with drkd.create_model")
    check_protocol(objective)
    data = as_trainable(data, options.get("seed", 0) if settings is None else settings.seed)
    learner_class = learner_type(data)
    if settings is not None and options:
        raise InputError(f"fit takes either settings or options, got both; put {', '.join(options)} into the settings")
    if settings is None:
        settings = validated(FitSettings, {**learner_class.defaults, **options})
        refuse_without_effect(settings, dict.fromkeys(options, "command line"), called=str)
    if settings.precision == "auto":
        raise InputError(
            "fit cannot choose a precision, because it may have no run directory to keep the choice in; give float32 "
            "or bfloat16, or train with `drkd train` or drkd.compare"
        )
    check_trackers(settings.log)
    stepper = assemble(student, objective, data, settings)
    state, learner = stepper.state, stepper.learner
    out = None if settings.out is None else Path(settings.out)
    if settings.resume and out is not None:
        state.restore(out / "checkpoints")
    if rank():
        out = None  # rank 0 alone writes
    elif out is not None:
        out.mkdir(parents=True, exist_ok=True)
    names = settings.log if rank() == 0 else ()
    with tracked_run(names, objective.name, out, settings.model_dump()) as trackers:

        def after_epoch(row: Row) -> None:
            trackers.epoch(row)
            if on_epoch is not None:
                on_epoch(row)

        try:
            run_epochs(state, stepper, settings, metric=learner.metric, out=out, on_epoch=after_epoch)
        finally:
            stepper.freezing.release()
    student.load_state_dict(state.best)
    student.to(memory_format=torch.contiguous_format).eval()
    objective.eval()
    warn_if_nothing_was_rectified(objective.name, state.result.history)
    return state.result


def assemble(student: nn.Module, objective: Objective, data: Any, settings: FitSettings) -> Stepper[Any]:
    """All that a training consists of, before its first step; `student` and `objective` move to its device."""
    learner_class = learner_type(data)
    device = choose_device(settings.device)
    torch.manual_seed(settings.seed)
    layout = learner_class.choose_memory_format(settings.memory_format, student)
    for module in (student, objective):
        module.to(device).to(memory_format=layout)
    backbone = learner_class.backbone_of(student)
    freezing = Freezing(student, settings, backbone)
    optimizer = make_optimizer(student, settings, backbone)
    freezing.begin(0)
    learner = learner_class(data, student, objective, settings, device)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
    record: DataRecord | None = getattr(data, "record", None)
    state = TrainState(student, objective, optimizer, scaler)
    state.data = None if record is None else record.fingerprint
    state.average = make_average(student, objective, settings)
    return Stepper(state, learner, settings, device, freezing)


def learner_type(data: Any) -> type[Learner[Any, Any]]:
    """What trains on data of this kind."""
    if hasattr(data, "learner_type"):
        learner: type[Learner[Any, Any]] = data.learner_type()
        return learner
    return ClassifierLearner
