"""Rectifiers: pure functions that correct a teacher's logits with the labels. Never in place.

`swap` and `drop` give logits of the teacher's type, `bayes` and `smooth`, which compute new ones, at least float32.
All leave a row as it is where the label attains the largest logit, alone or in a tie, and where the label is
`ignore_index`; they differ in what becomes of the others. `bayes` alone moves all rows that have a label.

Labels may be distributions over the classes, shaped like the logits (mixup, cutmix, votes). Such a label names the
classes whose weight exceeds its smallest one: what it gives to every class, as label smoothing does, names none. `swap`
then puts the named classes in order; `smooth` and `drop` act where the largest logit is of no named class.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from drkd.config.fields import as_rectifier
from drkd.utils.checks import IGNORED, check_fraction, check_labels
from drkd.utils.errors import InputError
from drkd.utils.labels import as_mixed

WRONG = 0.2
"""Probability of a wrong label that `bayes` reckons with."""


def swap(logits: Tensor, labels: Tensor, *, ignore_index: int = IGNORED) -> Tensor:
    """Swap the largest logit with the label's (the rectification of DR-KD, arXiv 2201.11319).

    In a wrong row the label gets the maximum and the first class that held it gets the label's logit: the row keeps its
    values, so the softened distribution keeps its shape and only two classes trade places. With other teachers this is
    known as probability shift (arXiv 1911.07471).

    A distribution as the label is a sequence of swaps: the class of the largest weight takes the largest logit, the
    next one the largest that is left, and so on; for equal weights the lower class comes first. A class that already
    has its logit keeps it.

    Args:
        logits: the teacher's, (B, K) or dense (B, K, ...), of any float type.
        labels: integers (B,) or (B, ...), or distributions (B, K) or (B, K, ...).
        ignore_index: the label of rows that pass through; a distribution of zeros passes through, too.

    Returns:
        A new tensor like `logits`.

    Raises:
        InputError: for float labels, labels out of range or of another shape.

    Example:
        >>> swap(torch.tensor([[5.0, 1.0, 2.0], [0.0, 3.0, 1.0]]), torch.tensor([2, 1]))
        tensor([[2., 1., 5.],
                [0., 3., 1.]])
        >>> swap(torch.tensor([[5.0, 1.0, 2.0]]), torch.tensor([[0.0, 0.4, 0.6]]))
        tensor([[1., 2., 5.]])
    """
    if (found := as_mixed(logits, labels, caller="swap")) is not None:
        return swap_in_order(logits, found[0].probs, found[0].most_named)[0]
    label_index, counted = labels_at(logits, labels, ignore_index, "swap")
    return swap_at(logits, label_index, counted)[0]


def bayes(logits: Tensor, labels: Tensor, *, wrong: float = WRONG, ignore_index: int = IGNORED) -> Tensor:
    """What the teacher believes after it hears a label that may be wrong: Bayes' rule (ours).

    The label is right with the probability 1 - `wrong`, and otherwise any other class, each as likely. So the label's
    logit rises by log((1 - wrong) (K - 1) / wrong), in every row: an unsure teacher follows the label, a sure one keeps
    its answer. The teacher must not know the label already: one that was not trained on the sample, or an average.

    With a distribution as the label, the logits rise by that much times its weights, less its smallest one.

    Args:
        logits, labels, ignore_index: as for `swap`.
        wrong: the probability that a label is wrong, in (0, 1).

    Raises:
        InputError: as for `swap`, and for fewer than two classes.

    Example:
        >>> bayes(torch.tensor([[0.2, 0.2, 0.6]]).log(), torch.tensor([0]), wrong=0.2).softmax(dim=1)
        tensor([[0.6667, 0.0833, 0.2500]])
    """
    check_fraction("wrong", wrong, open_ends=True)
    mixed = as_mixed(logits, labels, caller="bayes")
    if mixed is None:
        label_index, counted = labels_at(logits, labels, ignore_index, "bayes")
    if logits.shape[1] < 2:
        raise InputError(f"`bayes` needs at least 2 classes, got logits {tuple(logits.shape)}")
    lift = math.log((1 - wrong) * (logits.shape[1] - 1) / wrong)
    logits = _widened(logits)
    if mixed is not None:
        weights = mixed[0].probs
        return logits + (lift * (weights - weights.amin(dim=1, keepdim=True))).to(logits.dtype)
    return logits.scatter_add(1, label_index, lift * counted.to(logits.dtype))


def swap_at(logits: Tensor, label_index: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor]:
    """`swap` without its checks, for labels (B, 1) or (B, 1, ...): the logits, and which rows (B, ...) were changed."""
    label_logit = logits.gather(1, label_index)
    top_logit, top_index = logits.max(dim=1, keepdim=True)
    wrong = label_logit < top_logit
    if counted is not None:
        wrong = wrong & counted
    demoted = logits.scatter(1, top_index, label_logit.where(wrong, top_logit))
    swapped = demoted.scatter_(1, label_index, top_logit.where(wrong, label_logit))  # in place: the copy is ours
    return swapped, wrong.squeeze(1)


def swap_in_order(logits: Tensor, probs: Tensor, most_named: int | None = None) -> tuple[Tensor, Tensor]:
    """`swap` for distributions (B, K, ...) without its checks: the logits, and which rows (B, ...) were changed.

    Args:
        logits, probs: of the same shape; uniform in rows that pass through.
        most_named: the most classes that a row names; without it an accelerator has to be asked.
    """
    floor = probs.amin(dim=1, keepdim=True)
    left = probs - floor  # of the classes that are not in their places yet
    if most_named is None:
        most_named = int((left > 0).sum(dim=1).max()) if left.numel() else 0
    if not most_named:
        logits = logits.clone()
    placed = torch.zeros_like(probs, dtype=torch.bool)
    changed = torch.zeros_like(placed[:, 0])
    for _ in range(most_named):
        weight, label_index = left.max(dim=1, keepdim=True)
        label_logit = logits.gather(1, label_index)
        top_logit, top_index = logits.masked_fill(placed, -torch.inf).max(dim=1, keepdim=True)
        wrong = (weight > 0) & (label_logit < top_logit)
        demoted = logits.scatter(1, top_index, label_logit.where(wrong, top_logit))
        logits = demoted.scatter_(1, label_index, top_logit.where(wrong, label_logit))
        changed |= wrong.squeeze(1)
        placed = placed.scatter(1, label_index, True)
        left = left.scatter(1, label_index, 0.0)
    return logits, changed


def smooth(logits: Tensor, labels: Tensor, *, correct_prob: float = 0.9, ignore_index: int = IGNORED) -> Tensor:
    """Replace a wrong row by a smoothed label (label smoothing of the teacher's mistakes, arXiv 1911.07471).

    The row becomes log-probabilities: `correct_prob` on the label, the rest spread evenly over the other classes; with
    a distribution as the label, the mean of these over its classes. A temperature above 1 softens them further, as it
    does any logits.

    Args:
        logits, labels, ignore_index: as for `swap`.
        correct_prob: probability of the label, in (0, 1).

    Example:
        >>> smooth(torch.tensor([[5.0, 1.0, 2.0]]), torch.tensor([2])).exp()
        tensor([[0.0500, 0.0500, 0.9000]])
    """
    check_fraction("correct_prob", correct_prob, open_ends=True)
    mixed = as_mixed(logits, labels, caller="smooth")
    wrong = _mistakes(logits, labels, ignore_index, "smooth") if mixed is None else _unnamed(logits, mixed[0].probs)
    classes = logits.shape[1]
    if classes < 2:
        raise InputError(f"`smooth` needs at least 2 classes, got logits {tuple(logits.shape)}")
    other, logits = (1 - correct_prob) / (classes - 1), _widened(logits)
    if mixed is not None:
        smoothed = (other + (correct_prob - other) * mixed[0].probs).log().to(logits.dtype)
    else:
        label_index, _ = labels_at(logits, labels, ignore_index, "smooth")
        smoothed = torch.full_like(logits, math.log(other)).scatter(1, label_index, math.log(correct_prob))
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
    mixed = as_mixed(logits, labels, caller="drop")
    wrong = _mistakes(logits, labels, ignore_index, "drop") if mixed is None else _unnamed(logits, mixed[0].probs)
    return logits, ~wrong.squeeze(1)


RECTIFIERS: dict[str, Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]] = {
    "swap": swap,
    "bayes": bayes,
    "smooth": smooth,
    "drop": drop,
}
"""Every rectifier that can be asked for by name."""


def rectifier_of(name: str) -> Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]:
    """The rectifier of a name such as `swap`, `bayes` or `bayes:0.4`.

    Raises:
        InputError: for an unknown one.

    Example:
        >>> rectifier_of("bayes:0.5")(torch.tensor([[5.0, 1.0]]), torch.tensor([1]))
        tensor([[5., 1.]])
    """
    try:
        kind, number = as_rectifier(name)
    except ValueError as reason:
        raise InputError(f"unknown rectifier {name!r}; choose {reason}, or pass a function") from None
    if number is None:
        return RECTIFIERS[kind]
    return partial(bayes, wrong=number)


def _widened(logits: Tensor) -> Tensor:
    """`logits` in at least float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _mistakes(logits: Tensor, labels: Tensor, ignore_index: int, caller: str) -> Tensor:
    """Whether another logit is larger than the label's, (B, 1) or (B, 1, ...)."""
    label_index, counted = labels_at(logits, labels, ignore_index, caller)
    return (logits.gather(1, label_index) < logits.amax(dim=1, keepdim=True)) & counted


def _unnamed(logits: Tensor, probs: Tensor) -> Tensor:
    """Whether the largest logit is of no class that the label names, (B, 1) or (B, 1, ...)."""
    named = probs > probs.amin(dim=1, keepdim=True)
    best = logits.masked_fill(~named, -torch.inf).amax(dim=1, keepdim=True)
    return (best < logits.amax(dim=1, keepdim=True)) & named.any(dim=1, keepdim=True)


def labels_at(logits: Tensor, labels: Tensor, ignore_index: int, caller: str) -> tuple[Tensor, Tensor]:
    """Where the label's logit is (0 in ignored rows), and which rows count, both (B, 1) or (B, 1, ...)."""
    if not isinstance(ignore_index, int):
        raise InputError(f"`{caller}` needs ignore_index as a whole number, got {ignore_index!r}")
    check_labels(logits, labels, ignore_index, caller=caller)
    labels = labels.long()  # in uint8, 156 would equal -100
    counted = labels != ignore_index
    return labels.where(counted, torch.zeros_like(labels)).unsqueeze(1), counted.unsqueeze(1)
