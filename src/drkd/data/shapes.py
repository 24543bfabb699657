"""Made images with boxes and masks, embedded: forms of random colours before a random ground, with noise.

A class is a form, not a colour. Forms hide each other; a box encloses what is seen of one. Detectors and segmenters are
trained on these where `--data shapes` names no folder.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

NAME = "shapes"

CLASSES = ("ground", "disc", "square", "triangle", "cross")
"""In the order of a mask's values."""

SIZE = 64
"""Default side length."""

COUNTS = {"train": 240, "test": 120}

SEEN = 12
"""Fewer pixels of a form have no box."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image.

    Attributes:
        image: RGB.
        mask: of each pixel its class.
        boxes: the class and left, top, right and bottom of each form that is seen.
    """

    image: Image.Image
    mask: Image.Image
    boxes: list[tuple[int, tuple[int, int, int, int]]]


def is_shapes(name: str | Path) -> bool:
    """Whether `name` is these images; a folder of the same name comes first."""
    return str(name) == NAME and not Path(name).exists()


def draw_splits(size: int | None = None) -> Iterator[tuple[str, Path, Drawn]]:
    """Every image, the same each time: its split, what it is called, and what is on it.

    Example:
        >>> split, file, drawn = next(draw_splits(32))
        >>> split, file.as_posix(), drawn.image.size, CLASSES[drawn.boxes[0][0]]
        ('train', 'shapes/train/0000.png', (32, 32), 'square')
    """
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for number in range(count):
            yield split, Path(NAME, split, f"{number:04}.png"), draw(rng, size or SIZE)


def draw(rng: np.random.Generator, size: int) -> Drawn:
    """An image of `size` by `size` pixels with two to six forms."""
    image = Image.new("RGB", (size, size), tuple(int(value) for value in rng.integers(60, 196, 3)))
    mask, order = Image.new("L", (size, size)), Image.new("L", (size, size))
    labels = []
    for number in range(1, int(rng.integers(2, 7)) + 1):
        label, side = int(rng.integers(1, len(CLASSES))), int(rng.integers(size // 6, size // 2))
        left, top = (int(value) for value in rng.integers(-side // 3, size - 2 * side // 3, 2))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        labels.append(label)
        for canvas, fill in ((image, colour), (mask, label), (order, number)):
            pen = ImageDraw.Draw(canvas)
            if CLASSES[label] == "disc":
                pen.ellipse((left, top, left + side, top + side), fill=fill)
            else:
                pen.polygon(_corners(CLASSES[label], left, top, side), fill=fill)
    noisy = np.asarray(image).astype(float) + rng.normal(0, 30, (size, size, 3))
    return Drawn(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), mask, list(_boxes(np.asarray(order), labels)))


def rows_of(splits: Mapping[str, Sequence[str]]) -> str:
    """A hash of which images are in which split, in place of files that a run's record would name."""
    return hashlib.sha256(json.dumps([NAME, {name: list(part) for name, part in splits.items()}]).encode()).hexdigest()


def _corners(form: str, left: int, top: int, side: int) -> list[tuple[int, int]]:
    """The polygon of a form that is not round."""
    third = side // 3
    if form == "square":
        return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]
    if form == "triangle":
        return [(left + side // 2, top), (left + side, top + side), (left, top + side)]
    inner = [(third, 0), (2 * third, 0), (2 * third, third), (side, third), (side, 2 * third), (2 * third, 2 * third)]
    outer = [(2 * third, side), (third, side), (third, 2 * third), (0, 2 * third), (0, third), (third, third)]
    return [(left + across, top + down) for across, down in inner + outer]


def _boxes(order: NDArray[np.uint8], labels: Sequence[int]) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    for number, label in enumerate(labels, start=1):
        down, across = np.nonzero(order == number)
        if len(down) >= SEEN:
            sides = (across.min(), down.min(), across.max() + 1, down.max() + 1)
            yield label, (int(sides[0]), int(sides[1]), int(sides[2]), int(sides[3]))
