"""Rectifiers: pure functions that correct a teacher's logits with the labels. Never in place."""

import torch
from torch import Tensor

from drkd.checks import check_labels


def swap(logits: Tensor, labels: Tensor, *, ignore_index: int = -100) -> Tensor:
    """Let the largest logit and the label's logit change places (the rectification of DR-KD, arXiv 2201.11319).

    A row in which the label already attains the maximum, alone or in a tie, comes back as it is, and so does a row
    with `ignore_index`. Elsewhere the label gets the maximum and the first class that held it gets the label's
    logit: the row keeps its values, so the softened distribution keeps its shape and only two classes trade names.

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
    check_labels(logits, labels, ignore_index, caller="swap")
    counted = labels != ignore_index
    label_at = labels.where(counted, torch.zeros_like(labels)).long().unsqueeze(1)
    label_logit = logits.gather(1, label_at)
    top_logit, top_at = logits.max(dim=1, keepdim=True)
    wrong = (label_logit < top_logit) & counted.unsqueeze(1)
    demoted = logits.scatter(1, top_at, label_logit.where(wrong, top_logit))
    return demoted.scatter(1, label_at, top_logit.where(wrong, label_logit))
