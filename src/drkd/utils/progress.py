"""How far long work is: loops report it once a second at most, to whoever listens."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

SECONDS = 1.0
"""A report at most so often; shorter work is never reported."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """How far one piece of work is.

    Attributes:
        what: the work, such as `epoch 3` or `evaluation`.
        done, total: how many of how many.
        unit: what is counted, in the plural.
        loss: its mean so far, of training.

    Example:
        >>> print(Progress("epoch 3", 40, 2000, "steps", loss=0.25))
        epoch 3: 40 of 2,000 steps, loss 0.2500
    """

    what: str
    done: int
    total: int
    unit: str = "batches"
    loss: float | None = None

    def __str__(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        return f"{self.what}: {self.done:,} of {self.total:,} {self.unit}{loss}"


Listener = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """While this lasts, `listener` gets every report of this thread; None silences them.

    Example:
        >>> with listening(print):
        ...     meter = Meter("epoch 0", 3, "steps")
        ...     meter.report(2)
        epoch 0: 2 of 3 steps
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Meter:
    """Reports of one piece of work; a loop asks `due` with a clock that it has read anyway.

    Args:
        what, total, unit: see `Progress`.
    """

    def __init__(self, what: str, total: int, unit: str = "batches") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.listener = _listener.get()
        self.was_due = False
        self.due = math.inf if self.listener is None else time.perf_counter() + SECONDS
        """The time of `time.perf_counter` from which on a report is due."""

    def report(self, done: int, loss: float | None = None) -> None:
        """Report now."""
        self.due, self.was_due = time.perf_counter() + SECONDS, True
        if self.listener is not None:
            self.listener(Progress(self.what, done, self.total, self.unit, loss))


def tracked(items: Iterable[Item], what: str, total: int, unit: str = "batches") -> Iterator[Item]:
    """The same items; how many are done is reported when due.

    Example:
        >>> list(tracked("ab", "evaluation", 2))
        ['a', 'b']
    """
    meter = Meter(what, total, unit)
    for done, item in enumerate(items, 1):
        yield item
        if time.perf_counter() >= meter.due:
            meter.report(done)
    if meter.was_due:
        meter.report(total)
