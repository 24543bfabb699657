"""Semantic segmentation: a class for every pixel, so logits (B, K, H, W) and labels (B, H, W).

Objectives take dense logits as they are. What torchvision's LR-ASPP, DeepLabV3 and FCN need besides is here: they
return dictionaries, some with an auxiliary head, and pixels with an ignored label (255 by custom) do not count.

    teacher = MainOutput(trained_copy)
    objective = drkd.dr_kd(teacher, ignore_index=255)
    losses = segmentation_losses(network, images, labels, objective)
    losses["loss"].backward()
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from drkd.objective.losses import hard_cross_entropy
from drkd.objective.objective import Objective
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError

AUX_WEIGHT = 0.5
"""Weight of the auxiliary head, as torchvision's networks were trained with."""


@dataclass(frozen=True)
class SegmentationMetrics:
    """How well pixels are classified; both are fractions.

    Attributes:
        miou: mean over the classes that occur, in the labels or in the predictions, of intersection over union.
        per_class: intersection over union of every class, None for one that does not occur.
    """

    miou: float
    per_class: tuple[float | None, ...]


class MainOutput(nn.Module):
    """A segmentation network as one that returns logits (B, K, H, W): what teachers, `Ema` and `mean_iou` want.

    Args:
        network: returns a dictionary with `out`, or logits. It is not copied.

    Example:
        >>> dense = nn.Conv2d(3, 4, 1)
        >>> MainOutput(dense)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return _outputs(self.network(images))["out"]


def segmentation_losses(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    index: Tensor | None = None,
    aux_weight: float = AUX_WEIGHT,
) -> dict[str, Tensor]:
    """The losses of one training step.

    The main output is trained by `objective`, an auxiliary head by plain cross-entropy: it is thrown away later, and a
    self-teacher has no answer for it. With `drkd.cross_entropy` the loss is the one of torchvision's own training.

    Args:
        network: from images to a dictionary with `out` and perhaps `aux`, or to logits.
        images: (B, 3, H, W).
        labels: (B, H, W) integers of any type; pixels with the objective's `ignore_index` do not count.
        objective: any method without `pairs` or `replay`; a network that teaches is a `MainOutput`.
        index: (B,) positions of the samples, for methods that remember them; keep images unaltered then.
        aux_weight: of the auxiliary head.

    Returns:
        What the objective returns, `aux` being added to `loss` where there is such a head.

    Raises:
        InputError: for labels or outputs that do not fit.

    Example:
        >>> from drkd import label_smoothing
        >>> labels = torch.randint(4, (2, 8, 8)).index_fill(1, torch.tensor([0]), 255)
        >>> losses = segmentation_losses(
        ...     nn.Conv2d(3, 4, 1), torch.rand(2, 3, 8, 8), labels, label_smoothing(0.1, ignore_index=255)
        ... )
        >>> sorted(losses)
        ['ce', 'loss', 'smoothing', 'smoothing_kl']
    """
    check_arguments(
        segmentation_losses, {"network": network, "images": images, "labels": labels, "aux_weight": aux_weight}
    )
    outputs = _outputs(network(images))
    losses = objective(outputs["out"], labels, inputs=images, index=index)
    if "aux" not in outputs:
        return dict(losses)
    labels, ignored = labels.long(), objective.ignore_index
    counted = (labels != ignored).sum().clamp(min=1)  # a batch whose pixels are all ignored has loss 0
    aux = aux_weight * hard_cross_entropy(outputs["aux"], labels, ignore_index=ignored, reduction="sum") / counted
    return {**losses, "loss": losses["loss"] + aux, "aux": aux.detach()}


def mean_iou(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, num_classes: int, ignore_index: int | None = 255
) -> SegmentationMetrics:
    """Mean intersection over union, over all pixels of all batches together, by torchmetrics.

    Args:
        network: as for `segmentation_losses`; it is left in eval mode.
        batches: of images (B, 3, H, W) and labels (B, H, W).
        num_classes: K.
        ignore_index: the label of pixels that do not count.

    Raises:
        InputError: if there is no pixel that counts.
    """
    check_arguments(mean_iou, locals())
    from torchmetrics.classification import MulticlassConfusionMatrix

    network.eval()
    metric = MulticlassConfusionMatrix(num_classes, ignore_index=ignore_index)
    with torch.no_grad():
        for images, labels in batches:
            metric.update(_outputs(network(images))["out"].argmax(dim=1).cpu(), labels.cpu().long())
    counts = metric.compute().double()
    hits = counts.diagonal()
    union = counts.sum(dim=0) + counts.sum(dim=1) - hits
    if not union.sum():
        raise InputError("mean_iou needs pixels whose label is not ignored, got none; give batches that have some")
    per_class = [float(hit / all_) if all_ else None for hit, all_ in zip(hits, union, strict=True)]
    there = [value for value in per_class if value is not None]
    return SegmentationMetrics(sum(there) / len(there), tuple(per_class))


def _outputs(made: Any) -> dict[str, Tensor]:
    """The outputs by name, whichever way a network returns them."""
    if isinstance(made, Tensor):
        return {"out": made}
    if not isinstance(made, dict) or "out" not in made:
        raise InputError(
            f"a segmentation network must return logits or a dictionary with `out`, got {type(made).__name__}"
        )
    return made
