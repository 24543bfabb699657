"""Images with the boxes that a detector found, at the size of their files."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from drkd.data.decoding import converted, opened
from drkd.tasks.answers import FoundBox
from drkd.utils.text import printable

COLOURS = ("#ff7f0e", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")
"""Of the classes in their order, again and again."""

KEPT = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Endings of files that are written as they are read; others become PNG."""


def draw_found(file: Path, found: Sequence[FoundBox], classes: Sequence[str], folder: Path) -> Path:
    """Write an image with its boxes, their classes and scores into `folder`, under its own name.

    Raises:
        BadImageError: if the image cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with opened(file) as image:
        drawn: Image.Image = converted(image, file, 3)
    side = min(drawn.size)
    pen, font, width = ImageDraw.Draw(drawn), ImageFont.load_default(max(10, side // 40)), max(1, side // 250)
    for each in reversed(found):  # the most certain is on top
        colour = COLOURS[classes.index(each.label) % len(COLOURS)]
        corners = (each.x1, each.y1, max(each.x1, each.x2), max(each.y1, each.y2))
        pen.rectangle(corners, outline=colour, width=width)
        text = f"{printable(each.label)} {each.score:.2f}"
        left, top, right, bottom = pen.textbbox((each.x1, each.y1), text, font=font)
        up = min(bottom - top + 4, each.y1)  # above the box where there is room
        pen.rectangle((left - 1, top - up - 1, right + 1, bottom - up + 1), fill=colour)
        pen.text((each.x1, each.y1 - up), text, fill="white", font=font)
    target = drawn_path(file, folder)
    drawn.save(target)
    return target


def drawn_path(file: Path, folder: Path) -> Path:
    """Where a drawn image goes.

    Example:
        >>> drawn_path(Path("a.jpg"), Path("drawn")).name, drawn_path(Path("a.tif"), Path("drawn")).name
        ('a.jpg', 'a.tif.png')
    """
    return folder / (file.name if file.suffix.lower() in KEPT else f"{file.name}.png")
