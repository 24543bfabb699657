"""Pascal VOC: an XML file per image, lists of names for the splits."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from pathlib import Path

from drkd.data.files import inside, is_image, read_bytes, visible
from drkd.data.problems import OnProblem, problem_at, shown, some
from drkd.tasks.detection.annotations import Annotated, Box, Listed
from drkd.utils.errors import InputError
from drkd.utils.text import printable

LISTS = ("train", "val", "test")


def find_voc(root: Path, on_problem: OnProblem) -> Path | None:
    """The folder that holds `Annotations`: `root` itself or one right below it; others there are warned of."""
    places = [root, *(path for path in visible(root) if path.is_dir())]
    homes = [home for home in places if (home / "Annotations").is_dir() and any(_files(home / "Annotations", ".xml"))]
    for other in homes[1:]:
        reason = f"is left out: one folder with Annotations is read, here {shown(homes[0])}; give another with --data"
        on_problem(problem_at(other, reason, "other folder", "warning"))
    return homes[0] if homes else None


def read_voc(home: Path, on_problem: OnProblem) -> Listed:
    """Every image of `ImageSets/Main/train.txt` and its like; without lists every XML file is for training.

    Classes are the names in the training split, in alphabetical order. Coordinates are taken as they are.

    Raises:
        InputError: for lists without one for training.
    """
    lists = {split: home / "ImageSets" / "Main" / f"{split}.txt" for split in LISTS}
    if not lists["train"].exists():
        lists["train"] = lists["train"].with_name("trainval.txt")
        if lists["train"].exists():
            del lists["val"]  # its images are in it
    files = {path.stem: path for path in _files(home / "Annotations", ".xml")}
    there = {split: _names(path, files, on_problem) for split, path in lists.items() if path.exists()}
    images = _images(home)
    if "train" not in there:
        refuse_lists(home / "ImageSets" / "Main", there)
        there = {"train": list(files)}
        if alone := sorted(set(images) - set(files)):
            reason = f"has {len(alone)} images without an XML file in Annotations, which are left out: {some(alone)}"
            on_problem(problem_at(home, reason, "other file", "warning"))
    splits = {split: [_read(home, name, images, on_problem) for name in names] for split, names in there.items()}
    return tuple(sorted({name for one in splits["train"] if one for name in one.names})), splits


def refuse_lists(folder: Path, there: Collection[str]) -> None:
    """Refuse lists of some splits that leave open what is trained on: without any, all images are.

    Raises:
        InputError: if there are any.
    """
    if there:
        names = " and ".join(f"{split}.txt" for split in there)
        raise InputError(f"{shown(folder)} has {names}, but no train.txt or trainval.txt; add one, or remove {names}")


def _files(folder: Path, suffix: str) -> list[Path]:
    return [path for path in visible(folder) if path.suffix.lower() == suffix]


def _names(path: Path, known: Collection[str], on_problem: OnProblem) -> list[str]:
    """The names in a list, spaces included; lists of a class have 1, 0 or -1 after each."""
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else "it is not UTF-8 text"
        on_problem(problem_at(path, f"cannot be read as a list of names: {why}; fix it", "damaged file"))
        return []
    names = [line.strip() for line in lines if line.strip()]
    return list(dict.fromkeys(name if name in known else re.sub(r"\s+(-1|0|1)$", "", name) for name in names))


def _images(home: Path) -> dict[str, list[Path]]:
    """The images of each name."""
    folders = [home / "JPEGImages", home / "images", home / "Annotations"]  # some tools write them side by side
    found: dict[str, list[Path]] = {}
    for path in visible(next(folder for folder in folders if folder.is_dir())):
        if is_image(path):
            found.setdefault(path.stem, []).append(path)
    return found


def _read(home: Path, name: str, images: Mapping[str, list[Path]], on_problem: OnProblem) -> Annotated | None:
    location = home / "Annotations" / f"{name}.xml"
    if not inside(home, location):
        reason = f"lists {shown(name)}, which lies outside the folder; remove it"
        on_problem(problem_at(home / "ImageSets", reason, "missing file"))
        return None
    try:
        tree = ET.fromstring(read_bytes(location))
        things = list(tree.iter("object"))
        boxes, names = tuple(map(_box, things)), tuple(map(_name, things))
        difficult = tuple((thing.findtext("difficult") or "").strip() == "1" for thing in things)
        size = tuple(int(float(tree.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except FileNotFoundError:
        reason = "is missing, though a list of ImageSets/Main names it; remove the name"
        on_problem(problem_at(location, reason, "missing file"))
        return None
    except (ET.ParseError, ValueError, LookupError, ArithmeticError, OSError) as failure:
        why = (isinstance(failure, OSError) and failure.strerror) or failure
        reason = f"cannot be read as an annotation: {printable(why)}; fix it"
        on_problem(problem_at(location, reason, "damaged file"))
        return None
    if name not in images:
        on_problem(
            problem_at(
                location, f"has no image {shown(name)} in {shown(home.name)}/JPEGImages; add it", "missing image"
            )
        )
        return None
    claimed = (tree.findtext("filename") or "").strip()
    image = next((path for path in images[name] if path.name == claimed), images[name][-1])
    if len(images[name]) > 1:
        reason = f"belongs to {some([path.name for path in images[name]])}: {shown(image.name)} is taken"
        on_problem(problem_at(location, reason, "duplicate", "warning"))
    return Annotated(image, location, boxes, names, (size[0], size[1]) if all(size) else None, difficult)


def _name(thing: ET.Element) -> str:
    name = " ".join((thing.findtext("name") or "").split())
    if not name or not name.isprintable():
        raise ValueError("an object has no usable name")
    return name


def _box(thing: ET.Element) -> Box:
    sides = [thing.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in sides:
        raise ValueError("an object has no bndbox with xmin, ymin, xmax and ymax")
    left, top, right, bottom = (float(side or "nan") for side in sides)
    return left, top, right, bottom
