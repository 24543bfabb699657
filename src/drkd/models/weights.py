"""Weights of a file laid into a network: which of them fit, under whatever names."""

import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from drkd.models.renaming import is_counter, match_by_shape
from drkd.models.starts import Start
from drkd.utils.errors import InputError
from drkd.utils.files import read_checkpoint, warn_unchecked

Tensors = Mapping[str, Tensor]

NAMED = 4
"""The most names in a message."""

ENOUGH = 0.5
"""A file that has less than this fraction of the network's tensors is refused."""


class NewTensors(UserWarning):
    """Some of a network's tensors are not in the weights that it starts from."""


@dataclass(frozen=True)
class Fit:
    """What of a file goes into a network.

    Attributes:
        tensors: by the network's own names.
        new: names of the network's tensors that keep their random values.
        unused: names in the file.
        notes: what was done to make it fit.
    """

    tensors: Tensors
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def warn(self, source: str) -> None:
        """Say what `describe` does."""
        warnings.warn(self.describe(source), NewTensors if self.new else UserWarning, stacklevel=4)

    def describe(self, source: str) -> str:
        """A sentence about it.

        Example:
            >>> Fit({}, new=("head.weight", "head.bias")).describe("a.pt")
            '0 of 2 tensors of the network come from a.pt; 2 are new (head.weight, head.bias)'
        """
        parts = [
            f"{len(self.tensors)} of {len(self.tensors) + len(self.new)} tensors of the network come from {source}"
        ]
        parts += self.notes
        parts.append(f"{len(self.new)} are new ({abbreviated(self.new)})" if self.new else "none is new")
        if self.unused:
            parts.append(f"{len(self.unused)} in the file are not used ({abbreviated(self.unused)})")
        return "; ".join(parts)


def abbreviated(names: Sequence[str]) -> str:
    """The first few names, for a message.

    Example:
        >>> abbreviated(["a", "b", "c", "d", "e", "f"])
        'a, b, c, d and 2 more'
    """
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def load_weights(model: nn.Module, start: Start, num_classes: int) -> None:
    """Lay the weights of a file into a network, and warn of how many fit.

    Raises:
        InputError: for a file that cannot be read or does not fit.
    """
    saved, entry = read_checkpoint(start.file)
    source = f"{start.source} ({entry})" if entry else start.source
    in_order = start.file.suffix != ".safetensors"
    fit = fit_weights(model, saved, num_classes=num_classes, source=source, in_order=in_order)
    model.load_state_dict(dict(fit.tensors), strict=False)
    calm_classifiers(model, num_classes, fit.new)
    fit.warn(source)
    warn_unchecked(start.file)


def load_pretrained(make: Callable[..., nn.Module], start: Start, num_classes: int) -> nn.Module:
    """A network of timm with its pretrained weights, loaded by timm; warns of how many were taken.

    Args:
        make: makes the network, with further arguments for `timm.create_model`.
        start: timm's weights, on this machine.
        num_classes: of the network.

    Raises:
        InputError: if timm cannot load them.
    """
    before = torch.get_rng_state()
    random = make().state_dict()
    torch.set_rng_state(before)  # a new classifier is the same as without pretrained weights
    overlay = {"file": str(start.file), "custom_load": bool(start.config and start.config.custom_load)}
    try:
        model = make(pretrained=True, pretrained_cfg=start.config, pretrained_cfg_overlay=overlay)
    except Exception as reason:  # timm checks in many places, each with an error of its own
        why = " ".join(str(reason).split())[:300]
        raise InputError(
            f"{start.source} cannot be loaded from {start.file}: {why}; download the file again"
        ) from reason
    own = model.state_dict()
    in_file = {name: value.shape for name, value in _names_in(start.file).items()}
    new = tuple(
        name
        for name, value in own.items()
        if torch.equal(value, random[name]) and in_file.get(name) != value.shape and not is_counter(value)
    )
    taken = {name: value for name, value in own.items() if name not in new}
    calm_classifiers(model, num_classes, new)
    Fit(taken, new).warn(start.source)
    return model


def calm_classifiers(model: nn.Module, num_classes: int, new: Sequence[str]) -> None:
    """Draw new classifiers as torch does where they are drawn wider, so that trained features start from small logits.

    timm draws those of its EfficientNets and MobileNets by the number of classes: up to .58 for three, which starts a
    training with a loss several times that of a guess, and a short one never gets over it.
    """
    for names in _classifiers(model, num_classes):
        layer = model.get_submodule(names[0].rpartition(".")[0])
        if not isinstance(layer, nn.Linear) or not set(names) <= set(new):
            continue
        if layer.weight.abs().max() > layer.in_features**-0.5:
            layer.reset_parameters()


def _names_in(file: Path) -> Tensors:
    """What is in a file of tensors; nothing for the formats that timm's networks read themselves."""
    return {} if file.suffix == ".npz" else read_checkpoint(file)[0]


