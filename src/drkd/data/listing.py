"""Which images a data set has and what they show: names only, nothing is decoded.

Problems go to `on_problem`. That of a training stops at the first error; with one that does not stop, the rest is
still listed.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from drkd.data.decoding import Source
from drkd.data.own_output import without_own_output
from drkd.data.problems import NAMED, OnProblem, Problem, Severity, refuse, shown
from drkd.utils.errors import InputError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}

Sample = tuple[Source, int]


class Samples(Protocol):
    """The samples of a split, one after another."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Sample]: ...


@dataclass(frozen=True)
class Listing:
    """Class names in the order of the labels, and each split's images with their labels.

    `divide_by_name` is the folder of class folders whose images are divided by their names where a split is missing.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Samples]
    divide_by_name: Path | None = None


def list_folder(root: Path, on_problem: OnProblem = refuse) -> Listing:
    """A folder per class, under `train`, `val` and `test` folders or directly under `root`."""
    found = split_locations(root, lambda path: path.is_dir()) or {"train": [root]}
    locations = {split: location for split, (location, *_) in found.items()}
    return replace(_by_class(locations, on_problem), divide_by_name=locations["train"])


def list_imagenet(root: Path, on_problem: OnProblem = refuse) -> Listing:
    """ImageNet-1k as a folder per class: `train/<wnid>/*` and `val/<wnid>/*`; its `val` is the test split."""
    if not ((root / "train").is_dir() and (root / "val").is_dir()):
        raise InputError(
            f"imagenet is expected at {root}/train/<wnid>/*.JPEG and {root}/val/<wnid>/*.JPEG, which is not there; it "
            "cannot be downloaded without an account: unpack the archives from its home page (val sorted by class), or "
            f"link {root} to where they are"
        )
    return _by_class({"train": root / "train", "test": root / "val"}, on_problem)


def list_tiny_imagenet(root: Path, on_problem: OnProblem = refuse) -> Listing:
    """Tiny ImageNet as published: `wnids.txt`, `train/<wnid>/images/*`, `val/images/*` with `val_annotations.txt`.

    Its labelled `val` is the test split; its `test` has no labels.
    """
    if not (root / "wnids.txt").is_file():
        raise InputError(
            f"tiny_imagenet is expected at {root} (wnids.txt, words.txt, train/, val/), which is not there; unpack the "
            "published archive tiny-imagenet-200.zip there, or give --data the folder"
        )
    wnids = sorted(" ".join(_lines(root / "wnids.txt", on_problem)).split())
    if len(wnids) < 2:
        on_problem(_wrong(root / "wnids.txt", f"needs at least 2 classes, got {len(wnids)}", "missing class"))
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    annotations = root / "val" / "val_annotations.txt"
    train: list[Sample] = []
    for location in (root / "words.txt", annotations, *(root / "train" / wnid / "images" for wnid in wnids)):
        if not location.exists():
            on_problem(_wrong(location, "is missing; unpack the published archive whole", "missing file"))
        elif location.name == "images":
            train += [(path, label_of[location.parent.name]) for path in _images(location, on_problem)]
    test: list[Sample] = []
    for row in (line.split("\t") for line in _lines(annotations, on_problem) if line):
        if len(row) < 2 or row[1] not in label_of:
            reason = f"has a line without a class of wnids.txt: {' '.join(row)!r}"
            on_problem(_wrong(annotations, reason, "label out of range"))
        else:
            test.append((root / "val" / "images" / row[0], label_of[row[1]]))
    names = dict(line.split("\t", 1) for line in _lines(root / "words.txt", on_problem) if "\t" in line)
    for location, part in ((root / "train", train), (annotations, test)):
        if not part:
            on_problem(_wrong(location, "names no images; unpack the published archive whole", "empty split"))
    classes = tuple(f"{wnid} {names.get(wnid, wnid).split(',')[0]}" for wnid in wnids)
    return Listing(classes, {"train": train, "test": test})


def split_locations(root: Path, wanted: Callable[[Path], bool]) -> dict[str, list[Path]]:
    """The folders or files of each split, by how their names begin; empty where there is no training split."""
    locations = in_order(path for path in root.iterdir() if wanted(path))
    found = {
        split: [path for path in locations if path.stem.lower().split("-")[0] in names]
        for split, names in SPLIT_FOLDERS.items()
    }
    return {split: paths for split, paths in found.items() if paths} if found["train"] else {}


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths by the code points of their parts: the same on every system (paths themselves ignore case on Windows).

    Example:
        >>> from pathlib import PureWindowsPath
        >>> [path.name for path in in_order([PureWindowsPath("a/b"), PureWindowsPath("a/C")])]
        ['C', 'b']
    """
    return sorted(paths, key=lambda path: path.parts)


