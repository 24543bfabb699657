"""Locks that name their process, and that end with it however it ends."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BEYOND = 2**30
"""The byte of the file that is locked on Windows: far behind the holder's name. Untested there."""


class LockedError(Exception):
    """Another process holds the lock; the message names it."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which is there only meanwhile.

    The system releases the lock of a process that dies; a file that it leaves is no obstacle.

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
        if sys.platform == "win32":  # which removes no open file; whoever takes it in between keeps it
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
        else:
            path.unlink(missing_ok=True)  # while it is held, so that no other holder's file goes
            os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if sys.platform == "win32":
            import msvcrt

            try:
                os.lseek(descriptor, BEYOND, os.SEEK_SET)  # what is locked there, nobody else can read
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                os.lseek(descriptor, 0, os.SEEK_SET)
                return descriptor
            except OSError as reason:
                os.lseek(descriptor, 0, os.SEEK_SET)
                holder = os.read(descriptor, 1000).decode("utf-8", "replace")
                os.close(descriptor)
                raise LockedError(holder or "another process") from reason
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
