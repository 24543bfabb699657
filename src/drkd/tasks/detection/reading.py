"""Which images a folder of annotations has, and which boxes: nothing is decoded.

Three layouts are known, Pascal VOC (`voc.py`), COCO (`coco.py`) and YOLO (`yolo.py`). What is wrong goes to
`on_problem`, image by image.
"""

import math
import os
from pathlib import Path

from drkd.data.checking import ORIENTATION
from drkd.data.decoding import opened
from drkd.data.problems import BadImageError, OnProblem, Problem, problem_at, refuse_twice, shown
from drkd.tasks.detection.annotations import Annotated, Annotations, Box
from drkd.tasks.detection.coco import find_coco, read_coco
from drkd.tasks.detection.voc import find_voc, read_voc
from drkd.tasks.detection.yolo import find_yolo, read_yolo
from drkd.utils.errors import InputError

SLACK = 1.0
"""Boxes may reach this many pixels beyond the image, since some tools count pixels from 1; they are cut off there."""

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""


def read_annotations(root: Path, on_problem: OnProblem) -> Annotations:
    """The annotations below `root`, whichever layout they have; images with errors are left out.

    Args:
        root: a folder.
        on_problem: what is wrong goes there, see `drkd.data.problems`.

    Raises:
        InputError: if there is no such folder, or none of the layouts fits.
    """
    if not root.is_dir():
        raise InputError(f"detection needs a folder of images with boxes, there is none at {shown(root)}")
    if (home := find_voc(root, on_problem)) is not None:
        classes, listed = read_voc(home, on_problem)
    elif files := find_coco(root, on_problem):
        classes, listed = read_coco(root, files, on_problem)
    elif folders := find_yolo(root):
        classes, listed = read_yolo(root, folders, on_problem, upright_size)
    else:
        raise InputError(
            f"{shown(root)} holds no boxes: expected Pascal VOC (Annotations/*.xml, JPEGImages/), COCO "
            "(annotations/*.json, or _annotations.coco.json beside the images of each split) or YOLO (images/train, "
            "labels/train/*.txt); for a folder per class leave out --task"
        )
    splits = {
        split: [one for one in part if one and _sound(one, classes, on_problem)] for split, part in listed.items()
    }
    for split, part in splits.items():
        if not part:
            on_problem(problem_at(root, f"has no images in the {split} split that can be used", "empty split"))
    names = {split: [os.path.relpath(one.image, root) for one in part] for split, part in splits.items()}
    refuse_twice(root, names, on_problem)
    return Annotations(classes, splits, {split: len(listed[split]) - len(part) for split, part in splits.items()})


def upright_size(image: Path) -> tuple[int, int]:
    """Width and height of an image once it is turned as its EXIF orientation says.

    Raises:
        BadImageError: if its header cannot be read.
    """
    with opened(image) as file:
        width, height = file.size
        try:
            sideways = file.getexif().get(ORIENTATION) in SIDEWAYS
        except Exception:  # damaged EXIF does not say how the image lies
            sideways = False
    return (height, width) if sideways else (width, height)


def _sound(one: Annotated, classes: tuple[str, ...], on_problem: OnProblem) -> bool:
    """Whether an image and its boxes can be used; all problems are reported."""
    found: list[Problem] = []
    try:
        width, height = upright_size(one.image)
    except BadImageError as bad:
        on_problem(bad.problem)
        return False
    if one.size not in (None, (width, height)):
        claimed = "x".join(map(str, one.size or ()))
        reason = f"is for an image of {claimed} pixels, but {shown(one.image.name)} has {width}x{height}; redo it"
        found.append(problem_at(one.location, reason, "other size"))
    for number, (box, name) in enumerate(zip(one.boxes, one.names, strict=True), start=1):
        which = f"of {shown(one.image.name)}, box {number} ({name} at {', '.join(f'{side:g}' for side in box)})"
        if wrong := _wrong_box(box, width, height):
            found.append(problem_at(one.location, f"{which} {wrong[0]}", wrong[1]))
        if name not in classes:
            known = ", ".join(classes)
            found.append(
                problem_at(
                    one.location, f"{which} is of a class that training does not have; it has {known}", "unknown class"
                )
            )
    if not one.boxes:
        on_problem(problem_at(one.image, "has no boxes: everything on it is background", "no boxes", "warning"))
    for each in found:
        on_problem(each)
    return not found


def _wrong_box(box: Box, width: int, height: int) -> tuple[str, str] | None:
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)):
        return "is not a box of four finite numbers; fix it", "damaged box"
    if right <= left or bottom <= top:
        return "is empty: its right and bottom must lie beyond its left and top; fix or remove it", "empty box"
    if left < -SLACK or top < -SLACK or right > width + SLACK or bottom > height + SLACK:
        return f"reaches outside the image of {width}x{height} pixels; fix or remove it", "box outside"
    if min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0):  # cut off, it would be empty
        return f"lies beyond the edge of the image of {width}x{height} pixels; fix or remove it", "box outside"
    return None
