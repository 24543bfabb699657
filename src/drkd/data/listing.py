"""Which images a data set has and what they show: names only, nothing is decoded.

Listings are made by `folders.py`, `published.py` and `parquet.py`. Problems go to their `on_problem`. That of a
training stops at the first error; with one that does not stop, the rest is still listed.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drkd.data.decoding import Source, TableBytes
from drkd.data.files import SPLIT_FOLDERS, visible
from drkd.data.problems import Problem, Severity, some
from drkd.data.record import relative_name
from drkd.utils.text import printable

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


def split_locations(root: Path, wanted: Callable[[Path], bool]) -> dict[str, list[Path]]:
    """The folders or files of each split, by how their names begin; empty where there is no training split."""
    locations = [path for path in visible(root) if wanted(path)]
    found = {
        split: [path for path in locations if path.stem.lower().split("-")[0] in names]
        for split, names in SPLIT_FOLDERS.items()
    }
    return {split: paths for split, paths in found.items() if paths} if found["train"] else {}


def judge_classes(location: str, split: str, classes: Sequence[str], labels: Collection[int]) -> Problem | None:
    """What is wrong with the classes that a split has images of; one class alone teaches nothing.

    Labels beyond the classes, which the listing reports, do not count.

    Example:
        >>> print(judge_classes("pets (train)", "train", ("cat", "dog"), [0, 0, 0]))
        pets (train) has images of one class only: cat
    """
    counts = Counter(label for label in labels if 0 <= label < len(classes))
    missing = [name for label, name in enumerate(classes) if not counts[label]]
    rare = [name for label, name in enumerate(classes) if counts[label] == 1]
    if len(counts) == 1 < len(classes):
        severity: Severity = "error" if split == "train" else "warning"
        reason = f"has images of one class only: {printable(classes[next(iter(counts))])}"
        return Problem(severity, location, reason, "missing class")
    if counts and missing:
        reason = f"lacks {len(missing)} of the {len(classes)} classes: {some(missing)}"
        return Problem("warning", location, reason, "missing class")
    if rare and split == "train":
        reason = f"has a single image of {some(rare)}: too few to learn from and to measure on; add images"
        return Problem("warning", location, reason, "few images")
    return None


def keys_of(samples: Sequence[Sample], listing: Listing) -> list[str]:
    """What training images are divided by: their paths within the class folders, for layouts that are divided so."""
    home = listing.divide_by_name
    if home is None:
        return []
    return [relative_name(Path(str(source)), home / listing.classes[label]) for source, label in samples]


def origins_of(samples: Sequence[Sample], root: Path) -> list[str]:
    """Table and row of samples that are in tables below `root`; nothing for files."""
    return [f"{relative_name(each.path, root)} {each.row}" for each, _ in samples if isinstance(each, TableBytes)]
