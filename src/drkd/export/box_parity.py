"""Whether an exported detector finds what the network finds: both on the same real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from drkd.export.parity import Tolerance
from drkd.export.runtimes import Outputs, Pixels, Session
from drkd.tasks.detection.metrics import Found, measure
from drkd.tasks.detection.splits import Target
from drkd.utils.errors import ParityError

OVERLAP = 0.9
"""Boxes that overlap by at least this IoU are the same."""

CERTAIN = 0.25
"""Boxes of this score are compared, and the most certain one of each image."""

FLOAT_BOXES = Tolerance(difference=0.01, agreement=0.99, accuracy_drop=0.005)
INT8_BOXES = Tolerance(difference=None, agreement=0.7, accuracy_drop=0.02)


@dataclass(frozen=True)
class BoxParity:
    """What was found; all but the counts are fractions.

    Attributes:
        samples: how many images.
        boxes: how many boxes were compared, of the network's and of the file's.
        agreement: fraction of them that the other has too: the same class, at an IoU of 0.9 or more.
        largest_difference: of the scores of two that are the same; 0 where there are none.
        map_before, map_after: mAP of the network and of the file.
        map50_before, map50_after: the same at an IoU of 0.5.
    """

    samples: int
    boxes: int
    agreement: float
    largest_difference: float
    map_before: float
    map_after: float
    map50_before: float
    map50_after: float

    metric: ClassVar[str] = "mAP"
    same: ClassVar[str] = "same boxes"
    differs: ClassVar[str] = "score"

    @property
    def before(self) -> float:
        """What the network achieves."""
        return self.map_before

    @property
    def after(self) -> float:
        """What the file achieves."""
        return self.map_after

    def describe(self, temperature: float = 1.0) -> str:
        """In words, as `drkd export` prints it."""
        del temperature
        return (
            f"mAP {100 * self.map_before:.2f}% before, {100 * self.map_after:.2f}% after; mAP50 "
            f"{100 * self.map50_before:.2f}% before, {100 * self.map50_after:.2f}% after; the same class and place for "
            f"{100 * self.agreement:.2f}% of {self.boxes} boxes; largest score difference {self.largest_difference:.2g}"
        )


def boxes_of(session: Session, pixels: Sequence[Pixels]) -> list[Found]:
    """What a detector finds on images uint8 (3, H, W), one at a time."""
    return [_found(session.run(np.ascontiguousarray(each)[None])) for each in pixels]


def compare_boxes(before: Sequence[Found], after: Sequence[Found], truth: Sequence[Target]) -> BoxParity:
    """What the network finds on each image, what its export finds, and what is there.

    A box of either, if its score is `CERTAIN` or it is the most certain one of its image, is looked for among all of
    the other's, each of which answers for one at most.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> one, two = ({"boxes": box, "labels": torch.tensor([1]), "scores": torch.tensor([s])} for s in (0.5, 0.75))
        >>> found = compare_boxes([one], [two], [{"boxes": box, "labels": torch.tensor([1])}])
        >>> found.boxes, found.agreement, found.largest_difference, found.map_after
        (2, 1.0, 0.25, 1.0)
    """
    compared, largest, same = 0, 0.0, 0
    for pair in zip(before, after, strict=True):
        for own, other in (pair, pair[::-1]):
            differences, count = _matches(own, other)
            compared, same = compared + count, same + len(differences)
            largest = max([largest, *differences])
    classes = torch.cat([torch.zeros(1), *(target["labels"] for target in truth)]).max()
    names = [str(number) for number in range(int(classes))]
    first, second = (measure(found, truth, names) for found in (before, after))
    return BoxParity(
        samples=len(before),
        boxes=compared,
        agreement=same / compared if compared else 1.0,
        largest_difference=largest,
        map_before=first.map,
        map_after=second.map,
        map50_before=first.map50,
        map50_after=second.map50,
    )


def refuse_boxes_beyond(tolerance: Tolerance, found: BoxParity, what: str, advice: str = "") -> None:
    """Do nothing within the tolerance; one box that differs is always allowed.

    Raises:
        ParityError: that names the first bound that is passed.
    """
    agreement = min(tolerance.agreement, 1 - 1 / max(1, found.boxes))
    drop = found.map_before - found.map_after
    reason = option = ""
    if not np.isfinite(found.largest_difference):
        reason = "some scores are not finite"
    elif tolerance.difference is not None and found.largest_difference > tolerance.difference:
        reason = f"a score differs by {found.largest_difference:.3g} (allowed: {tolerance.difference:.3g})"
        option = "--max-difference"
    elif found.agreement < agreement - 1e-9:
        reason = f"only {100 * found.agreement:.2f}% of the boxes are the same (required: {100 * agreement:.2f}%)"
        option = "--min-agreement"
    elif drop > tolerance.accuracy_drop + 1e-9:
        reason = f"mAP falls by {100 * drop:.2f} points (allowed: {100 * tolerance.accuracy_drop:.2f})"
        option = "--max-drop"
    if reason:
        way = f"allow it with {option}" if option else "export from a network that has not diverged"
        raise ParityError(f"{what} is rejected: on {found.samples} images {reason}; {advice}{way}")


def _found(outputs: Outputs) -> Found:
    return dict(zip(("boxes", "labels", "scores"), map(torch.from_numpy, outputs), strict=True))


def _matches(own: Found, other: Found) -> tuple[list[float], int]:
    """The score differences of the boxes that both have, and how many were looked for."""
    from torchvision.ops import box_iou

    order = own["scores"].argsort(descending=True, stable=True)
    wanted = [row for rank, row in enumerate(order.tolist()) if not rank or float(own["scores"][row]) >= CERTAIN]
    overlaps = box_iou(own["boxes"][wanted].float(), other["boxes"].float())
    overlaps = overlaps * (own["labels"][wanted][:, None] == other["labels"])
    differences = []
    for row, line in zip(wanted, overlaps, strict=True):
        best = int(line.argmax()) if len(line) else 0
        if len(line) and float(line[best]) >= OVERLAP:
            differences.append(abs(float(own["scores"][row]) - float(other["scores"][best])))
            overlaps[:, best] = 0
    return differences, len(wanted)
