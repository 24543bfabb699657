"""How far work is within an epoch or another pass: one line that changes on a terminal, now and then one in a log."""

import sys
import time
from typing import TYPE_CHECKING, TextIO

from drkd.utils.progress import Progress
from drkd.utils.text import printable

if TYPE_CHECKING:
    from drkd.runs.events import Estimated

SECONDS_BETWEEN_LINES = 15.0
"""In a log."""

CLEAR = "\r\x1b[K"


class ProgressLine:
    """Shows progress on a stream, the one that is standard output or error at that time.

    Args:
        name: `stdout` or `stderr`.
        prefix: how each line begins.
    """

    def __init__(self, name: str, prefix: str = "") -> None:
        self.name, self.prefix = name, prefix
        self.is_shown = False
        self.last_line = time.monotonic()

    @property
    def stream(self) -> TextIO:
        """Where it is shown."""
        stream: TextIO = getattr(sys, self.name)
        return stream

    def show(self, progress: Progress, run: str = "") -> None:
        """Show how far the work of `run` is."""
        text = printable(f"{self.prefix}{run}{' ' if run else ''}{progress}")
        if progress.done >= progress.total:
            self.clear()
        elif self.stream.isatty():
            self.stream.write(f"{CLEAR}{text}")
            self.is_shown = True
        elif time.monotonic() - self.last_line < SECONDS_BETWEEN_LINES:
            return
        else:
            self.stream.write(f"{text}\n")
        self.stream.flush()
        self.last_line = time.monotonic()

    def clear(self) -> None:
        """Make room for another line; the next one of a log is due later."""
        if self.is_shown:
            self.stream.write(CLEAR)
            self.is_shown = False
        self.last_line = time.monotonic()


def describe_estimate(event: "Estimated") -> list[str]:
    """How long it will take, and what would take less."""
    lines = [str(event.estimate)]
    if event.estimate.cheaper:
        lines.append("note: this takes more than an hour; these take less:")
        lines += [f"  {way}" for way in event.estimate.cheaper]
    return lines
