"""The data of segmentation, as `drkd.fit` takes it."""

from dataclasses import dataclass

from drkd.tasks.segmentation.learning import SegmenterLearner
from drkd.tasks.segmentation.splits import SegmentationSplits


@dataclass(frozen=True)
class SegmentationData(SegmentationSplits):
    """Training, validation and test images with their masks, from `load_segmentation` or from splits in memory.

    See `drkd.tasks.segmentation.splits.SegmentationSplits` for the attributes.

    Example:
        >>> import torch
        >>> from drkd.tasks.segmentation import SegmentationSplit
        >>> split = SegmentationSplit.of(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, 8, 8).byte())
        >>> SegmentationData("made up", ("sky", "sea"), 8, train=split, val=split, test=split).channels
        3
    """

    def learner_type(self) -> type[SegmenterLearner]:
        """What `drkd.fit` trains with."""
        return SegmenterLearner
