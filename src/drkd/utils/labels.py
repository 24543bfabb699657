"""Labels that name several classes: those of mixed images, and the votes of several annotators."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from drkd.utils.checks import IGNORED, check_logits, typed
from drkd.utils.errors import InputError


@dataclass(frozen=True, slots=True)
class MixedLabels:
    """A distribution over the classes per row and, for mixed images, the other sample.

    Pass this to an objective instead of integer labels if images are mixed and the method remembers samples. For
    unmixed samples a plain tensor (B, K) does the same.

    Attributes:
        probs: (B, K) or dense (B, K, ...), each row with the sum 1; a row of zeros does not count.
        weight: (B,), how much of each image is the sample that its `index` names; None stands for all of it.
        partner_index: (B,), which sample the rest of each image is; needed where there is a weight.
        most_named: the largest number of classes that a row names, where that is known.

    Example:
        >>> mixed = mix_labels(torch.tensor([0, 2]), torch.tensor([1, 2]), torch.tensor([0.75, 0.5]), num_classes=3)
        >>> mixed.probs, mixed.heaviest
        (tensor([[0.7500, 0.2500, 0.0000],
                [0.0000, 0.0000, 1.0000]]), tensor([0, 2]))
    """

    probs: Tensor
    weight: Tensor | None = None
    partner_index: Tensor | None = None
    most_named: int | None = None

    def __len__(self) -> int:
        return len(self.probs)

    @property
    def heaviest(self) -> Tensor:
        """The class of the largest weight, the first of equals, int64 (B,) or (B, ...); -100 where no class has any."""
        largest, label_index = self.probs.max(dim=1)
        return label_index.where(largest > 0, torch.full_like(label_index, IGNORED))

    def to(self, *args: Any, **others: Any) -> "MixedLabels":
        """On another device, as `Tensor.to`; trainers move batches with it."""
        tensors = {name: getattr(self, name) for name in ("probs", "weight", "partner_index")}
        return replace(self, **{name: x.to(*args, **others) for name, x in tensors.items() if x is not None})


def mix_labels(
    labels: Tensor,
    partners: Tensor,
    weight: Tensor,
    *,
    num_classes: int,
    partner_index: Tensor | None = None,
) -> MixedLabels:
    """The labels of images that are each a part `weight` of one sample and for the rest of another.

    Args:
        labels: of the samples, integers (B,), or distributions (B, K).
        partners: the same of the others.
        weight: (B,) in [0, 1].
        num_classes: K.
        partner_index: see `MixedLabels`.
    """
    weight = weight if weight.is_floating_point() else weight.float()
    ours, theirs = (_as_probs(part, num_classes, weight.dtype) for part in (labels, partners))
    share = weight.view(-1, *[1] * (ours.dim() - 1))
    counted = (ours.sum(dim=1, keepdim=True) > 0) & ((theirs.sum(dim=1, keepdim=True) > 0) | (share == 1))
    probs = (share * ours + (1 - share) * theirs).where(counted, 0.0)
    return MixedLabels(probs, weight, partner_index, None if labels.is_floating_point() else 2)


def as_mixed(logits: Tensor, labels: object, *, caller: str) -> tuple[MixedLabels, Tensor] | None:
    """Labels that name several classes, checked and in the dtype of `logits`; None for integers.

    Values are looked at on the CPU only.

    Returns:
        The labels, with a uniform distribution in rows that do not count, so that nothing is divided by 0; and each
        row's heaviest class, -100 in those rows.

    Raises:
        InputError: for a distribution of another shape than the logits, negative weights, and rows whose sum is
            neither 1 nor 0.

    Example:
        >>> as_mixed(torch.zeros(1, 2), torch.tensor([1]), caller="swap") is None
        True
        >>> as_mixed(torch.zeros(1, 2), torch.tensor([[0.5, 0.6]]), caller="swap")
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: `swap` needs weights that add up to 1 in each row (or are all 0 in a row that \
does not count), got a sum of 1.1; divide votes by their number
    """
    if isinstance(labels, Tensor) and labels.is_floating_point():
        labels = MixedLabels(labels)
    if not isinstance(labels, MixedLabels):
        return None
    check_logits(logits, f"`{caller}` needs")
    probs, rows = labels.probs, logits.shape[:1]
    if not isinstance(probs, Tensor) or probs.shape != logits.shape or logits.dim() < 2:
        raise InputError(
            f"`{caller}` needs integer labels {tuple(rows + logits.shape[2:])} or distributions {tuple(logits.shape)}, "
            f"got {typed(probs)}; give a weight for each class"
        )
    for name, part in (("weight", labels.weight), ("partner_index", labels.partner_index)):
        if part is not None and (not isinstance(part, Tensor) or part.shape != rows):
            raise InputError(f"`{caller}` needs MixedLabels with a {name} {tuple(rows)}, got {typed(part)}")
    probs = probs.to(torch.promote_types(logits.dtype, torch.float32))
    sums = probs.sum(dim=1, keepdim=True)
    if probs.device.type == "cpu" and probs.numel():
        off = (sums - 1).abs() * (sums != 0)
        if not off.max() <= max(1e-4, 4 * torch.finfo(labels.probs.dtype).eps):  # NaN, too
            wrong = sums.flatten()[off.flatten().argmax()].item()
            raise InputError(
                f"`{caller}` needs weights that add up to 1 in each row (or are all 0 in a row that does not count), "
                f"got a sum of {wrong:.4g}; divide votes by their number"
            )
        if probs.min() < 0:
            raise InputError(f"`{caller}` needs weights from 0 to 1, got {probs.min().item():.4g}")
    heaviest = MixedLabels(probs).heaviest
    return replace(labels, probs=probs.where(sums > 0, 1 / probs.shape[1])), heaviest


def _as_probs(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Integers as one-hot rows, -100 as a row of zeros; distributions as they are."""
    if labels.is_floating_point():
        return labels.to(dtype)
    labels = labels.long()  # in uint8, 156 would equal -100
    probs = torch.zeros(len(labels), num_classes, *labels.shape[1:], dtype=dtype, device=labels.device)
    counted = labels != IGNORED
    return probs.scatter_(1, labels.where(counted, 0).unsqueeze(1), counted.unsqueeze(1).to(dtype))
