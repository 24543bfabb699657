"""Rectifiers: pure functions that correct a teacher's logits with the labels. Never in place.

All leave a row as it is where the label attains the largest logit, alone or in a tie, and where the label is
`ignore_index`; they differ in what becomes of the others.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from drkd.utils.checks import IGNORED, check_fraction, check_labels
from drkd.utils.errors import InputError


def swap(logits: Tensor, labels: Tensor, *, ignore_index: int = IGNORED) -> Tensor:
    """Let the largest logit and the label's logit change places (the rectification of DR-KD, arXiv 2201.11319).

    In a wrong row the label gets the maximum and the first class that held it gets the label's logit: the row keeps its
    values, so the softened distribution keeps its shape and only two classes trade names. With a teacher of another
    kind this is known as probability shift (arXiv 1911.07471).

    Args:
        logits: the teacher's, (B, K) or dense (B, K, ...), of any float type.
        labels: integers (B,) or (B, ...).
        ignore_index: the label of rows that pass through.

    Returns:
        A new tensor like `logits`.

    Raises:
        InputError: for float labels, labels out of range or of another shape.

    Example:
        >>> swap(torch.tensor([[5.0, 1.0, 2.0], [0.0, 3.0, 1.0]]), torch.tensor([2, 1]))
        tensor([[2., 1., 5.],
                [0., 3., 1.]])
    """
    label_index, counted = labels_at(logits, labels, ignore_index, "swap")
    return swap_at(logits, label_index, counted)[0]


def swap_at(logits: Tensor, label_index: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor]:
    """`swap` without its checks, for labels (B, 1) or (B, 1, ...): the logits, and which rows (B,) were changed."""
    label_logit = logits.gather(1, label_index)
    top_logit, top_index = logits.max(dim=1, keepdim=True)
    wrong = label_logit < top_logit
    if counted is not None:
        wrong = wrong & counted
    demoted = logits.scatter(1, top_index, label_logit.where(wrong, top_logit))
    swapped = demoted.scatter_(1, label_index, top_logit.where(wrong, label_logit))  # in place: the copy is ours
    return swapped, wrong.squeeze(1)


def smooth(logits: Tensor, labels: Tensor, *, correct_prob: float = 0.9, ignore_index: int = IGNORED) -> Tensor:
    """Replace a wrong row by a smoothed label (label smoothing of the teacher's mistakes, arXiv 1911.07471).

    The row becomes log-probabilities: `correct_prob` on the label, the rest spread evenly over the other classes. A
    temperature above 1 softens them further, as it does any logits.

    Args:
        logits, labels, ignore_index: as for `swap`.
        correct_prob: probability of the label, in (0, 1).

    Example:
        >>> smooth(torch.tensor([[5.0, 1.0, 2.0]]), torch.tensor([2])).exp()
        tensor([[0.0500, 0.0500, 0.9000]])
    """
    check_fraction("correct_prob", correct_prob, open_ends=True)
    label_index, wrong = _mistakes(logits, labels, ignore_index, "smooth")
    classes = logits.shape[1]
    if classes < 2:
        raise InputError(f"`smooth` needs at least 2 classes, got logits {tuple(logits.shape)}")
    other = math.log((1 - correct_prob) / (classes - 1))
    smoothed = torch.full_like(logits, other).scatter(1, label_index, math.log(correct_prob))
    return smoothed.where(wrong, logits)


def drop(logits: Tensor, labels: Tensor, *, ignore_index: int = IGNORED) -> tuple[Tensor, Tensor]:
    """Drop a wrong row: it has no soft target and is left to the label (the teacher is heard where it is right).

    Args:
        logits, labels, ignore_index: as for `swap`.

    Returns:
        The logits as they are, and a boolean per row: whether it stays.

    Example:
        >>> drop(torch.tensor([[5.0, 1.0], [5.0, 1.0]]), torch.tensor([0, 1]))[1]
        tensor([ True, False])
    """
    _, wrong = _mistakes(logits, labels, ignore_index, "drop")
    return logits, ~wrong.squeeze(1)


RECTIFIERS: dict[str, Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]] = {
    "swap": swap,
    "smooth": smooth,
    "drop": drop,
}
"""Every rectifier that can be asked for by name."""


def _mistakes(logits: Tensor, labels: Tensor, ignore_index: int, caller: str) -> tuple[Tensor, Tensor]:
    """Where the label's logit is, and whether another is larger, both (B, 1) or (B, 1, ...)."""
    label_index, counted = labels_at(logits, labels, ignore_index, caller)
    return label_index, (logits.gather(1, label_index) < logits.amax(dim=1, keepdim=True)) & counted


def labels_at(logits: Tensor, labels: Tensor, ignore_index: int, caller: str) -> tuple[Tensor, Tensor]:
    """Where the label's logit is (0 in ignored rows), and which rows count, both (B, 1) or (B, 1, ...)."""
    if not isinstance(ignore_index, int):
        raise InputError(f"`{caller}` needs ignore_index as a whole number, got {ignore_index!r}")
    check_labels(logits, labels, ignore_index, caller=caller)
    labels = labels.long()  # in uint8, 156 would equal -100
    counted = labels != ignore_index
    return labels.where(counted, torch.zeros_like(labels)).unsqueeze(1), counted.unsqueeze(1)
