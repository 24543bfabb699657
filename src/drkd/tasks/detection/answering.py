"""Predictions of a deployed detector, as rows of `drkd predict`."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drkd.tasks.answers import Asked, FoundBox, ReadImage, refuse_own_folder, refuse_same_names
from drkd.tasks.detection.reading import upright_size
from drkd.tasks.detection.splits import decode
from drkd.utils.errors import InputError
from drkd.utils.files import JsonObject

THRESHOLD = 0.25
"""Score of a box that is shown, unless another is given."""


def read_image(file: Path, size: int) -> ReadImage:
    """An image scaled as in training, and the size of its file.

    Raises:
        BadImageError: if it cannot be read.
    """
    pixels: NDArray[np.uint8] = decode(file, size).numpy()
    return ReadImage(file, pixels, upright_size(file))


def check_boxes_asked(asked: Asked, files: Sequence[Path]) -> None:
    """Refuse options that do not fit `files`.

    Raises:
        InputError: for fractions outside [0, 1], or files that could not be told apart.
    """
    boxes = asked.boxes
    for name, value in (("--threshold", boxes.threshold), ("--nms", boxes.nms)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} should be from 0 to 1, got {value:g}")
    for what, wanted in (("--draw", boxes.draw is not None), ("--format coco", boxes.coco)):
        if wanted:
            refuse_same_names(what, files, lambda file: file.name)
    if boxes.coco:  # 1.jpg, 001.jpg and 1.png are all the image 1
        refuse_same_names("--format coco", files, lambda file: f"the image {image_id(file.name)}")
    if boxes.draw is not None:
        refuse_own_folder("--draw", boxes.draw, files)


def find_boxes(
    outputs: Sequence[NDArray[Any]], image: ReadImage, classes: Sequence[str], asked: Asked
) -> Iterator[FoundBox]:
    """The boxes of one image, the most certain first.

    Args:
        outputs: `boxes` (n, 4) in pixels of what the network got, `labels` from 1 on, `scores`.
        image: what it got.
        classes: names of the labels.
        asked: which of them are wanted.

    Example:
        >>> image = ReadImage(Path("a.png"), np.zeros((3, 10, 10), np.uint8), (20, 40))
        >>> outputs = [np.float32([[1, 1, 5, 5]]), np.array([2]), np.float32([0.5])]
        >>> (box,) = find_boxes(outputs, image, ["cat", "dog"], Asked())
        >>> box.label, box.x1, box.y1, box.x2, box.y2
        ('dog', 2.0, 4.0, 10.0, 20.0)
    """
    boxes, labels, scores = (torch.from_numpy(np.asarray(each)) for each in outputs)
    wanted, order = asked.boxes, scores.argsort(descending=True, stable=True)
    threshold = wanted.threshold if wanted.threshold is not None else 0.0 if wanted.coco else THRESHOLD
    order = order[scores[order] >= threshold]
    if wanted.nms is not None:
        from torchvision.ops import batched_nms

        order = order[batched_nms(boxes[order].float(), scores[order].float(), labels[order], wanted.nms)]
    high, wide = image.pixels.shape[1:]
    scale = torch.tensor([image.size[0] / wide, image.size[1] / high] * 2, dtype=torch.float64)
    for row in order.tolist():
        sides = (boxes[row].double() * scale).tolist()
        yield FoundBox(str(image.file), classes[int(labels[row]) - 1], float(scores[row]), *sides)


def coco_result(found: FoundBox, classes: Sequence[str]) -> JsonObject:
    """A box as COCO's evaluation takes it (`loadRes` of pycocotools): x, y, width, height; categories from 1 on.

    Example:
        >>> box = FoundBox("val/000123.jpg", "dog", 0.5, 1.0, 2.0, 4.0, 8.0)
        >>> coco_result(box, ["cat", "dog"])["bbox"], coco_result(box, ["cat", "dog"])["image_id"]
        ([1.0, 2.0, 3.0, 6.0], 123)
    """
    name = Path(found.file).name
    return {
        "image_id": image_id(name),
        "file_name": name,
        "category_id": classes.index(found.label) + 1,
        "bbox": [found.x1, found.y1, found.x2 - found.x1, found.y2 - found.y1],
        "score": found.score,
    }


def image_id(name: str) -> int:
    """The id of an image by its file name alone: the number that it is called, or else 48 bits of a hash.

    Example:
        >>> image_id("000123.jpg"), image_id("street.jpg")
        (123, 192353109051570)
    """
    stem = Path(name).stem
    if stem.isascii() and stem.isdigit() and len(stem) <= 15:
        return int(stem)
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:6])
