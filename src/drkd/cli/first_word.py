"""The first word of a command that works for longer: without it nobody knows whether it began."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from drkd.utils.text import printable

SECONDS = 1.5
"""Of silence. Loading torch from a cold disk takes longer, and may keep a thread from speaking for some seconds."""


@contextmanager
def first_word(arguments: Sequence[str], *streams: Any) -> Iterator[None]:
    """While this lasts: where nothing was written to `streams` for a while, say on standard error what is done."""

    def speak() -> None:
        if not any(stream.was_used for stream in streams):
            doing = [*([] if "torch" in sys.modules else ["loading libraries"]), *_read(arguments)] or ["starting"]
            print(f"drkd: {arguments[0]}: {', then '.join(doing)} ...", file=sys.stderr, flush=True)

    if "--quiet" in arguments or "_DRKD_COMPLETE" in os.environ:
        yield
        return
    timer = threading.Timer(SECONDS, speak)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read(arguments: Sequence[str]) -> list[str]:
    """What the command reads first, if that is among its arguments: the data, or the run or folder named first."""
    words = [
        word for argument in arguments for word in (argument.split("=", 1) if "--data=" in argument else [argument])
    ]
    named = words[words.index("--data") + 1 :] if "--data" in words else words[1:]
    return [f"reading {printable(named[0])}"] if named and not named[0].startswith("-") else []
