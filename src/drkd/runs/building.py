"""What a configuration describes, made: the device, the data, the network, the method."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from drkd.config import METHOD_SETTINGS, BenchConfig, TrainConfig
from drkd.data import Data, load_data
from drkd.methods.registry import create, get_method
from drkd.models import CONTIGUOUS, create_model
from drkd.objective.objective import Objective
from drkd.training.compilation import MemoryFormat
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.tasks.detection.splits import DetectionData


def choose_device(name: str) -> str:
    """`auto` as the accelerator that is there, or the processor; other names as they are, if they work."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator.type if accelerator is not None else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as reason:
        raise InputError(f"the device {name!r} cannot be used here: {str(reason).splitlines()[0]}") from reason
    return name


def load(config: TrainConfig) -> Data:
    """The data that `config` names, split for its seed."""
    return load_data(
        config.data,
        seed=config.seed,
        validation=config.validation,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
        label_noise=config.label_noise,
        image_size=config.image_size,
        augment=config.augment,
        download=config.download,
        skip_bad_images=config.skip_bad_images,
    )


def load_for(config: TrainConfig) -> "Data | DetectionData":
    """The data of the task that `config` names."""
    if config.task == "detection":
        from drkd.tasks.detection.settings import load_boxes

        return load_boxes(config)
    return load(config)


def build(config: TrainConfig, data: "Data | DetectionData") -> nn.Module:
    """The network that `config` names, for `data`; random weights come from torch's global generator."""
    if config.task == "detection":
        from drkd.tasks.detection.networks import create_detector

        size = data.image_size
        return create_detector(config.model, num_classes=len(data.classes), image_size=size, weights=config.weights)
    return create_model(
        config.model,
        num_classes=len(data.classes),
        image_size=data.image_size,
        channels=data.channels,
        weights=config.weights,
    )


def make_objective(config: TrainConfig, *, teacher: nn.Module | None, student: nn.Module) -> Objective:
    """The method that `config` names, with its settings."""
    named = {name: getattr(config, name) for name in METHOD_SETTINGS if getattr(config, name) is not None}
    return create(
        config.method, {**named, **config.method_options}, teacher=teacher, student=student, epochs=config.epochs
    )


def describe_weights(config: TrainConfig) -> str:
    """The final weights of the method that `config` names, for the start of a run; bad settings are refused."""
    has_teacher = config.teacher is not None or get_method(config.method).teacher == "self"
    stand_in = nn.Identity()
    objective = make_objective(config, teacher=stand_in if has_teacher else None, student=stand_in)
    if config.task == "detection":
        from drkd.tasks.detection.settings import check_settings

        check_settings(config, objective)
    return objective.describe_weights()


def memory_format(config: TrainConfig | BenchConfig) -> MemoryFormat:
    """How the network that `config` names is laid out: as asked, or as is faster for it."""
    return "contiguous" if config.memory_format == "auto" and config.model in CONTIGUOUS else config.memory_format


def about(config: TrainConfig, data: "Data | DetectionData") -> dict[str, Any]:
    """What a model file says of itself: enough to build the network and to feed it."""
    return {
        "model": config.model,
        "classes": list(data.classes),
        "image_size": data.image_size,
        "channels": data.channels,
        "mean": list(data.mean),
        "std": list(data.std),
        **({} if config.task == "classification" else {"task": config.task}),
    }
