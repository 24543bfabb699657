"""The optimizer of a training, with a group of parameters for each learning rate and weight decay."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from drkd.config import FitSettings
from drkd.models.parts import blocks_of, head_of
from drkd.utils.errors import InputError

KEPT_FROM_COMPILER = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
"""Methods that torch wraps, so that its compiler leaves them alone. The wrappers import the compiler when called."""

FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})
"""Devices for which torch has fused optimizers; only such a one can be told, on the device, to skip a step."""


def make_optimizer(
    student: nn.Module, settings: FitSettings, backbone: nn.Module | None = None
) -> torch.optim.Optimizer:
    """The optimizer that `settings` name, over all parameters that want a gradient; for `backbone` see `head_of`.

    Raises:
        InputError: if there are none.
    """
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("the student has no parameters to train; pass a network with requires_grad parameters")
    fused = parameters[0].device.type in FUSED
    is_adamw = settings.optimizer == "adamw"
    kind: Any = without_compiler(torch.optim.AdamW if is_adamw else torch.optim.SGD)
    optimizer: torch.optim.Optimizer = kind(
        parameter_groups(student, settings, backbone),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        fused=fused,
        **({} if is_adamw else {"momentum": settings.momentum}),
    )
    if not is_adamw and settings.momentum:
        # Torch's fused SGD allocates it at its first step, and does not write it if an overflow skips that step.
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


@cache
def without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The same optimizer, which does not import torch's compiler: that takes longer than a short training.

    A training compiles its network at most, never the optimizer. The arithmetic is torch's own.

    Example:
        >>> without_compiler(torch.optim.SGD).__mro__[1]
        <class 'torch.optim.sgd.SGD'>
    """
    plain: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in KEPT_FROM_COMPILER}
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)


def parameter_groups(
    student: nn.Module, settings: FitSettings, backbone: nn.Module | None = None
) -> list[dict[str, Any]]:
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
    scales = _lr_scales(student, settings, backbone)
    undecayed = _listed_as_undecayed(student) if settings.no_norm_decay else frozenset()
    head = head_of(student, backbone) if settings.head_epochs else None
    groups: dict[tuple[float, float, bool], list[Tensor]] = {}
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            is_undecayed = parameter.ndim <= 1 or name.endswith(".bias") or name in undecayed
            decay = 0.0 if settings.no_norm_decay and is_undecayed else settings.weight_decay
            # Those that begin to learn later are a group of their own: torch's fused SGD wants momentum of all or none.
            later = head is not None and name not in head
            groups.setdefault((scales.get(name, 1.0), decay, later), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay, _), parameters in groups.items()
    ]


def _lr_scales(student: nn.Module, settings: FitSettings, backbone: nn.Module | None) -> Mapping[str, float]:
    """What the learning rate of a parameter is multiplied by, by name; 1 where nothing is said."""
    scales: dict[str, float] = {}
    if settings.layer_decay is not None:
        blocks = blocks_of(student, backbone)
        for distance, names in enumerate(reversed(blocks)):
            scales |= dict.fromkeys(names, settings.layer_decay**distance)
    if settings.head_lr is not None:
        scales |= dict.fromkeys(head_of(student, backbone), settings.head_lr / settings.lr)
    return scales


def _listed_as_undecayed(student: nn.Module) -> frozenset[str]:
    listed: Any = getattr(student, "no_weight_decay", None)
    return frozenset(listed()) if callable(listed) else frozenset()
