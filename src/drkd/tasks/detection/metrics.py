"""How good a detector is: COCO's mean average precision and recall, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drkd.tasks.detection.batches import DetectionLoader
from drkd.tasks.detection.splits import DetectionSplits, Target
from drkd.utils.errors import InputError
from drkd.utils.progress import tracked

BATCH = 8
"""Images that are measured at a time."""

Found = dict[str, Tensor]
"""A detector's predictions for one image: `boxes` (n, 4), `labels` and `scores` (n,), the most certain first."""


@dataclass(frozen=True)
class DetectionMetrics:
    """What a detector achieves on a split; all are fractions.

    Attributes:
        map: average precision, mean over the overlaps (IoU) 0.50, 0.55, ..., 0.95 and over the classes.
        map50: the same at an overlap of 0.5.
        ar: average recall with 100 detections per image, mean over the same overlaps and classes.
        per_class: the three of each class, and the number of its `boxes`; a class without boxes has none of them.
    """

    map: float
    map50: float
    ar: float
    per_class: dict[str, dict[str, float]]


def evaluate_detector(
    detector: nn.Module, data: DetectionSplits, split: str = "test", *, found: Sequence[Found] | None = None
) -> DetectionMetrics:
    """Measure a detector on a split.

    Args:
        detector: left in eval mode.
        data: see `load_detection`.
        split: `train`, `val` or `test`.
        found: what `detect` gave for it, where that is known.

    Raises:
        InputError: for a split without boxes, or where pycocotools is missing.

    Example:
        >>> from drkd.tasks.detection import DetectionData, DetectionSplit, create_detector
        >>> box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> split = DetectionSplit.of([torch.zeros(3, 48, 64, dtype=torch.uint8)], [box])
        >>> data = DetectionData("made up", ("cell",), 64, train=split, val=split, test=split)
        >>> measured = evaluate_detector(create_detector("small_ssd", num_classes=1, image_size=64), data)
        >>> 0 <= measured.map <= measured.map50 <= 1
        True
    """
    part = getattr(data, split)
    return measure(detect(detector, data, split) if found is None else found, part.targets, data.classes)


def detect(detector: nn.Module, data: DetectionSplits, split: str) -> list[Found]:
    """What a detector finds on the images of a split, in order, on the processor; it is left in eval mode."""
    device = next(detector.parameters()).device
    detector.eval()
    loader = DetectionLoader(data, getattr(data, split), batch_size=BATCH, training=False, device=device)
    with torch.no_grad():
        batches = tracked(loader.batches(), "evaluation", len(loader))
        found = [one for batch in batches for one in detector(batch.images)]
    return [{name: value.cpu() for name, value in one.items()} for one in found]


def measure(found: Sequence[Found], targets: Sequence[Target], classes: Sequence[str]) -> DetectionMetrics:
    """The metrics of detections on N images.

    Args:
        found: of each image.
        targets: its true `boxes` and `labels`, from 1 on; what is found on boxes with `iscrowd` counts neither way, as
            in COCO's evaluation.
        classes: their names.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> found = [{"boxes": box, "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}]
        >>> measured = measure(found, [{"boxes": box, "labels": torch.tensor([1])}], ["disc"])
        >>> measured.map, measured.ar, measured.per_class["disc"]["boxes"]
        (1.0, 1.0, 1)
    """
    try:
        from torchmetrics.detection import MeanAveragePrecision

        metric = MeanAveragePrecision(extended_summary=True, sync_on_compute=False)  # ranks measure what they have
    except ImportError as reason:
        raise InputError(
            f"measuring detections needs pycocotools: pip install 'drkd[detection]' ({reason})"
        ) from reason
    metric.warn_on_many_detections = False  # the 100 most certain are counted
    labels = [t["labels"][t["iscrowd"] == 0] if "iscrowd" in t else t["labels"] for t in targets]
    counts = torch.cat(labels or [torch.zeros(0)]).long()
    if not len(counts):
        raise InputError("there are no boxes to measure against; give a split that has some")
    metric.update(list(found), [dict(target) for target in targets])
    values = metric.compute()
    precision, recall = values["precision"][..., 0, -1], values["recall"][..., 0, -1]  # all sizes, 100 detections
    per_class = {}
    for path, label in enumerate(values["classes"].reshape(-1).tolist()):
        boxes = int((counts == label).sum())
        if boxes:
            per_class[classes[label - 1]] = {
                "map": float(precision[:, :, path].mean()),
                "map50": float(precision[0, :, path].mean()),
                "ar": float(recall[:, path].mean()),
                "boxes": boxes,
            }
    return DetectionMetrics(float(values["map"]), float(values["map_50"]), float(values["mar_100"]), per_class)
