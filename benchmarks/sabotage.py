"""What goes wrong in the trainings of faults.py: sudden ends at a chosen call, a full disk, damaged files."""

import os
import random
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def at_call(number: int, *, torn: bool = False, counter: Any = None) -> None:
    """Die at the call with this number of those that change the disk; `torn`: with half a file written.

    `counter` is a shared value that counts them; no call has the number 0.
    """
    import drkd.utils.files

    calls = 0

    def dies(function: Callable[..., Any], writes: bool) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if counter is not None:
                counter.value += 1
            if calls == number:
                if torn and writes:
                    function(*arguments, **named)
                    path = next(argument for argument in arguments if isinstance(argument, Path))
                    os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return wrapped

    drkd.utils.files.save_file = dies(drkd.utils.files.save_file, writes=True)
    Path.write_text = dies(Path.write_text, writes=True)  # type: ignore[method-assign]
    os.fsync = dies(os.fsync, writes=False)
    for name in ("replace", "rename", "symlink_to", "unlink", "mkdir"):
        setattr(Path, name, dies(getattr(Path, name), writes=False))
    shutil.rmtree = dies(shutil.rmtree, writes=False)


def no_room(left: int) -> None:
    """No file may grow beyond so many bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def harm(draw: random.Random, file: Path, *, flip: bool) -> None:
    """Flip one bit of a file, or cut it short, somewhere."""
    content = bytearray(file.read_bytes())
    if flip and content:
        bit = draw.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    else:
        del content[draw.randrange(max(1, len(content) - 1)) :]
    file.write_bytes(content)
