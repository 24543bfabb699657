"""Pictures: decoded once into memory as uint8 where they fit, on demand otherwise."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from drkd.data.augment import crop_box
from drkd.errors import InputError

MEMORY_LIMIT = 4 * 2**30
"""Decoded pictures of one split are kept in memory up to this many bytes."""

Source = Path | bytes


@dataclass(frozen=True)
class LazyImages:
    """Pictures that are decoded when they are asked for, by several threads.

    Indexed with an integer tensor (B,), it gives uint8 (B, C, size, size), as a tensor of all pictures would. Pictures
    are scaled until the shorter side is `margin * size` long, and cropped about their centre.
    """

    sources: Sequence[Source]
    size: int
    channels: int
    margin: float = 1.0

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all pictures together, (N, C, H, W)."""
        return (len(self.sources), self.channels, self.size, self.size)

    def __getitem__(self, index: Tensor) -> Tensor:
        return decode_all([self.sources[i] for i in index.tolist()], self.size, self.channels, margin=self.margin)

    def select(self, index: Tensor) -> "LazyImages":
        """The same, for a part of the pictures."""
        return replace(self, sources=[self.sources[i] for i in index.tolist()])


def load_images(sources: Sequence[Source], size: int, channels: int = 3) -> Tensor | LazyImages:
    """Pictures as one uint8 tensor (N, C, size, size) where that fits `MEMORY_LIMIT`, else on demand."""
    if len(sources) * channels * size * size > MEMORY_LIMIT:
        return LazyImages(sources, size, channels)
    return decode_all(sources, size, channels)


def common_size(sources: Sequence[Source]) -> int | None:
    """The side length that all pictures share, None if they differ or are not square. Reads headers only."""
    sizes = set()
    for source in sources:
        with _open(source) as picture:
            sizes.add(picture.size)
        if len(sizes) > 1:
            return None
    width, height = next(iter(sizes))
    return int(width) if width == height else None


def random_crops(images: Tensor | LazyImages, index: Tensor, uniforms: NDArray[np.float64]) -> Tensor:
    """A random part of each picture, scaled to the pictures' size: uint8 (B, C, size, size).

    Args:
        images: all pictures; those decoded on demand are cropped before they are scaled down.
        index: (B,) which pictures.
        uniforms: (B, 2 + 2 * ATTEMPTS) random numbers, see `drkd.data.augment.crop_box`.
    """
    if isinstance(images, LazyImages):
        return decode_all([images.sources[i] for i in index.tolist()], images.size, images.channels, uniforms=uniforms)
    from torchvision.transforms.v2.functional import resized_crop

    height, width = images.shape[2:]
    crops = []
    for picture, numbers in zip(images[index], uniforms, strict=True):
        left, top, wide, high = crop_box(numbers, width, height)
        crops.append(resized_crop(picture, top, left, high, wide, [height, width], antialias=True))
    return torch.stack(crops)


def decode_all(
    sources: Sequence[Source],
    size: int,
    channels: int = 3,
    *,
    margin: float = 1.0,
    uniforms: NDArray[np.float64] | None = None,
) -> Tensor:
    """Decode into uint8 (N, C, size, size); a picture of another size is scaled and cropped.

    About its centre, with `margin` around it; or, where `uniforms` are given, at random (see `random_crops`).
    """
    out = np.empty((len(sources), channels, size, size), dtype=np.uint8)

    def fill(row: int) -> None:
        out[row] = decode(sources[row], size, channels, margin, None if uniforms is None else uniforms[row])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(fill, range(len(sources))))
    return torch.from_numpy(out)


def decode(
    source: Source, size: int, channels: int = 3, margin: float = 1.0, uniforms: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """One picture as uint8 (C, size, size)."""
    with _open(source) as picture:
        try:
            if picture.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8, not scale them
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            elif picture.mode == "P" and "transparency" in picture.info:  # else Pillow warns
                picture = picture.convert("RGBA")
            picture = picture.convert("RGB" if channels == 3 else "L")
        except (OSError, ValueError, SyntaxError) as reason:
            raise InputError(f"cannot decode the picture {_name(source)}: {reason}; remove or replace it") from reason
        if uniforms is not None:
            left, top, wide, high = crop_box(uniforms, *picture.size)
            picture = picture.crop((left, top, left + wide, top + high)).resize((size, size), Image.Resampling.BILINEAR)
        elif picture.size != (size, size):
            scale = round(size * margin) / min(picture.size)
            width, height = (max(size, round(side * scale)) for side in picture.size)
            left, top = (width - size) // 2, (height - size) // 2
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            picture = picture.crop((left, top, left + size, top + size))
        pixels = np.asarray(picture, dtype=np.uint8)
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def _open(source: Source) -> Image.Image:
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as reason:
        raise InputError(f"cannot read the picture {_name(source)}: {reason}; remove or replace it") from reason


def _name(source: Source) -> str:
    return f"({len(source)} bytes in a table)" if isinstance(source, bytes) else str(source)
