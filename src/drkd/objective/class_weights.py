"""How much a row counts, by its class: for classes that are rarer, or dearer, than others.

A row of class k counts `w_k` times, in every term of the objective, and means are over the weights that count:

    loss = sum_i w_i L_i / sum_i w_i        w_i = w[label_i], or sum_k label_ik w_k where the label is a distribution

For plain cross-entropy with integer labels this is `torch.nn.CrossEntropyLoss(weight=w)`. It is also what sampling the
rows of class k in proportion to `w_k` would come to on average (`--sampler balanced`), whatever the method: so a soft
target, the teacher's included, is weighted like the label beside it.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError
from drkd.utils.labels import MixedLabels

ClassWeights = Literal["balanced"] | Sequence[float] | Tensor
"""`balanced`: from the training labels, see `balanced_weights`; or one number per class."""


class RowWeights:
    """The weights of an objective's rows.

    Args:
        class_weights: `balanced`, or one number per class.

    Raises:
        InputError: for what is neither `balanced` nor numbers from 0 on, of which one at least is above.

    Example:
        >>> RowWeights([1.0, 3.0]).of(torch.tensor([1, IGNORED, 0]), torch.zeros(3, 2))
        tensor([3., 0., 1.])
    """

    def __init__(self, class_weights: ClassWeights) -> None:
        self.balanced = isinstance(class_weights, str)
        self.weights: Tensor | None = None
        if not isinstance(class_weights, str):
            self.weights = _checked(class_weights)
        elif class_weights != "balanced":
            raise InputError(f"class weights must be balanced or one number per class, got {class_weights!r}")

    def reset(self) -> None:
        """Forget the labels of an earlier training."""
        if self.balanced:
            self.weights = None

    def prepare(self, labels: Tensor) -> None:
        """Look at the labels of the training samples, integers or distributions; see `balanced_weights`."""
        if self.balanced:
            self.weights = balanced_weights(labels)

    def of(self, labels: Tensor, logits: Tensor, mixed: MixedLabels | None = None) -> Tensor:
        """What each row counts, of the type and on the device of `logits` (B, K) or (B, K, ...); see `row_weights`.

        `labels` are integers; where labels name several classes, the heaviest of each row beside `mixed`.

        Raises:
            InputError: for another number of classes, or before `prepare` where the weights go by the labels.
        """
        classes = logits.shape[1]
        if self.weights is None:
            raise InputError(
                "balanced class weights need the training labels, which were not seen; call the objective's "
                "`prepare`, as drkd.fit does, or give numbers: drkd.objective.class_weights.balanced_weights(labels)"
            )
        if self.balanced and len(self.weights) < classes:  # the last classes have no samples
            self.weights = torch.cat([self.weights, self.weights.new_ones(classes - len(self.weights))])
        if len(self.weights) != classes:
            raise InputError(f"class weights must be {classes} numbers, one for each class, got {len(self.weights)}")
        self.weights = self.weights.to(logits.device)
        weights = self.weights.to(logits.dtype)
        if mixed is None:
            return row_weights(weights, labels)
        return row_weights(weights, mixed.probs).where(labels != IGNORED, 0.0)


def _checked(weights: Sequence[float] | Tensor) -> Tensor:
    try:
        found = torch.as_tensor(weights, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as reason:
        raise InputError(f"class weights must be balanced or one number per class, got {weights!r}") from reason
    if found.dim() != 1 or not found.isfinite().all() or bool((found < 0).any()) or not found.any():
        raise InputError(f"class weights must be finite numbers from 0 on, not all of them 0, got {found.tolist()}")
    return found


def balanced_weights(labels: Tensor) -> Tensor:
    """Weights by which every class counts alike: N / (K N_k), over the K classes that occur; scikit-learn's `balanced`.

    Args:
        labels: integers (N,), ignored ones among them or not, or distributions (N, K).

    Returns:
        Weights (classes,) in float64; 1 for a class that does not occur. Over the samples their mean is 1.

    Example:
        >>> balanced_weights(torch.tensor([0, 0, 0, 2]))
        tensor([0.6667, 1.0000, 2.0000], dtype=torch.float64)
    """
    if labels.is_floating_point():
        counts = labels.double().sum(dim=0)
    else:
        counts = torch.bincount(labels[labels != IGNORED].long()).double()
    there = counts > 0
    return (counts.sum() / (there.sum() * counts.where(there, 1.0))).where(there, 1.0)


def row_weights(weights: Tensor, labels: Tensor) -> Tensor:
    """What each row counts.

    Args:
        weights: (K,).
        labels: integers (B,) or (B, ...), or distributions (B, K) or (B, K, ...) of floats.

    Returns:
        (B,) or (B, ...); 0 in the rows that are ignored.

    Example:
        >>> row_weights(torch.tensor([1.0, 3.0]), torch.tensor([1, IGNORED, 0]))
        tensor([3., 0., 1.])
        >>> row_weights(torch.tensor([1.0, 3.0]), torch.tensor([[0.5, 0.5]]))
        tensor([2.])
    """
    if labels.is_floating_point():
        with torch.autocast(weights.device.type, enabled=False):  # which would multiply in half precision
            return torch.einsum("bk...,k->b...", labels.to(weights.dtype), weights)
    counted = labels != IGNORED
    return weights[labels.where(counted, 0)].where(counted, 0.0)


def weighted(values: dict[str, Tensor], by_row: Tensor, *, summed: bool) -> dict[str, Tensor]:
    """What a term gave for each row, with its rows weighted; `rectified` stays a count of rows.

    Args:
        values: see `LossTerm.forward`, not reduced.
        by_row: what each row counts.
        summed: whether to add up the rows.
    """
    made = {name: value if name == "rectified" else value * by_row for name, value in values.items()}
    return {name: value.sum() for name, value in made.items()} if summed else made
