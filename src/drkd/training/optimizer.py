"""The optimizer of a training, with a group of parameters for each learning rate and weight decay."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drkd.config import FitSettings
from drkd.models.parts import blocks_of, classifier_of
from drkd.utils.errors import InputError

FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})
"""Devices for which torch has fused optimizers; only such a one can be told, on the device, to skip a step."""


def make_optimizer(student: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """The optimizer that `settings` name, over all parameters that want a gradient.

    Raises:
        InputError: if there are none.
    """
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("the student has no parameters to train; pass a network with requires_grad parameters")
    fused = parameters[0].device.type in FUSED
    groups, lr, weight_decay = parameter_groups(student, settings), settings.lr, settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=fused)
    return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, weight_decay=weight_decay, fused=fused)


def parameter_groups(student: nn.Module, settings: FitSettings) -> list[dict[str, Any]]:
    """The parameters that want a gradient, in groups as torch's optimizers take them, in order of appearance.

    `lr_scale` is what a group's learning rate is multiplied by: `layer_decay` for each block between a parameter and
    the last block, and `head_lr / lr` in the classifier. With `no_norm_decay` the parameters of one dimension, all
    biases and whatever the network lists in its `no_weight_decay()`, as networks of timm do, are not decayed.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        >>> for group in parameter_groups(network, FitSettings(layer_decay=0.5, no_norm_decay=True)):
        ...     print(len(group["params"]), group["lr_scale"], group["weight_decay"])
        1 0.5 0.0005
        1 0.5 0.0
        1 1.0 0.0005
        1 1.0 0.0
    """
    scales = _lr_scales(student, settings)
    undecayed = _listed_as_undecayed(student) if settings.no_norm_decay else frozenset()
    head = f"{classifier_of(student)[0]}." if settings.head_epochs else None
    groups: dict[tuple[float, float, bool], list[Tensor]] = {}
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            is_undecayed = parameter.ndim <= 1 or name.endswith(".bias") or name in undecayed
            decay = 0.0 if settings.no_norm_decay and is_undecayed else settings.weight_decay
            # Those that begin to learn later are a group of their own: torch's fused SGD wants momentum of all or none.
            later = head is not None and not name.startswith(head)
            groups.setdefault((scales.get(name, 1.0), decay, later), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay, _), parameters in groups.items()
    ]


def _lr_scales(student: nn.Module, settings: FitSettings) -> Mapping[str, float]:
    """What the learning rate of a parameter is multiplied by, by name; 1 where nothing is said."""
    scales: dict[str, float] = {}
    if settings.layer_decay is not None:
        blocks = blocks_of(student)
        for distance, names in enumerate(reversed(blocks)):
            scales |= dict.fromkeys(names, settings.layer_decay**distance)
    if settings.head_lr is not None:
        prefix, head = classifier_of(student)
        scales |= {f"{prefix}.{name}": settings.head_lr / settings.lr for name, _ in head.named_parameters()}
    return scales


def _listed_as_undecayed(student: nn.Module) -> frozenset[str]:
    listed: Any = getattr(student, "no_weight_decay", None)
    return frozenset(listed()) if callable(listed) else frozenset()
