"""COCO: a JSON file per split with its images, boxes and categories."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from drkd.data.files import inside, is_hidden, read_bytes, splits_in, visible
from drkd.data.problems import OnProblem, problem_at, shown, some
from drkd.tasks.detection.annotations import Annotated, Box, Listed
from drkd.utils.errors import InputError
from drkd.utils.text import printable

KEYS = ("images", "annotations", "categories")
OTHER_KINDS = {"captions", "keypoints", "panoptic", "stuff", "info", "densepose", "attributes"}
"""Words in the names of COCO's files that hold no boxes of objects."""

Row = Mapping[str, Any]


class Thing(NamedTuple):
    """An annotation."""

    box: Box
    name: str
    crowd: bool


def find_coco(root: Path, on_problem: OnProblem) -> dict[str, Path]:
    """The JSON file of each split; where no name says which split it is, the only file is for training.

    Where several could be meant, those called `instances` are, as in COCO as published.

    Raises:
        InputError: if it remains open which file is a split's.
    """
    locations = [*root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json"), *root.glob("*.json")]
    locations = sorted(path for path in locations if not any(map(is_hidden, path.relative_to(root).parts)))
    of_boxes = [path for path in locations if not _words(path) & OTHER_KINDS]
    found: dict[str, Path] = {}
    for split in ("train", "val", "test"):
        files = [path for path in of_boxes if split in splits_in(_own_name(path))]
        files = [path for path in files if "instances" in _words(path)] or files
        if len(files) > 1:
            names = ", ".join(shown(path.relative_to(root)) for path in files)
            raise InputError(f"{shown(root)} has {len(files)} files for the {split} split: {names}; keep one of them")
        if files:
            found[split] = files[0]
    if not found and len(of_boxes) == 1:
        found = {"train": of_boxes[0]}
    if "train" not in found:
        return {}
    for path in of_boxes:
        if path not in found.values():
            reason = "is left out: it belongs to no split"
            on_problem(problem_at(path, reason, "other file", "warning"))
    return found


def read_coco(root: Path, files: dict[str, Path], on_problem: OnProblem) -> Listed:
    """The images of every split. Classes are the training file's categories in the order of their ids.

    Boxes are x, y, width, height there. Crowds are marked. Categories of one name are one class.
    """
    splits: dict[str, list[Annotated | None]] = {}
    classes: tuple[str, ...] = ()
    for split, location in files.items():
        content = _load(location, on_problem)
        if content is None:
            continue
        names = _categories(location, content["categories"], on_problem)
        if split == "train":
            classes = tuple(dict.fromkeys(names[key] for key in sorted(names, key=lambda key: (str(type(key)), key))))
        splits[split] = _images(root, split, location, content, names, on_problem)
    return (classes, splits) if "train" in splits else ((), {"train": []})


def _own_name(path: Path) -> str:
    return path.parent.name if path.name.startswith("_annotations") else path.stem


def _words(path: Path) -> set[str]:
    return set(re.findall("[a-z]+", path.stem.lower()))


def _load(location: Path, on_problem: OnProblem) -> Any:
    try:
        content = json.loads(read_bytes(location))
    except (OSError, ValueError, RecursionError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else failure
        on_problem(problem_at(location, f"cannot be read as JSON: {printable(why)}; copy it again", "damaged file"))
        return None
    missing = [key for key in KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        on_problem(problem_at(location, f"is not a COCO file: it has no list of {', '.join(missing)}", "damaged file"))
        return None
    return content


def _categories(location: Path, rows: list[Any], on_problem: OnProblem) -> dict[int | str, str]:
    """The name of each id."""
    names: dict[int | str, str] = {}
    for row in rows:
        key, name = (_id(row.get("id")), _text(row.get("name"))) if isinstance(row, dict) else (None, None)
        if key is None or name is None or names.get(key, name) != name:
            reason = f"has a category that needs an id of its own and a name: {_quoted(row)}; fix it"
            on_problem(problem_at(location, reason, "damaged file"))
        else:
            names[key] = name
    if twice := sorted({name for name in names.values() if list(names.values()).count(name) > 1}):
        reason = f"has several categories called {some(twice)}: they are taken as one class"
        on_problem(problem_at(location, reason, "duplicate category", "warning"))
    return names


def _images(
    root: Path,
    split: str,
    location: Path,
    content: Mapping[str, list[Any]],
    names: Mapping[int | str, str],
    on_problem: OnProblem,
) -> list[Annotated | None]:
    boxes: dict[int | str, list[Thing]] = {}
    images: list[tuple[int | str, Row] | None] = []
    for row in content["images"]:
        key = _id(row.get("id")) if isinstance(row, dict) else None
        if key is None or key in boxes or _text(row.get("file_name")) is None:
            reason = f"has an image that needs an id of its own and a file_name: {_quoted(row)}; fix it"
            on_problem(problem_at(location, reason, "damaged file"))
            images.append(None)
            continue
        boxes[key] = []
        images.append((key, row))
    for row in content["annotations"]:
        _add_box(location, row, boxes, names, on_problem)
    folders = _folders(root, split, location)
    return [each and _image(root, folders, location, each[1], boxes[each[0]], on_problem) for each in images]


def _add_box(
    location: Path,
    row: Any,
    boxes: dict[int | str, list[Thing]],
    names: Mapping[int | str, str],
    on_problem: OnProblem,
) -> None:
    """Put the box of an annotation to its image."""
    image, kind = (_id(row.get("image_id")), _id(row.get("category_id"))) if isinstance(row, dict) else (None, None)
    which = f"an annotation {_quoted(row.get('id'))}" if isinstance(row, dict) else f"an annotation {_quoted(row)}"
    if image not in boxes or image is None:
        named = row.get("image_id") if isinstance(row, dict) else None
        on_problem(problem_at(location, f"has {which} for no image (image_id {_quoted(named)})", "damaged file"))
        return
    sides = row.get("bbox")
    numbers = [_number(side) for side in sides] if isinstance(sides, list) else []
    left, top, wide, high = numbers if len(numbers) == 4 else (None,) * 4
    if left is None or top is None or wide is None or high is None:
        reason = f"has {which} without a bbox of four numbers; fix or remove it"
        on_problem(problem_at(location, reason, "damaged box"))
        return
    name = f"category {_quoted(row.get('category_id'))}" if kind is None else names.get(kind, f"category {kind}")
    crowd = row.get("iscrowd") in (1, True, "1")
    if crowd and not (wide > 0 and high > 0):
        return
    boxes[image].append(Thing((left, top, left + wide, top + high), name, crowd))


def _image(
    root: Path, folders: list[Path], location: Path, row: Row, own: list[Thing], on_problem: OnProblem
) -> Annotated | None:
    name = str(row["file_name"])
    places = [folder / form for form in (name, name.replace("\\", "/")) for folder in folders]
    file = next((path for path in places if inside(root, path) and _is_file(path)), None)
    if file is None:
        reason = f"names an image {shown(name)} that is nowhere below {shown(root)}; add it"
        on_problem(problem_at(location, reason, "missing image"))
        return None
    width, height = (_number(row.get(side)) for side in ("width", "height"))
    size = (int(width), int(height)) if width and height and math.isfinite(width + height) else None
    boxes, names, crowds = (tuple(values) for values in zip(*own, strict=True)) if own else ((), (), ())
    return Annotated(file, location, boxes, names, size, crowds)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no system takes
        return False


def _id(value: object) -> int | str | None:
    """An id as it is compared: `7`, `7.0` and `"7"` are the same; None for what can be none."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text or None
    number = _number(value)
    return int(number) if number is not None and math.isfinite(number) and number == int(number) else None


def _number(value: object) -> float | None:
    """A number, also one in quotes; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str | None:
    """A name that can be written again; None for what is none."""
    text = " ".join(str(value).split()) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if text and text.isprintable() else None


def _quoted(value: object, most: int = 60) -> str:
    text = printable(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _folders(root: Path, split: str, location: Path) -> list[Path]:
    """Where images of a split may lie."""
    homes = [root, root / "images"]
    below = [path for home in homes if home.is_dir() for path in visible(home) if path.is_dir()]
    return [location.parent, *(path for path in below if split in splits_in(path.name)), *homes]
