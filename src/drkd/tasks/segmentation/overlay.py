"""The classes that a segmenter gives the pixels of an image, as files in the size of the image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from drkd.data.decoding import converted, opened
from drkd.tasks.detection.overlay import drawn_path
from drkd.tasks.segmentation.palette import COLOURS
from drkd.utils.text import printable

NAMED = 20
"""The most classes whose names are shown on an image, those with the most pixels, if its upper half has room."""


def mask_path(file: Path, folder: Path) -> Path:
    """Where the mask of an image goes.

    Example:
        >>> mask_path(Path("photos/field.jpg"), Path("masks")).as_posix()
        'masks/field.png'
    """
    return folder / f"{file.stem}.png"


def write_mask(mask: NDArray[np.uint8], file: Path) -> None:
    """Write classes (H, W) as a PNG whose values are the classes, with Pascal VOC's palette."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    image.putpalette(COLOURS.tobytes())
    image.save(file)


def draw_mask(file: Path, mask: NDArray[np.uint8], classes: Sequence[str], folder: Path) -> Path:
    """Write an image with its classes in colours over it, and their names, into `folder`, under its own name.

    Raises:
        BadImageError: if the image cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with opened(file) as image:
        drawn = Image.blend(converted(image, file, 3), Image.fromarray(COLOURS[mask]), 0.5)
    high = max(10, min(drawn.size) // 40)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(high)
    counts = np.bincount(mask.ravel(), minlength=len(classes))
    for row, label in enumerate(np.argsort(-counts, kind="stable")[:NAMED].tolist()):
        top = row * (high + 4)
        if not counts[label] or top + high > drawn.height // 2:
            break
        name, colour = printable(classes[label]), tuple(COLOURS[label].tolist())
        pen.rectangle((0, top, pen.textlength(name, font=font) + 8, top + high + 3), fill=colour)
        pen.text((4, top), name, fill="black" if sum(colour) > 382 else "white", font=font)
    target = drawn_path(file, folder)
    drawn.save(target)
    return target
