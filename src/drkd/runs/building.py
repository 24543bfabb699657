"""What a configuration describes, built: the network, the method, what a model file records about them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from drkd.config import BenchConfig, TrainConfig, TrainingConfig, as_bytes, was_given
from drkd.methods.info import MethodInfo
from drkd.methods.registry import create_from, get_method
from drkd.models import CONTIGUOUS
from drkd.models.files import ModelInfo, untagged
from drkd.models.given import is_start
from drkd.objective.protocol import check_protocol
from drkd.tasks import TaskData, get_task
from drkd.training.compilation import MemoryFormat
from drkd.training.freezing import check_head_epochs
from drkd.utils.errors import InputError


def model_info(config: TrainConfig, data: TaskData, temperature: float | None = None) -> ModelInfo:
    """What a model file records about itself: enough to build the network, to feed it and to read its answers."""
    return ModelInfo(
        model=untagged(config.model),
        classes=tuple(data.classes),
        image_size=data.image_size,
        channels=data.channels,
        mean=tuple(map(float, data.mean)),
        std=tuple(map(float, data.std)),
        task=config.task,
        margin=data.margin,
        interpolation=data.interpolation,
        temperature=1.0 if temperature is None else temperature,
    )


def build_student(config: TrainConfig, data: TaskData) -> nn.Module:
    """The network that `config` names, for `data`; random weights are drawn with the run's seed."""
    torch.manual_seed(config.seed)
    info = replace(model_info(config, data), model=config.model)
    student = get_task(config.task).build(info, config.weights, pretrained=config.pretrained, download=config.download)
    if config.sync_batchnorm:
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
    return student


def check_fine_tuning(config: TrainConfig) -> None:
    """Refuse to keep weights as they are that are random.

    Raises:
        InputError: for frozen parts without pretrained weights, and for epochs of the classifier that are all epochs.
    """
    if config.freeze is not None and config.weights is None and not config.pretrained and not is_start(config.model):
        raise InputError(
            f"--freeze {config.freeze} would keep random weights fixed; use pretrained ones: --pretrained, or --weights"
        )
    check_head_epochs(config)


def check_class_weights(config: TrainConfig, data: TaskData) -> None:
    """Refuse numbers of class weights that are not one for each class.

    Raises:
        InputError: that names the classes.
    """
    weights = config.class_weights
    if isinstance(weights, list) and len(weights) != len(data.classes):
        classes = ", ".join(data.classes[:5]) + (", ..." if len(data.classes) > 5 else "")
        raise InputError(
            f"--class-weights needs {len(data.classes)} numbers, one for each class ({classes}), got {len(weights)}"
        )


def describe_weights(config: TrainConfig) -> str:
    """The final weights of the method that `config` names, for the start of a run.

    Raises:
        InputError: for settings that do not fit the method or the task.
    """
    has_teacher = config.teacher is not None or get_method(config.method).teacher == "self"
    stand_in = nn.Identity()
    objective = create_from(config, teacher=stand_in if has_teacher else None, student=stand_in)
    check_protocol(objective, "effective_weights", "describe_weights")
    get_task(config.task).check_settings(config, objective)
    return objective.describe_weights()


def memory_format(config: TrainConfig | BenchConfig) -> MemoryFormat:
    """How the network that `config` names lies in memory: as asked, or as is faster for it."""
    return "contiguous" if config.memory_format == "auto" and config.model in CONTIGUOUS else config.memory_format


def refuse_without_teacher(config: TrainingConfig, source: Mapping[str, str], methods: Sequence[MethodInfo]) -> None:
    """Refuse options about teachers that were given where no method asks one.

    Args:
        config: of a training, a comparison or a search.
        source: where each of its values came from.
        methods: that are trained.

    Raises:
        InputError: for the first such option.
    """
    names = ", ".join(dict.fromkeys(method.name for method in methods))
    if was_given(config, source, "teacher") and all(method.teacher == "none" for method in methods):
        raise InputError(f"{names} takes no teacher; leave --teacher out, or choose kd or dr_kd")
    if was_given(config, source, "teacher_precision") and all(
        method.teacher == "none" or method.clean_view for method in methods
    ):
        raise InputError(f"--teacher-precision has no effect with {names}, whose steps use no teacher; leave it out")
    for option in ("cache", "cache_size"):
        if (
            was_given(config, source, option)
            and as_bytes(config.cache_size)
            and config.freeze != "backbone"
            and all(method.teacher == "none" or method.clean_view for method in methods)
        ):
            flag = f"--{option.replace('_', '-')}"
            raise InputError(
                f"{flag} has no effect with {names}, which never needs a teacher output twice; leave it out"
            )
