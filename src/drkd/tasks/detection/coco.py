"""COCO: a JSON file per split with its images, boxes and categories."""

import json
import re
from pathlib import Path
from typing import Any

from drkd.data.listing import SPLIT_FOLDERS
from drkd.data.problems import OnProblem
from drkd.tasks.detection.annotations import Annotated, Box, Listed, problem

KEYS = ("images", "annotations", "categories")


def find_coco(root: Path) -> dict[str, Path]:
    """The JSON file of each split; where no name says which split it is, the only file is for training."""
    locations = [*root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json"), *root.glob("*.json")]
    found: dict[str, Path] = {}
    for location in sorted(locations):
        own = location.parent.name if location.name.startswith("_annotations") else location.stem
        words = re.findall("[a-z]+", own.lower())
        for split, names in SPLIT_FOLDERS.items():
            if set(words) & set(names) and split not in found:
                found[split] = location
    if not found and len(locations) == 1:
        found = {"train": locations[0]}
    return found if "train" in found else {}


def read_coco(root: Path, files: dict[str, Path], on_problem: OnProblem) -> Listed:
    """The images of every split. Classes are the training file's categories in the order of their ids.

    Boxes are x, y, width, height there. Annotations of crowds are left out.
    """
    read = {
        split: (location, content)
        for split, location in files.items()
        if (content := _load(location, on_problem)) is not None
    }
    splits = {split: _images(root, split, location, content, on_problem) for split, (location, content) in read.items()}
    if "train" not in read:
        return (), {"train": []}
    categories = sorted(read["train"][1]["categories"], key=lambda category: category["id"])
    return tuple(str(category["name"]) for category in categories), splits


def _load(location: Path, on_problem: OnProblem) -> Any:
    try:
        content = json.loads(location.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        on_problem(problem(location, f"cannot be read as JSON: {reason}; copy it anew", "damaged file"))
        return None
    missing = [key for key in KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        on_problem(problem(location, f"is no COCO file: it has no list of {', '.join(missing)}", "damaged file"))
        return None
    return content


def _images(root: Path, split: str, location: Path, content: Any, on_problem: OnProblem) -> list[Annotated | None]:
    name_of = {category.get("id"): str(category.get("name")) for category in content["categories"]}
    boxes: dict[Any, list[tuple[Box, str]]] = {image.get("id"): [] for image in content["images"]}
    for thing in content["annotations"]:
        if thing.get("iscrowd"):
            continue
        key, box, number = thing.get("image_id"), thing.get("bbox"), thing.get("category_id")
        if key not in boxes:
            on_problem(
                problem(location, f"has an annotation {thing.get('id')} of no image (image_id {key})", "damaged file")
            )
        elif not (isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)):
            reason = f"has an annotation {thing.get('id')} without a bbox of four numbers; fix or remove it"
            on_problem(problem(location, reason, "damaged box"))
        else:
            left, top, wide, high = (float(side) for side in box)
            name = name_of.get(number, f"category {number}")
            boxes[key].append(((left, top, left + wide, top + high), name))
    folders = _folders(root, split, location)
    found: list[Annotated | None] = []
    for image in content["images"]:
        name = str(image.get("file_name"))
        file = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if file is None:
            on_problem(
                problem(location, f"names an image {name} that is nowhere below {root}; add it", "missing image")
            )
            found.append(None)
            continue
        own = boxes[image.get("id")]
        sides = (image.get("width"), image.get("height"))
        size = (int(sides[0]), int(sides[1])) if all(isinstance(side, int | float) for side in sides) else None
        found.append(Annotated(file, location, tuple(box for box, _ in own), tuple(kind for _, kind in own), size))
    return found


def _folders(root: Path, split: str, location: Path) -> list[Path]:
    """Where images of a split may lie."""
    homes = [root, root / "images"]
    below = [path for home in homes if home.is_dir() for path in sorted(home.iterdir()) if path.is_dir()]
    of_split = [path for path in below if set(re.findall("[a-z]+", path.name.lower())) & set(SPLIT_FOLDERS[split])]
    return [location.parent, *of_split, *homes]
