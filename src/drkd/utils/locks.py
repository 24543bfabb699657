"""Locks that name their process, and that end with it however it ends."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock; the message names it."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which is there only meanwhile.

    The system releases the lock of a process that dies; a file that it leaves is no obstacle. Where the system has no
    such locks (Windows) the file only names the process.

    Raises:
        LockedError: if another process holds it.
        OSError: if the file cannot be written.
    """
    descriptor = _acquire(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        if sys.platform == "win32":
            os.close(descriptor)
        path.unlink(missing_ok=True)  # while it is held, so that no other holder's file goes
        if sys.platform != "win32":
            os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if sys.platform == "win32":
            return descriptor
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError as reason:
            holder = os.pread(descriptor, 1000, 0).decode("utf-8", "replace")
            os.close(descriptor)
            raise LockedError(holder or "another process") from reason
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its holder has just removed the file: make it anew
