"""One image: opened, refused where it is damaged or too large, and brought to 8 bits per channel."""

import errno
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from drkd.data.augment import crop_box
from drkd.data.problems import BadImageError, Problem, shown

MOST_PIXELS = 89_478_485
"""Images of more pixels are refused before they are decoded: 256 MiB in RGB, where Pillow begins to warn."""

OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that are not an image's fault."""

NO_RANGE = "its values have no known range; save it with 8 or 16 bits per channel"

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
"""How images are scaled, by name. Both filters widen where they scale down (antialiasing)."""

SPARE = 2
"""How many times the wanted pixels are left where a JPEG is decoded at a part of its size."""

TURNED, FROM_RIGHT, FROM_BOTTOM = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)
"""EXIF orientations: rows are columns of the upright image; it begins on the right, or at the bottom, of the file's."""

Source = Path | bytes


class TableBytes(bytes):
    """The bytes of an image in a table, and where it is: `path` and `row`."""

    path: Path
    row: int


def decode(
    source: Source,
    size: int,
    channels: int = 3,
    margin: float = 1.0,
    uniforms: NDArray[np.float64] | None = None,
    interpolation: str = "bilinear",
) -> NDArray[np.uint8]:
    """One image as uint8 (C, size, size); see `drkd.data.images.LazyImages`.

    Raises:
        InputError: that names the image, if it cannot be read.
    """
    resample, wanted = RESAMPLING[interpolation], size if uniforms is not None else round(size * margin)
    with opened(source) as file:
        whole = upright_size(file)
        reduced = reduce(file, min(whole if uniforms is None else crop_box(uniforms, *whole)[2:]), wanted)
        image = converted(file, source, channels)
        width, height = whole if reduced.factor > 1 else image.size
        if uniforms is not None:
            left, top, wide, high = crop_box(uniforms, width, height)
            image = scaled_part(image, (left, top, left + wide, top + high), (size, size), resample, reduced)
        elif (width, height) != (wanted, wanted) or wanted != size:
            scale = wanted / min(width, height)
            wide, high = (max(size, round(side * scale)) for side in (width, height))
            left, top = (wide - size) // 2, (high - size) // 2
            image = scaled_part(image, (0, 0, width, height), (wide, high), resample, reduced)
            image = image.crop((left, top, left + size, top + size))
        pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


class Reduced(NamedTuple):
    """By how much a JPEG is reduced while it is decoded.

    Attributes:
        factor: 1 for not at all.
        left, top: where the whole image begins, in pixels of the upright reduced one: its last pixels may stand for
            less than a block, and in an image that lies turned or mirrored they come first.
    """

    factor: int = 1
    left: float = 0.0
    top: float = 0.0


def reduce(image: Image.Image, pixels: int, wanted: int) -> Reduced:
    """Have a JPEG decoded at a half, a quarter or an eighth of its size, where enough pixels are left.

    The decoder then computes the mean of whole blocks, which takes far less time than each of their pixels. At least
    `SPARE` times the wanted pixels are left for the filter that scales them down.

    Args:
        image: open, not yet decoded.
        pixels: of the part of it that is used, along the shorter side.
        wanted: to how many they are scaled.
    """
    factor = next((factor for factor in (8, 4, 2) if pixels >= SPARE * wanted * factor), 1)
    if factor == 1 or not isinstance(image, JpegImageFile):
        return Reduced()
    (width, height), before = upright_size(image), image.size
    image.draft(None, (before[0] // factor, before[1] // factor))
    if image.size == before:
        return Reduced()
    lies = _orientation(image)
    left = -width % factor / factor if lies in FROM_RIGHT else 0.0
    return Reduced(factor, left, -height % factor / factor if lies in FROM_BOTTOM else 0.0)


def scaled_part(
    image: Image.Image,
    box: tuple[int, int, int, int],
    shape: tuple[int, int],
    resample: Image.Resampling,
    reduced: Reduced,
) -> Image.Image:
    """The part of an upright image in `box`, which counts pixels of the whole image, scaled to `shape`."""
    shift = (reduced.left, reduced.top, reduced.left, reduced.top)
    left, top, right, bottom = (side / reduced.factor + by for side, by in zip(box, shift, strict=True))
    outer = (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    part = image if outer == (0, 0, *image.size) else image.crop(outer)
    return part.resize(shape, resample, box=(left - outer[0], top - outer[1], right - outer[0], bottom - outer[1]))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an open JPEG once it is upright; of another image as it lies."""
    return (image.height, image.width) if _orientation(image) in TURNED else image.size


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a JPEG; 1 (upright) for other formats, which may have to be decoded for it."""
    if not isinstance(image, JpegImageFile):
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # see `_upright`
        return 1


def opened(source: Source) -> Image.Image:
    """An image of which only the header is read.

    Raises:
        BadImageError: if there is none, or it is too large to be decoded.
    """
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise OSError(errno.EINVAL, "it is not a regular file")  # reading a pipe would wait for ever
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as reason:
        raise _too_large(source) from reason
    except Exception as reason:  # Pillow's readers raise any error on a damaged file
        raise _unreadable(source, reason) from reason
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise _too_large(source)
    return image


def decoded(image: Image.Image, source: Source) -> None:
    """Decode an open image, once: Pillow may take what is left of a damaged one for whole when asked again.

    Raises:
        BadImageError: if its content is damaged.
    """
    try:
        image.load()
    except Exception as reason:
        raise _unreadable(source, reason) from reason


def converted(image: Image.Image, source: Source, channels: int) -> Image.Image:
    """An open image as it is used: decoded, turned as its EXIF orientation says, and in `channels` of 8 bits.

    Raises:
        BadImageError: if its content is damaged, or its brightness has no known range.
    """
    decoded(image, source)
    try:
        _upright(image)
        if image.mode == "F":
            raise ValueError(NO_RANGE)
        if image.mode.startswith("I"):
            image = _upper_bits(image)
        elif image.mode == "P" and "transparency" in image.info:  # else Pillow warns
            image = image.convert("RGBA")
        return image.convert("RGB" if channels == 3 else "L")
    except Exception as reason:
        raise _unreadable(source, reason) from reason


def describe_source(source: Source) -> str:
    """How messages call an image."""
    if isinstance(source, TableBytes):
        return f"{shown(source.path)} row {source.row}"
    return f"({len(source)} bytes in a table)" if isinstance(source, bytes) else shown(source)


def _upright(image: Image.Image) -> None:
    """Turn and mirror an image as its EXIF orientation says."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # damaged EXIF does not say how the image lies
        return


def _upper_bits(image: Image.Image) -> Image.Image:
    """16 bits as 8: Pillow would clip them, not scale them."""
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise ValueError(NO_RANGE)
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _unreadable(source: Source, reason: Exception) -> BadImageError:
    if isinstance(reason, MemoryError) or (isinstance(reason, OSError) and reason.errno in OF_THE_MACHINE):
        raise reason
    if isinstance(reason, UnidentifiedImageError):
        empty = not (len(source) if isinstance(source, bytes) else source.stat().st_size)
        why = "it is empty" if empty else "it is not an image, or its header is damaged"
    else:
        why = (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__
    return _bad(source, f"cannot be read as an image: {why}", "unreadable image")


def _too_large(source: Source) -> BadImageError:
    return _bad(source, f"cannot be read as an image: it has more than {MOST_PIXELS:,} pixels", "oversized image")


def _bad(source: Source, reason: str, kind: str) -> BadImageError:
    return BadImageError(Problem("error", describe_source(source), reason, kind))
