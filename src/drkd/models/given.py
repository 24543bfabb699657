"""Networks that are given as Python objects: a module, or a function or class that makes one."""

import copy
import hashlib
import inspect
from typing import Any

import torch
from torch import nn

from drkd.utils.errors import InputError
from drkd.utils.hashing import content_hash
from drkd.utils.objects import PREFIX, code_hash, find_object

FILLED_IN = ("num_classes", "image_size", "channels")
"""What a function or a class that makes networks is given, as far as it takes it."""


def build_given(model: Any, num_classes: int, image_size: int, channels: int) -> nn.Module:
    """A network of its own: a copy of a module, with its weights, or a new one of what makes networks.

    Args:
        model: a module, or a function or class. It is called with those of `FILLED_IN` that it names, and with
            `num_classes` where it takes any keyword.
        num_classes, image_size, channels: what it is for.

    Raises:
        InputError: for what makes no network, or needs other arguments.

    Example:
        >>> build_given(lambda num_classes: nn.Linear(4, num_classes), 3, 8, 1)
        Linear(in_features=4, out_features=3, bias=True)
    """
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    if not callable(model):
        raise InputError(f"model must be a name, a network, or what makes one, got {type(model).__name__}")
    known = dict(zip(FILLED_IN, (num_classes, image_size, channels), strict=True))
    try:
        takes = inspect.signature(model).parameters
    except ValueError:  # some builtins have none
        takes = {}  # type: ignore[assignment]
    network = model(**{name: known[name] for name in FILLED_IN if _takes(takes, name)})
    if not isinstance(network, nn.Module):
        raise InputError(f"model={_name(model)} must make a network, got {type(network).__name__}")
    return network


def _takes(parameters: Any, name: str) -> bool:
    """Whether a function takes an argument; refuses one that needs what nobody knows."""
    kinds = inspect.Parameter
    named = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    required = [each.name for each in parameters.values() if each.default is kinds.empty and each.kind in named]
    if unknown := [each for each in required if each not in FILLED_IN]:
        raise InputError(
            f"model needs `{unknown[0]}`, which drkd does not fill in ({', '.join(FILLED_IN)} are); wrap it: "
            f"model=lambda num_classes: Net({unknown[0]}=...)"
        )
    anything = name == "num_classes" and any(each.kind is kinds.VAR_KEYWORD for each in parameters.values())
    return anything or name in parameters


def name_given(model: Any, num_classes: int, image_size: int, channels: int) -> str:
    """What options call a network: its name, with a hash of its layers, their code, and its weights with seed 0."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = build_given(model, num_classes, image_size, channels)
    of_module = isinstance(model, nn.Module)
    digest = hashlib.sha256(f"{of_module} {network} {content_hash(network.state_dict())}".encode())
    for kind in sorted({type(module) for module in network.modules()}, key=lambda each: each.__qualname__):
        digest.update(code_hash(kind.forward).encode())
    return f"{PREFIX}{type(network).__name__}-{digest.hexdigest()[:12]}"


def is_start(name: str) -> bool:
    """Whether options name a module that was given with its weights, which a training starts from."""
    return isinstance(find_object(name), nn.Module)


def make_given(name: str, num_classes: int, image_size: int, channels: int) -> nn.Module:
    """The network that options name by `object:NAME-HASH`.

    Raises:
        InputError: if this process does not know it.
    """
    model = find_object(name)
    if model is None:
        raise InputError(
            f"the network {name} was given as a Python object, so drkd cannot find it by name; pass it again: "
            "drkd.load_model(run, model=Net) in Python, then drkd.export_run and others find it too"
        )
    return build_given(model, num_classes, image_size, channels)


def _name(model: Any) -> str:
    return str(getattr(model, "__name__", type(model).__name__))
