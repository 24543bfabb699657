"""Which images a folder has, and where their masks are: nothing is decoded.

    folders   images/ and masks/ side by side, in train/, val/ and test/ or with those inside, or with lists of names
    VOC       JPEGImages/, SegmentationClass/ and lists in ImageSets/Segmentation/
    COCO      annotations/*.json with polygons, see `coco.py`

What is wrong goes to `on_problem`, image by image.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drkd.data.files import SPLIT_FOLDERS, files_below, is_image, read_bytes, visible
from drkd.data.problems import OnProblem, problem_at, refuse_twice, shown, some
from drkd.tasks.detection.coco import find_coco
from drkd.tasks.detection.voc import refuse_lists
from drkd.tasks.segmentation.coco import read_coco
from drkd.tasks.segmentation.masks import Pair
from drkd.utils.errors import InputError
from drkd.utils.text import printable

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of Pascal VOC, in the order of its masks' values."""

LISTS = ("train", "val", "test")


@dataclass(frozen=True)
class Listed:
    """What a folder holds.

    Attributes:
        classes: in the order of the masks' values; empty where only the masks say how many there are.
        splits: the images of `train`, and of `val` and `test` where the folder has them.
        skipped: how many of each cannot be used.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, list[Pair]]
    skipped: Mapping[str, int]


Places = Mapping[str, tuple[Path, Path]]
"""Of each split, the folder of its images and that of its masks."""


def list_pairs(root: Path, on_problem: OnProblem) -> Listed:
    """The images below `root` that have masks, whichever layout it has.

    Args:
        root: a folder.
        on_problem: what is wrong goes there, see `drkd.data.problems`.

    Raises:
        InputError: if there is no such folder, or none of the layouts fits.
    """
    if not root.is_dir():
        raise InputError(f"segmentation needs a folder of images with masks, there is none at {shown(root)}")
    home, classes = _voc_home(root), ()  # type: tuple[Path | None, tuple[str, ...]]
    if home is not None:
        places: Places = {"train": (home / "JPEGImages", home / "SegmentationClass")}
        classes = class_names(root, on_problem) or class_names(home, on_problem) or VOC
        found = _in_lists(home / "ImageSets" / "Segmentation", places["train"], on_problem)
    elif places := _places(root):
        classes = class_names(root, on_problem)
        if set(places) == {"train"}:
            found = _in_lists(root, places["train"], on_problem)
        else:
            found = {split: _pairs(*folders, on_problem) for split, folders in places.items()}
    elif files := find_coco(root, on_problem):
        classes, found = read_coco(root, files, on_problem)
    else:
        raise InputError(
            f"{shown(root)} holds no masks: expected images/ and masks/ (also in train/, val/ and test/), Pascal VOC "
            "(JPEGImages/, SegmentationClass/) or COCO (annotations/*.json); for a folder per class leave out --task"
        )
    splits = {split: list(filter(None, part)) for split, part in found.items()}
    for split in {"train": None, **splits}:
        if not splits.get(split):
            on_problem(problem_at(root, f"has no images in the {split} split that can be used", "empty split"))
    names = {split: [os.path.relpath(pair.image, root) for pair in part] for split, part in splits.items()}
    refuse_twice(root, names, on_problem)
    return Listed(
        classes, {"train": [], **splits}, {split: len(part) - len(splits[split]) for split, part in found.items()}
    )


def class_names(folder: Path, on_problem: OnProblem) -> tuple[str, ...]:
    """The lines of `classes.txt`; nothing where there is none."""
    file = folder / "classes.txt"
    if not file.exists():
        return ()
    names = tuple(" ".join(line.split()) for line in _lines(file, on_problem) or [])
    if len(set(names)) < max(2, len(names)) or len(names) > 255 or not all(map(str.isprintable, names)):
        reason = "needs a name for each value of the masks, one a line: 2 to 255, all different"
        on_problem(problem_at(file, reason, "wrong classes"))
    return tuple(map(printable, names))


def _voc_home(root: Path) -> Path | None:
    """The folder with SegmentationClass: `root` itself or one right below it."""
    places = [root, *(path for path in visible(root) if path.is_dir())]
    homes = (home for home in places if (home / "SegmentationClass").is_dir() and (home / "JPEGImages").is_dir())
    return next(homes, None)


def _places(root: Path) -> Places:
    """Where images and masks are: in folders for the splits, in folders inside of images and masks, or plainly."""
    found = {}
    for split, folder in _of_splits(root).items():
        if (folder / "images").is_dir() and (folder / "masks").is_dir():
            found[split] = (folder / "images", folder / "masks")
    images, masks = root / "images", root / "masks"
    if not found and images.is_dir() and masks.is_dir():
        found = {split: (folder, masks / folder.name) for split, folder in _of_splits(images).items()}
        found = found or {"train": (images, masks)}
    return found


def _of_splits(parent: Path) -> dict[str, Path]:
    below = {path.name.lower(): path for path in visible(parent) if path.is_dir()}
    named = {
        split: next((below[name] for name in names if name in below), None) for split, names in SPLIT_FOLDERS.items()
    }
    return {split: path for split, path in named.items() if path is not None}


def _pairs(images: Path, masks: Path, on_problem: OnProblem) -> list[Pair | None]:
    """Every image with the mask of its name; what has no partner is reported."""
    of_images, of_masks = (_by_name(folder, on_problem) if folder.is_dir() else {} for folder in (images, masks))
    for name, mask in of_masks.items():
        if name not in of_images:
            on_problem(problem_at(mask, f"has no image {shown(name)} in {shown(images)}; add it", "missing image"))
    return [_pair(name, image, of_masks, masks, on_problem) for name, image in of_images.items()]


def _pair(name: str, image: Path, of_masks: Mapping[str, Path], masks: Path, on_problem: OnProblem) -> Pair | None:
    if name not in of_masks:
        on_problem(problem_at(image, f"has no mask {shown(name)}.png in {shown(masks)}; add it", "missing mask"))
        return None
    return Pair(image, of_masks[name], name)


def _by_name(folder: Path, on_problem: OnProblem) -> dict[str, Path]:
    """The images below a folder, by path without suffix; `1_mask.png` counts as `1.png`."""
    found: dict[str, Path] = {}
    for path in files_below(folder, on_problem):
        if not is_image(path):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix().removesuffix("_mask")
        if name in found:
            reason = f"has the name of {shown(found[name].name)}, which is taken; rename one"
            on_problem(problem_at(path, reason, "duplicate", "warning"))
        found.setdefault(name, path)
    return found


def _in_lists(folder: Path, places: tuple[Path, Path], on_problem: OnProblem) -> dict[str, list[Pair | None]]:
    """The images that `train.txt` and its like name; without lists all, for training.

    Masks without images, and images in no list, are only then reported.

    Raises:
        InputError: for lists without one for training.
    """
    lists = {split: folder / f"{split}.txt" for split in LISTS}
    if not lists["train"].exists():
        lists["train"] = folder / "trainval.txt"
        if lists["train"].exists():
            del lists["val"]  # its images are in it
    if not lists["train"].exists():
        refuse_lists(folder, [split for split, file in lists.items() if file.exists()])
        return {"train": _pairs(*places, on_problem)}
    of_images, of_masks = (_by_name(each, on_problem) for each in places)
    found: dict[str, list[Pair | None]] = {}
    for split, file in lists.items():
        if not file.exists():
            continue
        found[split] = []
        for line in dict.fromkeys(_lines(file, on_problem) or []):
            name = next((each for each in (line, Path(line).with_suffix("").as_posix()) if each in of_images), None)
            if name is None:
                reason = f"names {shown(line)}, of which there is no image in {shown(places[0])}; add it"
                on_problem(problem_at(file, reason, "missing image"))
                found[split].append(None)
            else:
                found[split].append(_pair(name, of_images[name], of_masks, places[1], on_problem))
    listed = {pair.name for part in found.values() for pair in part if pair}
    if left := sorted(name for name in of_images if name in of_masks and name not in listed):
        reason = f"has {len(left)} images with masks in none of the lists, which are left out: {some(left)}"
        on_problem(problem_at(folder, reason, "other file", "warning"))
    return found


def _lines(file: Path, on_problem: OnProblem) -> list[str] | None:
    """The lines of a text file that are not empty; None where it cannot be read."""
    try:
        lines = read_bytes(file).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else "it is not UTF-8 text"
        on_problem(problem_at(file, f"cannot be read as a list of names: {why}; fix it", "damaged file"))
        return None
    return [line.strip() for line in lines if line.strip()]
