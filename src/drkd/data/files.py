"""Which files and folders count: one rule for everything that looks into a folder of data."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from drkd.data.own_output import without_own_output
from drkd.data.problems import OnProblem, Problem, problem_at, shown

IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"),
}
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}

OF_SYSTEMS = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"}
"""What operating systems leave behind without a dot in front."""


def is_hidden(path: Path | str) -> bool:
    """Whether a file or folder is no data: its name begins with a dot, or an operating system left it behind.

    Example:
        >>> [name for name in ("._1.png", ".thumbs", "__MACOSX", "Thumbs.db", "cat") if is_hidden(name)]
        ['._1.png', '.thumbs', '__MACOSX', 'Thumbs.db']
    """
    name = Path(path).name
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def visible(folder: Path) -> list[Path]:
    """What is right in a folder, in order, without what is hidden."""
    return in_order(path for path in folder.iterdir() if not is_hidden(path))


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths by the code points of their parts: the same on every system (paths themselves ignore case on Windows).

    Example:
        >>> from pathlib import PureWindowsPath
        >>> [path.name for path in in_order([PureWindowsPath("a/b"), PureWindowsPath("a/C")])]
        ['C', 'b']
    """
    return sorted(paths, key=lambda path: path.parts)


def is_image(path: Path) -> bool:
    """Whether a name is that of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def files_below(folder: Path, on_problem: OnProblem) -> list[Path]:
    """The files below `folder`, in order, without what is hidden.

    Links to folders are followed, with a note. One that leads to a folder read before, or to one above, is left out,
    with a warning.
    """
    whole = Path(os.path.realpath(folder))
    read: dict[Path, Path] = {}
    files: list[Path] = []

    def closed(reason: OSError) -> None:
        on_problem(cannot_be_read(folder, reason))

    for name, folders, names in os.walk(folder, onerror=closed, followlinks=True):
        location, real = Path(name), Path(os.path.realpath(name))
        if real in read or real in whole.parents:
            folders.clear()
            where = "a folder above it" if real not in read else f"what is read as {shown(read[real])}"
            on_problem(problem_at(location, f"is a link to {where}; it is left out", "linked folder", "warning"))
            continue
        read[real] = location
        if location != folder and location.is_symlink():
            on_problem(problem_at(location, "is a link to a folder: its images are read", "linked folder", "note"))
        inside = in_order(location / name for name in folders if not is_hidden(name))
        folders[:] = [path.name for path in without_own_output(inside, on_problem)]
        files += [location / name for name in names if not is_hidden(name)]
    return in_order(files)


def splits_in(name: str) -> set[str]:
    """The splits that the words of a name stand for.

    Example:
        >>> sorted(splits_in("instances_val2017")), splits_in("SegTrain"), splits_in("trains")
        (['val'], {'train'}, set())
    """
    words = {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)}
    return {split for split, names in SPLIT_FOLDERS.items() if words & {*names}}


def read_bytes(path: Path) -> bytes:
    """The content of a file; a pipe or a device, which could be read for ever, is refused.

    Raises:
        OSError: if it is missing, no ordinary file, or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise OSError(None, "it is not a regular file")
    return path.read_bytes()


def cannot_be_read(location: Path, reason: OSError) -> Problem:
    """A problem with permissions or the medium."""
    where = Path(reason.filename or location)
    return problem_at(where, f"cannot be listed or read: {reason.strerror}; change its permissions", "no permission")


def inside(root: Path, path: Path) -> bool:
    """Whether a path that a file of labels names stays below `root`. By its name: links may lead elsewhere."""
    whole = os.path.normpath(root.absolute())
    try:
        return os.path.commonpath([whole, os.path.normpath(path.absolute())]) == whole
    except ValueError:  # on another drive of Windows
        return False


def folders_beside(path: Path) -> list[str]:
    """The folders that may be meant by a path that does not exist, written as the path is."""
    try:
        return sorted(str(each) for each in path.parent.iterdir() if each.is_dir())
    except OSError:
        return []