def _by_class(locations: Mapping[str, Path], on_problem: OnProblem) -> Listing:
    """The folders of the training split are the classes."""
    classes = tuple(_class_folders(locations["train"], on_problem))
    if len(classes) < 2:
        reason = f"needs at least 2 folders, one per class, got {len(classes)}"
        on_problem(_wrong(locations["train"], reason, "missing class"))
    splits: dict[str, list[Sample]] = {}
    for split, location in locations.items():
        strangers = set(_class_folders(location, on_problem if split != "train" else _ignore)) - set(classes)
        if strangers:
            reason = f"has classes that the training split does not have: {', '.join(sorted(strangers))}"
            on_problem(_wrong(location, reason, "unknown class"))
        splits[split] = [
            (path, label) for label, name in enumerate(classes) for path in _images(location / name, on_problem)
        ]
        if not splits[split]:
            on_problem(_wrong(location, f"holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})", "empty split"))
    return Listing(classes, splits)


def _class_folders(location: Path, on_problem: OnProblem) -> list[str]:
    try:
        found = in_order(path for path in location.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as reason:
        on_problem(_closed(location, reason))
        return []
    return [path.name for path in without_own_output(found, on_problem) if _decodable(path, on_problem)]


def _images(folder: Path, on_problem: OnProblem) -> list[Path]:
    """The images below `folder`, in order; links to folders are not followed."""
    if not folder.exists():
        return []
    files: list[Path] = []
    for location, folders, names in os.walk(folder, onerror=lambda reason: on_problem(_closed(folder, reason))):
        folders[:] = [path.name for path in without_own_output([Path(location, name) for name in folders], on_problem)]
        files += [Path(location) / name for name in names if not name.startswith(".")]
    files = in_order(files)
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if len(images) < len(files):
        others = [path.name for path in files if path.suffix.lower() not in IMAGE_SUFFIXES]
        some = ", ".join(map(shown, others[:NAMED])) + (", ..." if len(others) > NAMED else "")
        reason = f"has {len(others)} files that are no images by their names, which are left out: {some}"
        on_problem(_wrong(folder, reason, "other file", "warning"))
    return [path for path in images if _decodable(path, on_problem)]


def _decodable(path: Path, on_problem: OnProblem) -> bool:
    """Whether a name can be written into a result; if not, that is reported."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        on_problem(_wrong(path, "has a name that is not UTF-8; rename it", "unreadable name"))
        return False
    return True


def _lines(path: Path, on_problem: OnProblem) -> list[str]:
    """The lines of a text file; none of one that is missing, which is reported elsewhere."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except OSError as reason:
        on_problem(_closed(path, reason))
    except UnicodeDecodeError as reason:
        on_problem(
            _wrong(path, f"is no text in UTF-8 ({reason.reason}); unpack the published archive again", "damaged file")
        )
    return []


def _closed(location: Path, reason: OSError) -> Problem:
    where = reason.filename or location
    return _wrong(Path(where), f"cannot be listed or read: {reason.strerror}; change its permissions", "no permission")


def _wrong(location: Path, reason: str, kind: str, severity: Severity = "error") -> Problem:
    return Problem(severity, shown(location), reason, kind)


def _ignore(problem: Problem) -> None:
    """What was reported before."""
