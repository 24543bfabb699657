"""Standard output and standard error that cannot end a training: a closed pipe or a full disk only silences them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Guarded:
    """A stream whose errors are kept in `failure` rather than raised; after the first one nothing more is written.

    Args:
        stream: what is written to, `sys.stdout` for instance; None where there is none.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        self.was_used = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def write(self, text: str) -> int:
        """Write `text`, if nothing has failed so far."""
        self.was_used = True
        if self.failure is None and self._stream is not None:
            try:
                self._stream.write(text)
            except OSError as reason:
                self._fail(reason)
        return len(text)

    def flush(self) -> None:
        """Write what is waiting."""
        if self.failure is None and self._stream is not None:
            try:
                self._stream.flush()
            except OSError as reason:
                self._fail(reason)

    def _fail(self, reason: OSError) -> None:
        """Point the stream at nothing: what it still holds is written when the interpreter ends."""
        self.failure = reason
        with contextlib.suppress(OSError, ValueError):  # a stream in memory has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def guarded_streams() -> Iterator[Guarded]:
    """Guard `sys.stdout` and `sys.stderr`; gives the first."""
    streams = sys.stdout, sys.stderr
    output, errors = Guarded(sys.stdout), Guarded(sys.stderr)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = streams
