"""Images with boxes in splits: what detectors are trained and measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from drkd.data.decoding import converted, opened, reduce, scaled_part, upright_size
from drkd.data.record import DataRecord
from drkd.utils.errors import InputError

Target = dict[str, Tensor]
"""`boxes` (n, 4) float and `labels` (n,) int64 from 1 on, of one image.

Some also have `iscrowd` (n,) int64: boxes with 1 are not trained on, and what is found there counts neither way.
"""


@dataclass(frozen=True)
class Images:
    """Images whose shorter side is scaled down to `size`, in memory or decoded when asked for.

    Indexed with a position, it gives uint8 (3, H, W).
    """

    files: Sequence[Path]
    size: int
    decoded: Sequence[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Tensor:
        return decode(self.files[position], self.size) if self.decoded is None else self.decoded[position]


@dataclass(frozen=True)
class DetectionSplit:
    """Images and, for each of them, its `boxes` in the pixels of the scaled image and its `labels`.

    Example:
        >>> box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> split = DetectionSplit.of([torch.zeros(3, 48, 64, dtype=torch.uint8)] * 4, [box] * 4)
        >>> len(split), split.images[0].shape
        (4, torch.Size([3, 48, 64]))
    """

    images: Images
    targets: Sequence[Target]

    @classmethod
    def of(cls, images: Sequence[Tensor], targets: Sequence[Target]) -> "DetectionSplit":
        """A split of images uint8 (3, H, W) that are in memory already."""
        for number, image in enumerate(images):
            if image.dtype != torch.uint8 or image.dim() != 3:
                kind = str(image.dtype).removeprefix("torch.")
                shape = tuple(image.shape)
                raise InputError(f"image {number} must be uint8 (3, H, W), got {kind} {shape}; convert it")
        if len(images) != len(targets):
            raise InputError(f"every image needs its target, got {len(images)} images and {len(targets)} targets")
        files = [Path(f"image-{number}") for number in range(len(images))]
        return cls(Images(files, 0, list(images)), list(targets))

    def __len__(self) -> int:
        return len(self.targets)

    def select(self, rows: Sequence[int] | Tensor) -> "DetectionSplit":
        """A part of it, by positions."""
        images, positions = self.images, [int(row) for row in rows]
        decoded = None if images.decoded is None else [images.decoded[row] for row in positions]
        files = [images.files[row] for row in positions]
        return DetectionSplit(replace(images, files=files, decoded=decoded), [self.targets[row] for row in positions])


@dataclass(frozen=True)
class DetectionSplits:
    """What detectors are trained and measured on; `DetectionData` is what `drkd.fit` takes.

    Attributes:
        name: what it was loaded from.
        classes: in the order of the labels 1, 2, ...; background is none of them.
        image_size: shorter side that images were scaled down to.
        train, val, test: the splits.
        flip: whether training mirrors images.
        operations: what else training does to them, see `drkd.tasks.detection.augment`.
        skipped_images: by split, how many images were left out.
        record: what a run keeps of it, to notice data that have changed.
    """

    name: str
    classes: tuple[str, ...]
    image_size: int
    train: DetectionSplit
    val: DetectionSplit
    test: DetectionSplit
    flip: bool = True
    operations: tuple[str, ...] = ()
    skipped_images: dict[str, int] = field(default_factory=dict)
    record: DataRecord | None = None
    channels: int = 3
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # a detector's own transform normalises
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    margin: float = 1.0
    interpolation: str = "bilinear"


def counted_boxes(target: Target) -> int:
    """How many boxes of an image count: no crowds.

    Example:
        >>> counted_boxes({"boxes": torch.zeros(2, 4), "labels": torch.ones(2), "iscrowd": torch.tensor([0, 1])})
        1
    """
    crowds = int((target["iscrowd"] == 1).sum()) if "iscrowd" in target else 0
    return len(target["boxes"]) - crowds


def decode(file: Path, size: int) -> Tensor:
    """An image as uint8 (3, H, W), upright and scaled."""
    with opened(file) as image:
        whole = upright_size(image)
        reduced = reduce(image, min(whole), min(size, *whole))
        upright = converted(image, file, 3)
        width, height = whole if reduced.factor > 1 else upright.size
        shape = scaled(width, height, size)
        if shape != upright.size:
            upright = scaled_part(upright, (0, 0, width, height), shape, Image.Resampling.BILINEAR, reduced)
        return torch.from_numpy(np.array(upright).transpose(2, 0, 1).copy())


def scaled(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height with the shorter side down to `size`, never up.

    Example:
        >>> scaled(640, 480, 320), scaled(100, 50, 320)
        ((427, 320), (100, 50))
    """
    scale = min(1.0, size / min(width, height))
    return round(width * scale), round(height * scale)
