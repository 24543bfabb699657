"""An image of what a detector gets right and wrong: its best and worst cases, with boxes.

Every image is ranked by its own average precision at an overlap of 0.5, classes taken together where they agree. Of a
image's detections as many are drawn as it has true boxes, the most certain ones: so no threshold has to be chosen.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from drkd.tasks.detection.metrics import Found
from drkd.tasks.detection.splits import DetectionSplit, Target, counted_boxes
from drkd.utils.plain_plots import plain_text, shorten

EACH = 4
"""Images of either end."""

TRUE, CLAIMED = "#00b37a", "#ff7f0e"


@plain_text
def draw_cases(found: Sequence[Found], split: DetectionSplit, classes: Sequence[str], file: Path) -> None:
    """Write a PNG with the images of a split on which the detections fit best (above) and worst (below).

    Args:
        found: what the detector predicts for each image of `split`.
        split: images and true boxes; images without any are left out.
        classes: names of the labels 1, 2, ...
        file: where to.
    """
    counted = [row for row, target in enumerate(split.targets) if counted_boxes(target)]
    scores = {row: image_ap(found[row], split.targets[row]) for row in counted}
    ranked = sorted(scores, key=lambda row: (-scores[row], row))
    count = min(EACH, (len(ranked) + 1) // 2)
    lines = {"best": ranked[:count], "worst": ranked[::-1][:count]}
    figure = Figure(figsize=(3.2 * max(1, count), 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, max(1, count), squeeze=False)
    for axes_of_line, (name, rows) in zip(grid, lines.items(), strict=True):
        for axes in axes_of_line:
            axes.axis("off")
        for axes, row in zip(axes_of_line, rows, strict=False):
            image = split.images[row]
            axes.imshow(image.permute(1, 2, 0).numpy())
            (target, _), said = _without_crowds(split.targets[row]), found[row]
            most = slice(0, len(target["boxes"]))
            for boxes, labels, colour, style in (
                (target["boxes"], target["labels"], TRUE, "-"),
                (said["boxes"][most], said["labels"][most], CLAIMED, "--"),
            ):
                for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
                    frame = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour)
                    frame.set(linestyle=style, linewidth=1.1)
                    axes.add_patch(frame)
                    kind = shorten(classes[label - 1])
                    axes.text(left, top, kind, fontsize=5, color=colour, va="bottom", clip_on=True)
            file_name = shorten(split.images.files[row].name)
            axes.set_title(f"{name}: AP50 {100 * scores[row]:.0f}%, {file_name}", fontsize=7)
    figure.suptitle("true boxes: green, solid; as many most certain detections: orange, dashed", fontsize=8)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def image_ap(found: Found, target: Target, *, overlap: float = 0.5) -> float:
    """Average precision on one image, all its boxes taken together: the mean over true boxes of the precision there.

    A detection hits the true box of its class that it overlaps most among those not hit before, if by at least
    `overlap`; the most certain come first. A true box without a hit counts 0. Boxes with `iscrowd` count neither way,
    and neither do detections that hit no other box and lie on one by at least `overlap` of their area.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> said = {"boxes": box.repeat(2, 1), "labels": torch.tensor([2, 1]), "scores": torch.tensor([0.9, 0.8])}
        >>> image_ap(said, {"boxes": box, "labels": torch.tensor([1])})
        0.5
    """
    from torchvision.ops import box_area, box_iou

    target, crowds = _without_crowds(target)
    order = found["scores"].argsort(descending=True, stable=True)
    boxes, labels = found["boxes"][order], found["labels"][order, None]
    overlaps = box_iou(boxes, target["boxes"]) * (labels == target["labels"])
    covered = _intersections(boxes, crowds["boxes"]) * (labels == crowds["labels"])
    on_crowd = (covered >= overlap * box_area(boxes)[:, None]) & (covered > 0)
    precisions: list[float] = []
    rank = 0
    for row, ignored in zip(overlaps, on_crowd.any(dim=1).tolist(), strict=True):
        best = int(row.argmax()) if len(row) else 0
        hit = bool(len(row) and row[best] >= overlap)
        rank += hit or not ignored
        if hit:
            overlaps[:, best] = 0
            precisions.append((len(precisions) + 1) / rank)
    return sum(precisions) / len(target["boxes"]) if len(target["boxes"]) else 0.0


def _intersections(first: Tensor, second: Tensor) -> Tensor:
    """The common area of boxes (n, 4) and (m, 4), (n, m)."""
    low = torch.maximum(first[:, None, :2], second[:, :2])
    high = torch.minimum(first[:, None, 2:], second[:, 2:])
    return (high - low).clamp(min=0).prod(dim=2)


def _without_crowds(target: Target) -> tuple[Target, Target]:
    """The boxes that count, and those that do not."""
    crowd = target["iscrowd"] == 1 if "iscrowd" in target else torch.zeros_like(target["labels"], dtype=torch.bool)
    parts = [{name: target[name][rows] for name in ("boxes", "labels")} for rows in (~crowd, crowd)]
    return parts[0], parts[1]
