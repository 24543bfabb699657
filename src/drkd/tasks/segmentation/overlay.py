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
"""Of so many classes on an image, those with the most pixels, the names are shown, if its upper half has room."""


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
    side = min(drawn.size)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(max(10, side // 40))
    counts = np.bincount(mask.ravel(), minlength=len(classes))
    top = 2.0
    for label in np.argsort(-counts, kind="stable")[:NAMED].tolist():
        left, up, right, down = pen.textbbox((4, top), printable(classes[label]), font=font)
        if not counts[label] or down > drawn.height // 2:
            break
        colour = tuple(COLOURS[label].tolist())
        pen.rectangle((left - 2, up - 1, right + 2, down + 1), fill=colour)
        pen.text((4, top), printable(classes[label]), fill="black" if sum(colour) > 382 else "white", font=font)
        top += down - up + 4
    target = drawn_path(file, folder)
    drawn.save(target)
    return target
