"""How good a segmenter is: mean intersection over union and pixel accuracy, from torchmetrics' confusion matrix."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drkd.tasks.segmentation.batches import SegmentationLoader
from drkd.tasks.segmentation.losses import outputs_of
from drkd.tasks.segmentation.splits import IGNORE, SegmentationSplit, SegmentationSplits
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError
from drkd.utils.progress import tracked

BATCH = 16
"""Images that are measured at a time."""


@dataclass(frozen=True)
class SegmentationMetrics:
    """How well pixels are classified; all are fractions.

    Attributes:
        miou: mean over the classes that occur, in the labels or in the predictions, of intersection over union.
        pixel_accuracy: of all pixels that count, those of the right class.
        per_class: by name, the `iou` of every class that occurs, and its number of `pixels` in the labels.
    """

    miou: float
    pixel_accuracy: float
    per_class: dict[str, dict[str, float]]


def mean_iou(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, num_classes: int, ignore_index: int | None = IGNORE
) -> SegmentationMetrics:
    """Mean intersection over union, over all pixels of all batches together, by torchmetrics.

    Args:
        network: as for `segmentation_losses`; it is left in eval mode.
        batches: of images (B, 3, H, W) and labels (B, H, W).
        num_classes: K; classes are called by their numbers.
        ignore_index: the label of pixels that do not count.

    Raises:
        InputError: if there is no pixel that counts.
    """
    check_arguments(mean_iou, locals())
    return _measure(network, batches, [str(label) for label in range(num_classes)], ignore_index)


def evaluate_segmenter(network: nn.Module, data: SegmentationSplits, split: str = "test") -> SegmentationMetrics:
    """Measure a segmenter on a split, at the data's image size.

    Args:
        network: returns logits or torchvision's dictionary; left in eval mode.
        data: see `load_segmentation`.
        split: `train`, `val` or `test`; without augmentation.

    Raises:
        InputError: for a split without a pixel that counts.

    Example:
        >>> from drkd.tasks.segmentation import SegmentationData, SegmentationSplit
        >>> split = SegmentationSplit.of(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8).byte())
        >>> data = SegmentationData("made up", ("sky", "sea"), 8, train=split, val=split, test=split)
        >>> measured = evaluate_segmenter(nn.Conv2d(3, 2, 1), data)
        >>> measured.per_class["sky"]["pixels"]
        128
    """
    device = next(network.parameters()).device
    loader = SegmentationLoader(data, getattr(data, split), batch_size=BATCH, training=False, device=device)
    batches = tracked(loader.batches(), "evaluation", len(loader))
    return _measure(network, ((batch.images, batch.labels) for batch in batches), data.classes, IGNORED)


def segment(network: nn.Module, data: SegmentationSplits, split: str) -> list[Tensor]:
    """The classes uint8 (S, S) that a segmenter gives each image of a split, in order; it is left in eval mode."""
    device = next(network.parameters()).device
    network.eval()
    loader = SegmentationLoader(data, getattr(data, split), batch_size=BATCH, training=False, device=device)
    with torch.no_grad():
        return [
            classes
            for batch in loader.batches()
            for classes in outputs_of(network(batch.images))["out"].argmax(dim=1).to(torch.uint8).cpu()
        ]


def pixels_of_classes(split: SegmentationSplit, num_classes: int) -> Tensor:
    """How many pixels of a split are labelled with each class, without augmentation: (K,), in float64.

    Example:
        >>> masks = torch.tensor([[[0, 1], [1, 255]]], dtype=torch.uint8)
        >>> split = SegmentationSplit.of(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), masks)
        >>> pixels_of_classes(split, 3)
        tensor([1., 2., 0.], dtype=torch.float64)
    """
    counts = torch.zeros(num_classes, dtype=torch.float64)
    for row in tracked(range(len(split)), "pixels of each class", len(split)):
        mask = split[row][1].flatten()
        counts += torch.bincount(mask[mask != IGNORE].long(), minlength=num_classes)
    return counts


def _measure(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], classes: Sequence[str], ignore_index: int | None
) -> SegmentationMetrics:
    network.eval()
    with torch.no_grad():
        answered = ((outputs_of(network(images))["out"].argmax(dim=1).cpu(), labels) for images, labels in batches)
        return measure_masks(answered, classes, ignore_index)


def measure_masks(
    masks: Iterable[tuple[Tensor, Tensor]], classes: Sequence[str], ignore_index: int | None = IGNORE
) -> SegmentationMetrics:
    """The metrics of classes that a network gave, over all pixels together.

    Args:
        masks: of the given classes and the labels, of one shape each.
        classes: names of the values.
        ignore_index: the label of pixels that do not count.

    Raises:
        InputError: if there is no pixel that counts.

    Example:
        >>> found = measure_masks([(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 255]]))], ["sky", "sea"])
        >>> found.miou, found.pixel_accuracy
        (0.25, 0.5)
    """
    from torchmetrics.classification import MulticlassConfusionMatrix

    metric = MulticlassConfusionMatrix(len(classes), ignore_index=ignore_index, sync_on_compute=False)
    for found, labels in masks:
        metric.update(found.cpu().long(), labels.cpu().long())
    counts = metric.compute().double()
    hits, pixels = counts.diagonal(), counts.sum(dim=1)
    union = counts.sum(dim=0) + pixels - hits
    if not union.sum():
        raise InputError("mean IoU needs pixels whose label is not ignored, got none; give images that have some")
    per_class = {
        name: {"iou": float(hit / all_), "pixels": int(count)}
        for name, hit, all_, count in zip(classes, hits, union, pixels, strict=True)
        if all_
    }
    miou = sum(row["iou"] for row in per_class.values()) / len(per_class)
    return SegmentationMetrics(miou, float(hits.sum() / counts.sum()), per_class)
