"""COCO: a JSON file per split with images, polygons and categories. Class 0 is what no object covers."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drkd.data.decoding import MOST_PIXELS
from drkd.data.files import inside, read_bytes, splits_in, visible
from drkd.data.problems import OnProblem, problem_at, shown
from drkd.tasks.segmentation.masks import IGNORE, Pair, Polygons, Shape
from drkd.utils.text import printable

BACKGROUND = "background"

FARTHEST = 1e6
"""Coordinates beyond are no pixels: what draws them would take for ever. NaN is none either."""


def read_coco(
    root: Path, files: Mapping[str, Path], on_problem: OnProblem
) -> tuple[tuple[str, ...], dict[str, list[Pair | None]]]:
    """The images of every split. Classes are background and the training file's categories in the order of their ids.

    Categories of one name are one class. Crowds do not count.
    """
    classes: tuple[str, ...] = ()
    splits: dict[str, list[Pair | None]] = {}
    for split, file in files.items():
        content = _load(file, on_problem)
        if content is None:
            continue
        names = {row["id"]: " ".join(str(row["name"]).split()) for row in content["categories"]}
        if split == "train":
            ordered = [names[key] for key in sorted(names, key=lambda key: (str(type(key)), key))]
            classes = tuple(dict.fromkeys([BACKGROUND, *map(printable, ordered)]))
            if len(classes) > IGNORE:  # a mask has 8 bits
                reason = f"has {len(classes) - 1} categories, but masks have {IGNORE - 1} at most; remove some"
                on_problem(problem_at(file, reason, "wrong classes"))
        splits[split] = _pairs(root, split, file, content, _labels(names, classes, file, on_problem), on_problem)
    return classes, splits


def _load(file: Path, on_problem: OnProblem) -> Any:
    """What a file says, with every row being of the right form; None where it cannot be read."""
    needs = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}
    try:
        content = json.loads(read_bytes(file))
        for table, keys in needs.items():
            for row in content[table]:
                for key in keys:
                    hash(row[key])
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as failure:
        why = (isinstance(failure, OSError) and failure.strerror) or f"{type(failure).__name__}: {failure}"
        reason = f"cannot be read as a COCO file of images, annotations and categories: {printable(why)}; fix it"
        on_problem(problem_at(file, reason, "damaged file"))
        return None
    return content


def _labels(names: Mapping[Any, str], classes: tuple[str, ...], file: Path, on_problem: OnProblem) -> dict[Any, int]:
    """The class of each category; those that training does not have are reported."""
    found = {}
    for key, name in names.items():
        if printable(name) in classes:
            found[key] = classes.index(printable(name))
        else:
            reason = f"has the category {printable(name)}, which training does not have; it has {', '.join(classes)}"
            on_problem(problem_at(file, reason, "unknown class"))
    return found


def _pairs(
    root: Path,
    split: str,
    file: Path,
    content: Mapping[str, list[Any]],
    labels: Mapping[Any, int],
    on_problem: OnProblem,
) -> list[Pair | None]:
    shapes: dict[Any, list[Shape]] = {row["id"]: [] for row in content["images"]}
    if len(shapes) < len(content["images"]):
        on_problem(problem_at(file, "has several images of one id; give each its own", "damaged file"))
    bad: set[Any] = set()
    for row in content["annotations"]:
        image, outline = row["image_id"], row.get("segmentation")
        which = f"annotation {printable(row.get('id'))} of image {printable(image)}"
        if image not in shapes:
            on_problem(problem_at(file, f"has an {which}, which it does not list; fix it", "damaged file"))
        elif row["category_id"] not in labels or not _is_outline(outline):
            reason = f"has an {which} without a known category and polygons; fix or remove it"
            on_problem(problem_at(file, reason, "damaged shape"))
            bad.add(image)
        else:
            shapes[image].append(Shape(labels[row["category_id"]], outline, row.get("iscrowd") in (1, True, "1")))
    folders = _folders(root, split, file)
    return [
        None if row["id"] in bad else _pair(root, folders, file, row, shapes[row["id"]], on_problem)
        for row in content["images"]
    ]


def _is_outline(value: Any) -> bool:
    """Whether it is a run-length code, or polygons of three points or more."""
    if isinstance(value, dict):
        return "counts" in value and "size" in value
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, list) and len(each) >= 6 and len(each) % 2 == 0 for each in value)
        and all(isinstance(number, int | float) and abs(number) < FARTHEST for each in value for number in each)
    )


def _pair(
    root: Path, folders: list[Path], file: Path, row: Mapping[str, Any], shapes: list[Shape], on_problem: OnProblem
) -> Pair | None:
    name = str(row["file_name"]).replace("\\", "/")
    image = next(
        (path for path in (folder / name for folder in folders) if inside(root, path) and path.is_file()), None
    )
    if image is None:
        on_problem(
            problem_at(
                file, f"names an image {shown(name)} that is nowhere below {shown(root)}; add it", "missing image"
            )
        )
        return None
    size = [side for side in (row.get("width"), row.get("height")) if isinstance(side, int) and side > 0]
    if len(size) < 2 or math.prod(size) > MOST_PIXELS:
        reason = f"does not say the width and height of {shown(name)} in pixels; add them"
        on_problem(problem_at(file, reason, "damaged file"))
        return None
    return Pair(image, Polygons(file, (size[0], size[1]), tuple(shapes)), name)


def _folders(root: Path, split: str, file: Path) -> list[Path]:
    """Where images of a split may lie."""
    homes = [root, root / "images"]
    below = [path for home in homes if home.is_dir() for path in visible(home) if path.is_dir()]
    return [file.parent, *(path for path in below if split in splits_in(path.name)), *homes]
