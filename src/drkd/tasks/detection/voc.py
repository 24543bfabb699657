"""Pascal VOC: an XML file per image, lists of names for the splits."""

import xml.etree.ElementTree as ET
from pathlib import Path

from drkd.data.listing import IMAGE_SUFFIXES
from drkd.data.problems import OnProblem
from drkd.tasks.detection.annotations import Annotated, Box, Listed, problem

LISTS = ("train", "val", "test")


def find_voc(root: Path) -> Path | None:
    """The folder that holds `Annotations`: `root` itself or one right below it."""
    for home in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if (home / "Annotations").is_dir() and any((home / "Annotations").glob("*.xml")):
            return home
    return None


def read_voc(home: Path, on_problem: OnProblem) -> Listed:
    """Every image of `ImageSets/Main/train.txt` and its like; without lists every XML file is for training.

    Classes are the names in the training split, in alphabetical order. Coordinates are taken as they are.
    """
    lists = {split: home / "ImageSets" / "Main" / f"{split}.txt" for split in LISTS}
    if not lists["train"].is_file():
        lists["train"] = lists["train"].with_name("trainval.txt")
    there = {split: _names(path) for split, path in lists.items() if path.is_file()}
    if "train" not in there:
        there = {"train": sorted(path.stem for path in (home / "Annotations").glob("*.xml"))}
    images = {path.stem: path for path in sorted(_images(home)) if path.suffix.lower() in IMAGE_SUFFIXES}
    splits = {split: [_read(home, name, images, on_problem) for name in names] for split, names in there.items()}
    return tuple(sorted({name for one in splits["train"] if one for name in one.names})), splits


def _names(path: Path) -> list[str]:
    """The first word of each line: lists of a class have 1 or -1 after it."""
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _images(home: Path) -> list[Path]:
    for folder in ("JPEGImages", "images"):
        if (home / folder).is_dir():
            return list((home / folder).iterdir())
    return list((home / "Annotations").iterdir())  # some tools write them side by side


def _read(home: Path, name: str, images: dict[str, Path], on_problem: OnProblem) -> Annotated | None:
    location = home / "Annotations" / f"{name}.xml"
    try:
        tree = ET.parse(location).getroot()
        boxes = tuple(_box(thing) for thing in tree.iter("object"))
        names = tuple((thing.findtext("name") or "").strip() for thing in tree.iter("object"))
        size = tuple(int(float(tree.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except FileNotFoundError:
        on_problem(
            problem(location, "is missing, though a list of ImageSets/Main names it; remove the name", "missing file")
        )
        return None
    except (ET.ParseError, ValueError, OSError) as reason:
        on_problem(problem(location, f"cannot be read as an annotation: {reason}; fix it", "damaged file"))
        return None
    if name not in images:
        on_problem(problem(location, f"has no image {name} in {home.name}/JPEGImages; add it", "missing image"))
        return None
    return Annotated(images[name], location, boxes, names, (size[0], size[1]) if all(size) else None)


def _box(thing: ET.Element) -> Box:
    sides = [thing.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in sides:
        raise ValueError("an object has no bndbox with xmin, ymin, xmax and ymax")
    left, top, right, bottom = (float(side or "nan") for side in sides)
    return left, top, right, bottom