def fit_weights(model: nn.Module, saved: Tensors, *, num_classes: int, source: str, in_order: bool) -> Fit:
    """Which tensors of a file are which of a network.

    By name, without what wrappers put before the names and after what timm converts for its network; else by order and
    shape. A classifier for other classes is left out, a first convolution for other channels is adapted.

    Args:
        model: the network; it is not changed.
        saved: what is in the file.
        num_classes: of the network.
        source: the file, for messages.
        in_order: whether the file has its tensors in the order in which they were made; safetensors sorts them.

    Raises:
        InputError: if less than `ENOUGH` of the network would come from the file, or tensors have another shape.
    """
    own = model.state_dict()
    classifiers = _classifiers(model, num_classes)
    first = next((name for name, tensor in own.items() if tensor.ndim == 4), "")
    named, others = without_wrapper(own, saved)
    fits = [_by_name(own, tensors, first, classifiers, others) for tensors in (named, *_converted(model, named))]
    fit, reshaped = max(fits, key=lambda found: len(found[0].tensors))
    if len(fit.tensors) < ENOUGH * len(own) and classifiers:
        renamed = match_by_shape(own, saved, classifiers[-1], in_order=in_order)
        if renamed is not None:
            taken = {name: saved[theirs] for name, theirs in renamed.items()}
            new = tuple(name for name in own if name not in taken and not is_counter(own[name]))
            used = set(renamed.values())
            unused = tuple(name for name in saved if name not in used and not is_counter(saved[name]))
            return Fit(taken, new, unused, ("their names differ and they are matched by order and shape",))
    if len(fit.tensors) < ENOUGH * len(own) or reshaped:
        missing = [name for name in fit.new if name not in reshaped]
        raise InputError(
            f"the weights in {source} do not fit the model: {len(reshaped)} of another shape, {len(missing)} missing, "
            f"{len(fit.unused)} unknown ({abbreviated([*reshaped, *missing, *fit.unused])}); name the model that they "
            "were saved from"
        )
    return fit


def _by_name(
    own: Tensors, saved: Tensors, first: str, classifiers: Sequence[Sequence[str]], others: Sequence[str]
) -> tuple[Fit, list[str]]:
    """What fits by name, and names of tensors that have another shape and belong to no classifier."""
    taken: dict[str, Tensor] = {}
    reshaped, notes = [], []
    of_classifiers = {name for names in classifiers for name in names}
    for name, mine in own.items():
        theirs = saved.get(name)
        if theirs is None:
            continue
        if theirs.shape == mine.shape:
            taken[name] = theirs
        elif name == first and (adapted := _other_channels(mine, theirs)) is not None:
            taken[name] = adapted
            notes.append(f"{name} is adapted from {theirs.shape[1]} to {mine.shape[1]} channels")
        elif name not in of_classifiers or theirs.shape[1:] != mine.shape[1:]:
            reshaped.append(name)
        elif theirs.ndim > 1:
            notes.append(f"its classifier of {len(theirs)} classes is dropped")
    new = tuple(name for name in own if name not in taken and not is_counter(own[name]))
    unused = tuple(name for name in (*saved, *others) if name not in own)
    return Fit(taken, new, unused, tuple(dict.fromkeys(notes))), reshaped


def _other_channels(mine: Tensor, theirs: Tensor) -> Tensor | None:
    """A first convolution of colour images for grey ones or the other way round; None where it is something else."""
    same = mine.ndim == theirs.ndim == 4 and mine.shape[0] == theirs.shape[0] and mine.shape[2:] == theirs.shape[2:]
    if not same or {mine.shape[1], theirs.shape[1]} != {1, 3}:
        return None
    from timm.models import adapt_input_conv

    adapted: Tensor = adapt_input_conv(mine.shape[1], theirs, base_chans=theirs.shape[1])
    return adapted


def _converted(model: nn.Module, named: Tensors) -> list[Tensors]:
    """The tensors as timm converts those of a network's authors, where it does."""
    module = type(model).__module__
    convert = getattr(sys.modules[module], "checkpoint_filter_fn", None)
    if convert is None or not module.startswith("timm."):
        return []
    try:
        converted = convert(dict(named), model)
    except Exception:  # it was made for certain files, and fails on others in any way
        return []
    good = isinstance(converted, dict) and all(isinstance(each, Tensor) for each in converted.values())
    return [converted] if good else []


def without_wrapper(own: Tensors, saved: Tensors) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without what a wrapper put before their names, and the names of those that were not in it.

    The wrapper is the prefix after which most names and shapes are the network's.
    """
    clean = {re.sub(r"(?:^|(?<=\.))(?:module|_orig_mod)\.", "", name): name for name in saved}
    if len(clean) < len(saved):
        clean = {name: name for name in saved}
    counts = {"": 0}
    for name, full in clean.items():
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            if name[start:] in own and own[name[start:]].shape == saved[full].shape:
                counts[name[:start]] = counts.get(name[:start], 0) + 1
    prefix = max(counts, key=lambda each: (counts[each], -len(each)))
    inside = {name[len(prefix) :]: saved[full] for name, full in clean.items() if name.startswith(prefix)}
    return inside, [full for name, full in clean.items() if not name.startswith(prefix)]


def _classifiers(model: nn.Module, num_classes: int) -> list[tuple[str, ...]]:
    """The names of the tensors of each layer that has an output per class."""
    found = []
    for name, module in model.named_modules():
        outputs = getattr(module, "out_features", getattr(module, "out_channels", None))
        if isinstance(module, nn.Linear | nn.Conv2d) and outputs == num_classes:
            found.append(tuple(f"{name}.{each}" for each in module.state_dict()))
    return found
