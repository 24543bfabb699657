"""Checks of what a user's training loop hands over: each fails with what was expected, what came, what to do."""

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from drkd.utils.errors import InputError

IGNORED = -100
"""The label of rows that do not count, as targets, rectifiers and the loader know it."""

HOTTEST = 1e6
"""The highest temperature: beyond, every distribution is uniform to float32, and its square overflows."""


def check_labels(logits: Tensor, labels: Tensor, ignore_index: int, *, caller: str) -> bool:
    """Refuse labels that cannot belong to `logits`, and logits that are none.

    Shapes and types are always checked; the range of the values only on the CPU, because reading them
    back from an accelerator would stall every step.

    Args:
        logits: (B, K) or dense (B, K, ...).
        labels: integers of any type (B,) or dense (B, ...), each in 0..K-1 or `ignore_index`.
        ignore_index: the label of rows that do not count.
        caller: the name that the message starts with.

    Returns:
        True where no row is ignored; False where some are, or where the values were not read.

    Raises:
        InputError: for what is no tensor, integer logits, float labels, mismatched shapes, labels out of range.

    Example:
        >>> import torch
        >>> [check_labels(torch.zeros(2, 3), torch.tensor([0, i]), -100, caller="swap") for i in (2, -100)]
        [True, False]
        >>> check_labels(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), -100, caller="swap")
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: `swap` needs labels (2,) beside logits (2, 3), got (3,)
    """
    check_logits(logits, f"`{caller}` needs")
    if not isinstance(labels, Tensor):
        raise InputError(
            f"`{caller}` needs a tensor of integer labels, got {type(labels).__name__}; pass torch.as_tensor(labels)"
        )
    if logits.dim() < 2:
        raise InputError(f"`{caller}` needs logits (B, K) or (B, K, ...), got {tuple(logits.shape)}")
    shape = logits.shape
    expected = shape[:1] + shape[2:]
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"`{caller}` needs integer labels {tuple(expected)}, got {typed(labels)}; give the number of each class"
        )
    if labels.shape != expected:
        raise InputError(
            f"`{caller}` needs labels {tuple(expected)} beside logits {tuple(shape)}, got {tuple(labels.shape)}"
        )
    if labels.device != logits.device:
        raise InputError(
            f"`{caller}` needs logits and labels on one device, got {logits.device} and {labels.device}; move one of "
            "them with .to()"
        )
    if labels.device.type != "cpu" or labels.numel() == 0:
        return False
    labels = labels.long()  # in uint8, 156 would equal -100
    low, high = labels.aminmax()  # a step of a small network feels every operation: the usual case needs this one only
    if low.item() >= 0 and high.item() < shape[1]:
        return not 0 <= ignore_index < shape[1]
    counted = labels[labels != ignore_index]
    if counted.numel() and (counted.min() < 0 or counted.max() >= logits.shape[1]):
        raise InputError(
            f"`{caller}` needs labels from 0 to {logits.shape[1] - 1} (or {ignore_index} to ignore a row), "
            f"got {int(counted.min())} to {int(counted.max())}; check the number of classes"
        )
    return False


def check_logits(logits: object, need: str) -> Tensor:
    r"""Refuse what is no tensor of floats; `need` begins the message, such as `\`swap\` needs`.

    Example:
        >>> check_logits({"logits": 0}, "`swap` needs")
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: `swap` needs a tensor of logits, got dict; use the logits in its output
    """
    if not isinstance(logits, Tensor):
        raise InputError(f"{need} a tensor of logits, got {type(logits).__name__}; use the logits in its output")
    if not logits.is_floating_point():
        raise InputError(
            f"{need} float logits, got {str(logits.dtype).removeprefix('torch.')} {tuple(logits.shape)}; use the "
            "network's output before any argmax"
        )
    if logits.layout != torch.strided:
        raise InputError(f"{need} dense logits, got {logits.layout} {tuple(logits.shape)}; use logits.to_dense()")
    return logits


def typed(value: object) -> str:
    """What came, for a message: a tensor's type and shape, else the type.

    Example:
        >>> import torch
        >>> typed(torch.zeros(2, 3)), typed(None)
        ('float32 (2, 3)', 'NoneType')
    """
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def check_index(index: object, rows: int, *, caller: str) -> Tensor:
    """Refuse what cannot be the index of a batch's samples; its values are read on the CPU only.

    Raises:
        InputError: for what is no tensor of integers (`rows`,), and for negative values.
    """
    if not isinstance(index, Tensor) or index.is_floating_point() or index.dtype == torch.bool:
        came = str(index.dtype) if isinstance(index, Tensor) else type(index).__name__
        raise InputError(
            f"`{caller}` needs the samples' index as a tensor of integers ({rows},), got {came}; pass torch.as_tensor"
        )
    if index.shape != (rows,):
        raise InputError(f"`{caller}` needs the index of {rows} samples ({rows},), got {tuple(index.shape)}")
    if index.device.type == "cpu" and rows and int(index.min()) < 0:
        raise InputError(
            f"`{caller}` needs an index from 0 on, got {int(index.min())}; number the samples of the split"
        )
    return index


def check_fraction(name: str, value: float, *, open_ends: bool = False) -> None:
    """Refuse a `value` outside [0, 1], or outside (0, 1) with `open_ends`."""
    if not (_is_number(value) and (0 < value < 1 if open_ends else 0 <= value <= 1)):
        raise InputError(f"{name} must lie in {'(0, 1)' if open_ends else '[0, 1]'}, got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Refuse a `value` that is not above zero, or not finite."""
    if not (_is_number(value) and 0 < value < math.inf):
        raise InputError(f"{name} must be above 0, got {value!r}")


def check_temperature(name: str, value: float) -> None:
    """Refuse a temperature that is not above zero, or whose square is beyond float32 in a loss."""
    check_positive(name, value)
    if value > HOTTEST:
        raise InputError(f"{name} must be at most {HOTTEST:g}, got {value!r}")


def check_not_negative(name: str, value: float) -> None:
    """Refuse a `value` below zero, or not finite."""
    if not (_is_number(value) and 0 <= value < math.inf):
        raise InputError(f"{name} must be at least 0, got {value!r}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a `value` that is none of the `choices`, of whatever type."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, got {value!r}")


def check_count(name: str, value: int, *, at_least: int = 1) -> None:
    """Refuse a `value` that is no whole number from `at_least` on."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
        raise InputError(f"{name} must be a whole number from {at_least} on, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
