"""One image and its mask: decoded, compared, scaled and padded to one size."""

import threading
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from drkd.data.decoding import converted, decoded, opened, reduce, scaled_part, upright_size
from drkd.data.problems import BadImageError, problem_at, shown

IGNORE = 255
"""The value of pixels that do not count."""

PADDING = (124, 116, 104)
"""What surrounds an image that is not square: ImageNet's mean colour, 0 once it is normalised."""

MODES = ("1", "L", "P", "I", "I;16")
"""Masks whose numbers are classes."""

_QUIET = threading.Lock()

Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Shape:
    """An object of a COCO file: `label`, and its polygons or its run-length code; a crowd does not count."""

    label: int
    outline: Any
    crowd: bool = False


@dataclass(frozen=True)
class Polygons:
    """A mask that is drawn: what no shape covers is class 0, what shapes of several classes cover does not count.

    Attributes:
        location: the file that describes it.
        size: (width, height).
        shapes: of its objects.
    """

    location: Path
    size: tuple[int, int]
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Pair:
    """An image, where its mask is, and its name, which decides on its split."""

    image: Path
    mask: Path | Polygons
    name: str

    @cached_property
    def location(self) -> Path:
        """The file to name in a message about the mask."""
        return self.mask.location if isinstance(self.mask, Polygons) else self.mask


def load_pair(pair: Pair, size: int) -> tuple[Tensor, Tensor]:
    """An image, uint8 (3, size, size), and its mask, uint8 (size, size); see `fitted`.

    Raises:
        BadImageError: if one of them cannot be read, or they differ in size.
    """
    image, mask, _ = look_at(pair, size)
    return image, mask


def look_at(pair: Pair, size: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """`load_pair`, and the values in the whole mask, in order.

    Raises:
        BadImageError: as `load_pair`.
    """
    image, (width, height) = padded_image(pair.image, size)
    mask = mask_of(pair)
    if mask.shape != (height, width):
        reason = f"has {mask.shape[1]}x{mask.shape[0]} pixels, but its image {shown(pair.image.name)} {width}x{height}"
        raise BadImageError(problem_at(pair.location, f"{reason}; redo it", "other size"))
    values = tuple(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())
    there = fitted(width, height, size)
    small = np.asarray(Image.fromarray(mask).resize(there, Image.Resampling.NEAREST))
    labels = np.full((size, size), IGNORE, dtype=np.uint8)
    labels[: there[1], : there[0]] = small
    return torch.from_numpy(image), torch.from_numpy(labels), values


def padded_image(source: Path, size: int) -> tuple[Array, tuple[int, int]]:
    """An image as a segmenter takes it, uint8 (3, size, size), and width and height of the upright image in the file.

    It is scaled as `fitted` says and lies at the top left; `PADDING` surrounds it.

    Raises:
        BadImageError: if it cannot be read.
    """
    with opened(source) as file:
        whole = upright_size(file)
        reduced = reduce(file, max(whole), size)
        upright = converted(file, source, 3)
        width, height = whole if reduced.factor > 1 else upright.size
        there = fitted(width, height, size)
        if there != upright.size:
            upright = scaled_part(upright, (0, 0, width, height), there, Image.Resampling.BILINEAR, reduced)
        image = np.empty((size, size, 3), dtype=np.uint8)
        image[:] = PADDING
        image[: there[1], : there[0]] = np.asarray(upright, dtype=np.uint8)
    return image.transpose(2, 0, 1).copy(), (width, height)


def original_mask(mask: Array, size: tuple[int, int]) -> Array:
    """The classes (H, W) of an image in its own size, from those (S, S) that a segmenter gives its padded square.

    The padding is cut off, and every pixel gets the class of the nearest one: the reverse of what `look_at` does.

    Args:
        mask: uint8 (S, S).
        size: width and height of the upright image.

    Example:
        >>> original_mask(np.array([[1, 2], [9, 9]], np.uint8), (4, 2)).tolist()
        [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    wide, high = fitted(*size, len(mask))
    inner = np.ascontiguousarray(mask[:high, :wide])
    return np.asarray(Image.fromarray(inner).resize(size, Image.Resampling.NEAREST))


def fitted(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height scaled until the longer side is `size`: the whole image fits into a square.

    Example:
        >>> fitted(640, 480, 320), fitted(50, 100, 200)
        ((320, 240), (100, 200))
    """
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def mask_of(pair: Pair) -> Array:
    """The classes (H, W) of a mask, as its file has them.

    Raises:
        BadImageError: if it cannot be read, or its numbers are no classes.
    """
    if isinstance(pair.mask, Polygons):
        return drawn(pair.mask)
    with opened(pair.mask) as file:
        decoded(file, pair.mask)
        if file.mode not in MODES:
            reason = f"is a colour mask ({file.mode}); save it with a palette or in grey, one value per class"
            raise BadImageError(problem_at(pair.mask, reason, "colour mask"))
        values = np.asarray(file)
        if values.min() < 0 or values.max() > IGNORE:
            reason = f"has values from {values.min()} to {values.max()}; they must lie from 0 to {IGNORE}"
            raise BadImageError(problem_at(pair.mask, reason, "value out of range"))
    return values.astype(np.uint8)


def drawn(mask: Polygons) -> Array:
    """The classes (H, W) of shapes.

    Example:
        >>> square = Shape(1, [[0, 0, 2, 0, 2, 2, 0, 2]])
        >>> drawn(Polygons(Path("a.json"), (4, 2), (square,)))[0].tolist()
        [1, 1, 0, 0]
    """
    width, height = mask.size
    labels = np.zeros((height, width), dtype=np.uint8)
    for shape in mask.shapes:
        covered = _rasterised(shape, mask)
        here = labels[covered]
        other = (here != 0) & (here != shape.label)
        labels[covered] = np.where(other | shape.crowd, IGNORE, shape.label)
    return labels


def _rasterised(shape: Shape, mask: Polygons) -> NDArray[np.bool_]:
    """Which pixels a shape covers: by pycocotools where it is installed, else by Pillow."""
    width, height = mask.size
    try:
        from pycocotools import mask as coco  # type: ignore[import-untyped]
    except ImportError:
        if isinstance(shape.outline, dict):
            reason = "has run-length codes, which need pycocotools: pip install 'drkd[detection]'"
            raise BadImageError(problem_at(mask.location, reason, "run-length code")) from None
        canvas = Image.new("1", (width, height))
        pen = ImageDraw.Draw(canvas)
        for polygon in shape.outline:
            pen.polygon([float(number) for number in polygon], fill=1)
        return np.asarray(canvas, dtype=np.bool_)
    try:
        codes = shape.outline
        if isinstance(codes, dict):
            if list(codes["size"]) != [height, width]:
                raise ValueError(f"its code is of {codes['size']} rows and columns, not {[height, width]}")
            codes = coco.frPyObjects(codes, height, width) if isinstance(codes.get("counts"), list) else codes
        else:
            codes = coco.merge(coco.frPyObjects(codes, height, width))
        with _QUIET, warnings.catch_warnings():  # filters belong to the process, and threads would mix them up
            warnings.simplefilter("ignore", DeprecationWarning)  # of its arrays, with numpy 2
            found: NDArray[np.bool_] = coco.decode(codes).astype(np.bool_)
        if found.shape != (height, width):
            raise ValueError(f"its size is {found.shape[1]}x{found.shape[0]}, not {width}x{height}")
    except Exception as failure:  # pycocotools raises whatever its parser in C does
        reason = f"has a shape that cannot be drawn: {failure}; fix or remove it"
        raise BadImageError(problem_at(mask.location, reason, "damaged shape")) from failure
    return found
