"""YOLO: a text file of labels per image, `class cx cy w h` in fractions of its sides, and the names of the classes."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import yaml

from drkd.data.files import is_image, read_bytes, splits_in, visible
from drkd.data.problems import BadImageError, OnProblem, problem_at, shown, some
from drkd.tasks.detection.annotations import Annotated, Box, Listed
from drkd.utils.errors import InputError
from drkd.utils.text import printable

NAMES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml", "classes.txt", "labels/classes.txt")
"""Where the names of the classes may be."""


class Folders(NamedTuple):
    """Of one split."""

    images: Path
    labels: Path


def find_yolo(root: Path) -> dict[str, Folders]:
    """The folders of each split: `images/train` and `labels/train`, `train/images` and `train/labels`, or neither."""
    below = [path for path in visible(root) if path.is_dir()]
    inner = [path for path in visible(root / "labels") if path.is_dir()] if (root / "labels").is_dir() else []
    places = [(path.name, Folders(root / "images" / path.name, path)) for path in inner]
    places += [(path.name, Folders(path / "images", path / "labels")) for path in below]
    found: dict[str, Folders] = {}
    for name, folders in places:
        for split in splits_in(name):
            if folders.images.is_dir() and folders.labels.is_dir():
                found.setdefault(split, folders)
    flat = Folders(root / "images", root / "labels")
    if not found and flat.images.is_dir() and flat.labels.is_dir():
        found = {"train": flat}
    return {split: found[split] for split in ("train", "val", "test") if split in found} if "train" in found else {}


def read_yolo(
    root: Path,
    folders: dict[str, Folders],
    on_problem: OnProblem,
    size_of: Callable[[Path], tuple[int, int]],
) -> Listed:
    """Every image of every split, one without a file of labels as background.

    Args:
        root: the folder, with the names of the classes in one of `NAMES`.
        folders: of each split.
        on_problem: what is wrong goes there.
        size_of: width and height of an image once it is upright.

    Raises:
        InputError: where no file says the names of the classes.
    """
    classes = _classes(root)
    return classes, {split: _split(classes, each, on_problem, size_of) for split, each in folders.items()}


def _classes(root: Path) -> tuple[str, ...]:
    """The names in the order of the numbers."""
    file = next((root / name for name in NAMES if (root / name).is_file()), None)
    if file is None:
        raise InputError(
            f"{shown(root)} has YOLO labels but no class names; add {shown('data.yaml')} with `names:`, or "
            "classes.txt with a name per line"
        )
    try:
        text = read_bytes(file).decode("utf-8-sig")
        names = text.splitlines() if file.suffix == ".txt" else yaml.safe_load(text)["names"]
        if isinstance(names, dict):
            names = [names[number] for number in range(len(names))]
        found = tuple(" ".join(str(name).split()) for name in names if str(name).strip())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError) as reason:
        raise InputError(
            f"{shown(file)} does not name the classes: {printable(reason)}; write `names:` with a list"
        ) from reason
    if not found or len(set(found)) < len(found):
        raise InputError(f"{shown(file)} needs a name of its own for each class, got {some(list(found))}")
    return found


def _split(
    classes: tuple[str, ...],
    folders: Folders,
    on_problem: OnProblem,
    size_of: Callable[[Path], tuple[int, int]],
) -> list[Annotated | None]:
    images = [path for path in visible(folders.images) if is_image(path)]
    labels = {path.stem: path for path in visible(folders.labels) if path.suffix == ".txt"}
    if alone := sorted(set(labels) - {path.stem for path in images} - {"classes"}):
        reason = f"has {len(alone)} files of labels without an image, which are left out: {some(alone)}"
        on_problem(problem_at(folders.labels, reason, "other file", "warning"))
    return [_read(classes, image, labels.get(image.stem), on_problem, size_of) for image in images]


def _read(
    classes: tuple[str, ...],
    image: Path,
    location: Path | None,
    on_problem: OnProblem,
    size_of: Callable[[Path], tuple[int, int]],
) -> Annotated | None:
    if location is None:
        return Annotated(image, image, (), ())
    try:
        width, height = size_of(image)
        lines = read_bytes(location).decode("utf-8-sig").splitlines()
        things = [_thing(classes, line, width, height) for line in lines if line.strip()]
    except BadImageError as bad:
        on_problem(bad.problem)
        return None
    except (OSError, ValueError) as failure:
        why = (isinstance(failure, OSError) and failure.strerror) or failure
        on_problem(problem_at(location, f"cannot be read as labels: {printable(why)}; fix it", "damaged file"))
        return None
    return Annotated(image, location, tuple(box for box, _ in things), tuple(name for _, name in things))


def _thing(classes: tuple[str, ...], line: str, width: int, height: int) -> tuple[Box, str]:
    """A line in pixels.

    Example:
        >>> _thing(("cell",), "0 0.5 0.5 0.25 0.5", 640, 480)
        ((240.0, 120.0, 400.0, 360.0), 'cell')
    """
    words = line.split()
    if len(words) != 5:
        raise ValueError(f"expected `class cx cy w h`, got {len(words)} words in {line.strip()[:60]!r}")
    number = int(words[0])
    x, y, wide, high = (float(word) for word in words[1:])
    name = classes[number] if 0 <= number < len(classes) else f"class {number}"
    sides = (x - wide / 2) * width, (y - high / 2) * height, (x + wide / 2) * width, (y + high / 2) * height
    return sides, name
