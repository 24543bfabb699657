"""One picture: opened, refused where it is damaged or too large, and brought to 8 bits per channel."""

import errno
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from drkd.data.augment import crop_box
from drkd.data.problems import BadPictureError, Problem, shown

MOST_PIXELS = 89_478_485
"""Pictures of more pixels are refused before they are decoded: 256 MiB in RGB, where Pillow begins to warn."""

OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that are not a picture's fault."""

NO_RANGE = "its numbers have no known range, save it with 8 or 16 bits per channel"

Source = Path | bytes


class TableBytes(bytes):
    """The bytes of a picture that stands in a table, and where: `path` and `row`."""

    path: Path
    row: int


def decode(
    source: Source, size: int, channels: int = 3, margin: float = 1.0, uniforms: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """One picture as uint8 (C, size, size).

    Raises:
        InputError: that names the picture, if it cannot be read.
    """
    with opened(source) as file:
        picture = converted(file, source, channels)
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


def opened(source: Source) -> Image.Image:
    """A picture of which only the header is read.

    Raises:
        BadPictureError: if there is none, or it is too large to be decoded.
    """
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise OSError(errno.EINVAL, "it is no ordinary file")  # reading a pipe would wait for ever
        picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as reason:
        raise _too_large(source) from reason
    except Exception as reason:  # Pillow's readers raise whatever a damaged file leads them to
        raise _unreadable(source, reason) from reason
    if picture.width * picture.height > MOST_PIXELS:
        picture.close()
        raise _too_large(source)
    return picture


def decoded(picture: Image.Image, source: Source) -> None:
    """Decode an open picture, once: Pillow may take what is left of a damaged one for whole when asked again.

    Raises:
        BadPictureError: if its content is damaged.
    """
    try:
        picture.load()
    except Exception as reason:
        raise _unreadable(source, reason) from reason


def converted(picture: Image.Image, source: Source, channels: int) -> Image.Image:
    """An open picture as it is used: decoded, turned as its EXIF orientation says, and in `channels` of 8 bits.

    Raises:
        BadPictureError: if its content is damaged, or its brightness has no known range.
    """
    decoded(picture, source)
    try:
        _upright(picture)
        if picture.mode == "F":
            raise ValueError(NO_RANGE)
        if picture.mode.startswith("I"):
            picture = _upper_bits(picture)
        elif picture.mode == "P" and "transparency" in picture.info:  # else Pillow warns
            picture = picture.convert("RGBA")
        return picture.convert("RGB" if channels == 3 else "L")
    except Exception as reason:
        raise _unreadable(source, reason) from reason


def place_of(source: Source) -> str:
    """How messages call a picture."""
    if isinstance(source, TableBytes):
        return f"{shown(source.path)} row {source.row}"
    return f"({len(source)} bytes in a table)" if isinstance(source, bytes) else shown(source)


def _upright(picture: Image.Image) -> None:
    """Turn and mirror a picture as its EXIF orientation says."""
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except Exception:  # damaged EXIF does not say how the picture lies
        return


def _upper_bits(picture: Image.Image) -> Image.Image:
    """16 bits as 8: Pillow would clip them, not scale them."""
    pixels = np.asarray(picture)
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise ValueError(NO_RANGE)
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _unreadable(source: Source, reason: Exception) -> BadPictureError:
    if isinstance(reason, MemoryError) or (isinstance(reason, OSError) and reason.errno in OF_THE_MACHINE):
        raise reason
    if isinstance(reason, UnidentifiedImageError):
        empty = not (len(source) if isinstance(source, bytes) else source.stat().st_size)
        why = "it is empty" if empty else "it is no picture, or its header is damaged"
    else:
        why = (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__
    return _bad(source, f"cannot be read as a picture: {why}", "unreadable picture")


def _too_large(source: Source) -> BadPictureError:
    return _bad(source, f"cannot be read as a picture: it has more than {MOST_PIXELS:,} pixels", "oversized picture")


def _bad(source: Source, reason: str, kind: str) -> BadPictureError:
    return BadPictureError(Problem("error", place_of(source), reason, kind))
