"""Folders that this process makes, and takes away again where nothing came of them."""

import contextlib
import errno
import os
from pathlib import Path

_made: list[Path] = []
"""What this process has made, parents before what is inside them."""


def make_folder(path: Path, *, exclusive: bool = False) -> None:
    """Make `path` and the folders above it that are missing.

    Args:
        path: the folder.
        exclusive: raise FileExistsError if it exists, so that of two processes only one makes it.

    Raises:
        NotADirectoryError: if a file is where a folder above it should be.
        FileExistsError: if a file is in its own place.
    """
    for parent in reversed(path.parents):
        try:
            _make(parent)
        except FileExistsError as reason:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent)) from reason
    if exclusive:
        path.mkdir()
        _made.append(path.absolute())
    else:
        _make(path)


def remove_empty_folders() -> None:
    """Remove the folders that this process has made and that are empty; nothing that others have written goes."""
    for path in reversed(_made):
        with contextlib.suppress(OSError):  # it holds something, or is gone already
            path.rmdir()
    _made[:] = [path for path in _made if path.is_dir()]


def _make(path: Path) -> None:
    try:
        path.mkdir()
    except OSError:  # of a drive that is there, Windows says "access is denied"; of "/", macOS says "is a directory"
        if not path.is_dir():
            raise
    else:
        _made.append(path.absolute())
