"""Layouts of data sets: which one a name or a path stands for, and the files of each."""

import difflib
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

from drkd.data.files import folders_beside, visible
from drkd.data.folders import list_folder
from drkd.data.listing import Listing
from drkd.data.parquet import Rows, list_parquet
from drkd.data.problems import OnProblem, Problem
from drkd.data.published import list_imagenet, list_tiny_imagenet
from drkd.data.record import FileRecord, record_files
from drkd.data.votes import VOTES_FILE
from drkd.utils.errors import InputError

CIFAR = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""The folders that torchvision reads."""

LISTINGS: dict[str, Callable[[Path, OnProblem], Listing]] = {
    "tiny_imagenet": list_tiny_imagenet,
    "imagenet": list_imagenet,
    "parquet": list_parquet,
    "folder": list_folder,
}
"""Layouts that are files of images, and what lists them."""

BY_NAME = {
    "digits": Path(),
    "cifar10": Path("data"),
    "cifar100": Path("data"),
    "tiny_imagenet": Path("data") / "tiny-imagenet-200",
    "imagenet": Path("data") / "imagenet",
}
"""Data sets that have a name, and where they are expected."""


def find_layout(name: str) -> tuple[str, Path]:
    """The layout and the folder of a name, of a path, or of `NAME:PATH`: a folder that holds the data set of that name.

    Raises:
        InputError: if it is none of them.

    Example:
        >>> find_layout("cifar10")[0], find_layout("imagenet:ilsvrc")[0]
        ('cifar10', 'imagenet')
    """
    known, _, path = name.partition(":")
    if known in BY_NAME:
        if not path and Path(name).is_dir():
            where = "embedded in drkd" if name == "digits" else f"expected at {BY_NAME[name]}"
            warnings.warn(
                f"{name} means the data set of that name ({where}), not the folder {name}; for that, give ./{name}",
                stacklevel=2,
            )
        return known, Path(path) if path else BY_NAME[known]
    root = Path(name)
    if not root.is_dir():
        if name == "shapes":
            raise InputError("shapes has boxes and masks: add --task detection or --task segmentation")
        if root.is_file():
            raise InputError(f"{name} is a file; give the folder that holds the images")
        close = difflib.get_close_matches(name, [*BY_NAME, *folders_beside(root)], n=1)
        hint = f"did you mean {close[0]}?" if close else "see `drkd list datasets`."
        moved = "If the folder is elsewhere, give its path"
        raise InputError(f"there is no data set or folder called {name!r}; {hint} {moved}")
    try:
        if (root / "wnids.txt").exists():
            return "tiny_imagenet", root
        for cifar, folder in CIFAR.items():
            if (root / folder).is_dir():
                return cifar, root
        for home in (root, root / "data"):  # a cloned Hugging Face data set has its files under data/
            if home.is_dir() and any(path.suffix == ".parquet" for path in visible(home)):
                return "parquet", home
        return "folder", root
    except OSError as reason:
        raise InputError(f"cannot read the folder {root}: {reason.strerror}; change its permissions") from reason


def list_files(name: str) -> dict[str, FileRecord]:
    """The files of the data set that a name or a path stands for, with their labels and sizes; nothing is decoded.

    Raises:
        InputError: if there is no such data set.
    """
    layout, root = find_layout(name)
    if layout == "digits":
        return {}
    if layout in CIFAR:
        folder = root / CIFAR[layout]
        return record_files(dict.fromkeys(visible(folder) if folder.is_dir() else ()), root)
    found: dict[Path, int | str | None] = {}
    if layout == "folder" and (votes := root / VOTES_FILE).is_file():
        found[votes] = hashlib.sha256(votes.read_bytes()).hexdigest()
    problems: list[Problem] = []  # `read` reports them
    for part in LISTINGS[layout](root, problems.append).splits.values():
        if isinstance(part, Rows):
            for path, labels in part.labels.items():
                found[path] = hashlib.sha256(str(list(labels)).encode()).hexdigest()
            continue
        found |= {source: label for source, label in part if isinstance(source, Path) and source.exists()}
    return record_files(found, root)
