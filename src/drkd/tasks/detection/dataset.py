"""The data of detection, as `drkd.fit` takes it."""

from dataclasses import dataclass

from drkd.tasks.detection.learning import DetectorLearner
from drkd.tasks.detection.splits import DetectionSplits


@dataclass(frozen=True)
class DetectionData(DetectionSplits):
    """Training, validation and test images with their boxes, from `load_detection` or from splits in memory.

    See `drkd.tasks.detection.splits.DetectionSplits` for the attributes.

    Example:
        >>> import torch
        >>> from drkd.tasks.detection import DetectionSplit
        >>> box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> split = DetectionSplit.of([torch.zeros(3, 48, 64, dtype=torch.uint8)] * 4, [box] * 4)
        >>> DetectionData("made up", ("cell",), 64, train=split, val=split, test=split).channels
        3
    """

    def learner_type(self) -> type[DetectorLearner]:
        """What `drkd.fit` trains with."""
        return DetectorLearner
