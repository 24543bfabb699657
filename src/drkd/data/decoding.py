"""One image: opened, refused where it is damaged or too large, and brought to 8 bits per channel."""

import errno
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from drkd.data.augment import crop_box
from drkd.data.problems import BadImageError, Problem, shown

MOST_PIXELS = 89_478_485
"""Images of more pixels are refused before they are decoded: 256 MiB in RGB, where Pillow begins to warn."""

OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that are not an image's fault."""

NO_RANGE = "its numbers have no known range, save it with 8 or 16 bits per channel"

Source = Path | bytes


class TableBytes(bytes):
    """The bytes of an image in a table, and where it is: `path` and `row`."""

    path: Path
    row: int


def decode(
    source: Source, size: int, channels: int = 3, margin: float = 1.0, uniforms: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """One image as uint8 (C, size, size).

    Raises:
        InputError: that names the image, if it cannot be read.
    """
    with opened(source) as file:
        image = converted(file, source, channels)
        if uniforms is not None:
            left, top, wide, high = crop_box(uniforms, *image.size)
            image = image.crop((left, top, left + wide, top + high)).resize((size, size), Image.Resampling.BILINEAR)
        elif image.size != (size, size):
            scale = round(size * margin) / min(image.size)
            width, height = (max(size, round(side * scale)) for side in image.size)
            left, top = (width - size) // 2, (height - size) // 2
            image = image.resize((width, height), Image.Resampling.BILINEAR)
            image = image.crop((left, top, left + size, top + size))
        pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def opened(source: Source) -> Image.Image:
    """An image of which only the header is read.

    Raises:
        BadImageError: if there is none, or it is too large to be decoded.
    """
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise OSError(errno.EINVAL, "it is no ordinary file")  # reading a pipe would wait for ever
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
        why = "it is empty" if empty else "it is no image, or its header is damaged"
    else:
        why = (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__
    return _bad(source, f"cannot be read as an image: {why}", "unreadable image")


def _too_large(source: Source) -> BadImageError:
    return _bad(source, f"cannot be read as an image: it has more than {MOST_PIXELS:,} pixels", "oversized image")


def _bad(source: Source, reason: str, kind: str) -> BadImageError:
    return BadImageError(Problem("error", describe_source(source), reason, kind))
