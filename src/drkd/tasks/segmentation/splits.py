"""Images with masks in splits: what segmenters are trained and measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from drkd.data.record import DataRecord
from drkd.tasks.segmentation.augment import PLAIN, PairAugmentation
from drkd.tasks.segmentation.masks import IGNORE, Pair, load_pair
from drkd.utils.errors import InputError

__all__ = ["IGNORE", "MEAN", "STD", "SegmentationSplit", "SegmentationSplits"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, which torchvision's weights want."""


@dataclass(frozen=True)
class SegmentationSplit:
    """Images and masks of one size, in memory or decoded when asked for.

    Indexed with a position, it gives an image, uint8 (3, S, S), and its mask, uint8 (S, S) with 255 where a pixel does
    not count.

    Example:
        >>> split = SegmentationSplit.of(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, 8, 8).byte())
        >>> len(split), split[0][1].shape
        (4, torch.Size([8, 8]))
    """

    pairs: Sequence[Pair]
    size: int
    decoded: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, images: Tensor, masks: Tensor) -> "SegmentationSplit":
        """A split of images uint8 (N, 3, S, S) and masks uint8 (N, S, S) that are in memory already.

        Raises:
            InputError: for tensors of another type or shape.
        """
        square = images.dim() == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
        if not square or masks.shape != (len(images), *images.shape[2:]):
            shapes = f"{tuple(images.shape)} and {tuple(masks.shape)}"
            raise InputError(f"images must be (N, 3, S, S) and masks (N, S, S), got {shapes}; scale and pad them")
        if images.dtype != torch.uint8 or masks.dtype != torch.uint8:
            kinds = f"{images.dtype} and {masks.dtype}".replace("torch.", "")
            raise InputError(f"images and masks must be uint8, got {kinds}; convert them")
        pairs = [
            Pair(Path(f"image-{number}"), Path(f"mask-{number}"), f"image-{number}") for number in range(len(masks))
        ]
        return cls(pairs, images.shape[-1], (images, masks))

    @property
    def names(self) -> list[str]:
        """What the images are called."""
        return [pair.name for pair in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        if self.decoded is None:
            return load_pair(self.pairs[position], self.size)
        return self.decoded[0][position], self.decoded[1][position]

    def select(self, index: Tensor) -> "SegmentationSplit":
        """Some of the samples, renumbered from 0."""
        decoded = None if self.decoded is None else (self.decoded[0][index], self.decoded[1][index])
        return replace(self, pairs=[self.pairs[row] for row in index.tolist()], decoded=decoded)


@dataclass(frozen=True)
class SegmentationSplits:
    """What segmenters are trained and measured on; `SegmentationData` is what `drkd.fit` takes.

    Attributes:
        name: what it was loaded from.
        classes: in the order of the values of the masks.
        image_size: side of the square that images are scaled and padded to.
        train, val, test: the splits.
        augmentation: of training images.
        mean, std: per channel, as fractions of full brightness.
        skipped_images: by split, how many images were left out.
        record: what a run keeps of it, to notice data that have changed.
    """

    name: str
    classes: tuple[str, ...]
    image_size: int
    train: SegmentationSplit
    val: SegmentationSplit
    test: SegmentationSplit
    augmentation: PairAugmentation = PLAIN
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    skipped_images: dict[str, int] = field(default_factory=dict)
    record: DataRecord | None = None
    channels: int = 3
    margin: float = 1.0
    interpolation: str = "bilinear"
