"""The first word of a command that works for longer: without it nobody knows whether it began."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

SECONDS = 1.5
"""Of silence. Loading torch from a cold disk takes longer, and may keep a thread from speaking for some seconds."""


@contextmanager
def first_word(arguments: Sequence[str], *streams: Any) -> Iterator[None]:
    """While this lasts: where nothing was written to `streams` for a while, say on standard error what is done."""

    def speak() -> None:
        if not any(stream.was_used for stream in streams):
            doing = "reading" if "torch" in sys.modules else "loading libraries, then reading"
            print(f"drkd: {' '.join(arguments[:1])}: {doing} ...", file=sys.stderr, flush=True)

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
