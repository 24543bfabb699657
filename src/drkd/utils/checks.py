"""Checks of what a user's training loop hands over: each fails with what was expected, what came, what to do."""

from torch import Tensor

from drkd.utils.errors import InputError

IGNORED = -100
"""The label of rows that do not count, as targets, rectifiers and the loader know it."""


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
        InputError: for what is no tensor, integer logits, float labels (mixup), mismatched shapes, labels out of range.

    Example:
        >>> import torch
        >>> [check_labels(torch.zeros(2, 3), torch.tensor([0, i]), -100, caller="swap") for i in (2, -100)]
        [True, False]
        >>> check_labels(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), -100, caller="swap")
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: `swap` needs labels (2,) beside logits (2, 3), got (3,)
    """
    if not isinstance(logits, Tensor):
        raise InputError(
            f"`{caller}` needs a tensor of logits (B, K), got {type(logits).__name__}; pass the logits in the "
            "network's output, such as outputs.logits"
        )
    if not isinstance(labels, Tensor):
        raise InputError(
            f"`{caller}` needs a tensor of integer labels, got {type(labels).__name__}; pass torch.as_tensor(labels)"
        )
    if not logits.is_floating_point():
        raise InputError(
            f"`{caller}` needs float logits, got {str(logits.dtype).removeprefix('torch.')} {tuple(logits.shape)}; "
            "pass the network's output before argmax"
        )
    if logits.dim() < 2:
        raise InputError(f"`{caller}` needs logits (B, K) or (B, K, ...), got {tuple(logits.shape)}")
    shape = logits.shape
    expected = shape[:1] + shape[2:]
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"`{caller}` needs integer labels {tuple(expected)}, got {str(labels.dtype).removeprefix('torch.')} "
            f"{tuple(labels.shape)}; turn mixup or other soft labels off"
        )
    if labels.shape != expected:
        raise InputError(
            f"`{caller}` needs labels {tuple(expected)} beside logits {tuple(shape)}, got {tuple(labels.shape)}"
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


def check_fraction(name: str, value: float, *, open_ends: bool = False) -> None:
    """Refuse a `value` outside [0, 1], or outside (0, 1) with `open_ends`."""
    inside = 0 < value < 1 if open_ends else 0 <= value <= 1
    if not inside:
        raise InputError(f"{name} must lie in {'(0, 1)' if open_ends else '[0, 1]'}, got {value}")


def check_positive(name: str, value: float) -> None:
    """Refuse a `value` that is not above zero."""
    if not value > 0:
        raise InputError(f"{name} must be above 0, got {value}")
