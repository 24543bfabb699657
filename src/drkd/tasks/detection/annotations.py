"""What files of annotations say: images with their boxes, and problems with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright image."""


@dataclass(frozen=True)
class Annotated:
    """An image and its boxes, as the files say.

    Attributes:
        image: its file.
        location: the file that describes it.
        boxes: of every object.
        names: the class of every box.
        size: (width, height) that the description claims, None where it does not.
        ignored: of every box, whether it is a crowd or "difficult"; empty where none is.
    """

    image: Path
    location: Path
    boxes: tuple[Box, ...]
    names: tuple[str, ...]
    size: tuple[int, int] | None = None
    ignored: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Annotations:
    """What a folder holds.

    Attributes:
        classes: in the order of the labels 1, 2, ...
        splits: the images of `train`, and of `val` and `test` where the folder has them.
        skipped: how many of each cannot be used.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, list[Annotated]]
    skipped: Mapping[str, int]


Listed = tuple[tuple[str, ...], dict[str, list[Annotated | None]]]
"""What a layout's reader gives: the classes, and the images of each split, None where one cannot be used."""
