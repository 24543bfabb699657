"""Whether an exported segmenter names the pixels as the network does: both on the same real images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.export.parity import Tolerance
from drkd.export.runtimes import Pixels, Session
from drkd.tasks.segmentation.masks import IGNORE
from drkd.tasks.segmentation.metrics import measure_masks
from drkd.utils.errors import ParityError

Masks = NDArray[np.uint8]
"""The classes (N, S, S) of images."""

FLOAT_MASKS = Tolerance(difference=0.01, agreement=0.999, accuracy_drop=0.001)
INT8_MASKS = Tolerance(difference=None, agreement=0.9, accuracy_drop=0.02)


@dataclass(frozen=True)
class MaskParity:
    """What was found; all but the counts are fractions, of pixels whose true class is known.

    Attributes:
        samples: how many images.
        pixels: how many pixels were compared.
        agreement: fraction of them that both give the same class.
        largest_difference: of one image, the largest fraction of pixels that get another class.
        miou_before, miou_after: mIoU of the network and of the file.
        pixel_accuracy_before, pixel_accuracy_after: the fraction of pixels of the right class.
    """

    samples: int
    pixels: int
    agreement: float
    largest_difference: float
    miou_before: float
    miou_after: float
    pixel_accuracy_before: float
    pixel_accuracy_after: float

    metric: ClassVar[str] = "mIoU"
    same: ClassVar[str] = "same pixels"
    differs: ClassVar[str] = "worst image"

    @property
    def before(self) -> float:
        """What the network achieves."""
        return self.miou_before

    @property
    def after(self) -> float:
        """What the file achieves."""
        return self.miou_after

    def describe(self, temperature: float = 1.0) -> str:
        """In words, as `drkd export` prints it."""
        del temperature
        return (
            f"mIoU {100 * self.miou_before:.2f}% before, {100 * self.miou_after:.2f}% after; pixel accuracy "
            f"{100 * self.pixel_accuracy_before:.2f}% before, {100 * self.pixel_accuracy_after:.2f}% after; the same "
            f"class for {100 * self.agreement:.3f}% of {self.pixels} pixels; on one image at most "
            f"{100 * self.largest_difference:.2g}% differ"
        )


def masks_of(sessions: Iterable[Session], pixels: Pixels) -> list[Masks]:
    """The classes uint8 (B, S, S) that each session gives images uint8 (B, 3, S, S)."""
    return [session.run(pixels)[0] for session in sessions]


def compare_masks(before: Masks, after: Masks, truth: Sequence[Tensor], classes: Sequence[str]) -> MaskParity:
    """The network's predictions for each image, its export's, and the true classes, 255 where they are not known.

    Raises:
        InputError: if no pixel's true class is known.

    Example:
        >>> before, after = np.array([[[0, 1, 1, 0]]], np.uint8), np.array([[[0, 1, 0, 1]]], np.uint8)
        >>> found = compare_masks(before, after, [torch.tensor([[0, 1, 1, 255]])], ["ground", "disc"])
        >>> found.pixels, round(found.agreement, 3), found.miou_before, found.miou_after
        (3, 0.667, 1.0, 0.5)
    """
    known = torch.stack(list(truth)) != IGNORE
    given = [torch.from_numpy(masks) for masks in (before, after)]
    other = ((given[0] != given[1]) & known).flatten(1).sum(dim=1)
    counts = known.flatten(1).sum(dim=1)
    first, second = (measure_masks(zip(masks, truth, strict=True), classes) for masks in given)
    return MaskParity(
        samples=len(before),
        pixels=int(counts.sum()),
        agreement=1 - int(other.sum()) / int(counts.sum()),
        largest_difference=float((other / counts.clamp(min=1)).max()),
        miou_before=first.miou,
        miou_after=second.miou,
        pixel_accuracy_before=first.pixel_accuracy,
        pixel_accuracy_after=second.pixel_accuracy,
    )


def refuse_masks_beyond(tolerance: Tolerance, found: MaskParity, what: str, advice: str = "") -> None:
    """Do nothing within the tolerance.

    Raises:
        ParityError: that names the first bound that is passed.
    """
    drop = found.miou_before - found.miou_after
    reason = option = ""
    if tolerance.difference is not None and found.largest_difference > tolerance.difference + 1e-9:
        reason = (
            f"{100 * found.largest_difference:.3g}% of an image's pixels get another class "
            f"(allowed: {100 * tolerance.difference:.3g}%)"
        )
        option = "--max-difference"
    elif found.agreement < tolerance.agreement - 1e-9:
        share, required = (f"{100 * share:.2f}%" for share in (found.agreement, tolerance.agreement))
        reason = f"only {share} of the pixels get the same class (required: {required})"
        option = "--min-agreement"
    elif drop > tolerance.accuracy_drop + 1e-9:
        reason = f"mIoU falls by {100 * drop:.2f} points (allowed: {100 * tolerance.accuracy_drop:.2f})"
        option = "--max-drop"
    if reason:
        raise ParityError(f"{what} is rejected: on {found.samples} images {reason}; {advice}allow it with {option}")
