"""Signals that wait: the first one lets the current step finish and be saved, a second one leaves at once."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import torch

from drkd.training.step import CHECK_EVERY
from drkd.utils.distributed import add_up, rank, world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM)

patient = False
"""Whether a second signal waits too: in a worker process, whose parent may send what its group has got already."""


class Pending:
    """Which signal came, None before."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.restore: Callable[[], None] = lambda: None

    def agreed(self, device: torch.device, step: int) -> bool:
        """Whether a signal came to this process, or under `torchrun` to any: then all stop after the same `step`.

        Several processes on accelerators ask each other now and then only, because asking stalls them.
        """
        came = self.number is not None
        if world_size() == 1:
            return came
        if device.type != "cpu" and step % CHECK_EVERY:
            return False
        return bool(add_up(torch.tensor([float(came)], device=device)).item())

    def obey(self) -> None:
        """Give the signal its usual effect now; where another process got it, that of SIGTERM."""
        self.restore()
        signal.raise_signal(signal.SIGTERM if self.number is None else self.number)


def say_once_more(number: int, what: str = "the current step or evaluation") -> None:
    """Say at once that a signal came, and that the next one does not wait."""
    again = "a second Ctrl-C stops" if number == signal.SIGINT else "a second signal stops"
    with suppress(RuntimeError, OSError, ValueError):  # where the signal came in the middle of another line
        print(f"\ndrkd: stopping after {what}; {again} at once", file=sys.stderr, flush=True)


@contextmanager
def deferred() -> Iterator[Pending]:
    """While this lasts, SIGINT and SIGTERM are noted; at its end the one that came has its usual effect.

    Outside the main thread nothing changes: Python lets no other thread handle signals.

    Example:
        >>> before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
        >>> try:
        ...     with deferred() as pending:
        ...         signal.raise_signal(signal.SIGINT)
        ...         print("finished, and", pending.agreed(torch.device("cpu"), step=1))
        ... except KeyboardInterrupt:
        ...     print("interrupted")
        finished, and True
        interrupted
    """
    pending = Pending()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if pending.number is not None and not patient:
            pending.obey()
        if pending.number is None and not patient and rank() == 0:
            say_once_more(number)
        pending.number = pending.number or number

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    pending.restore = restore
    for number, handler in usual.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield pending
    finally:
        restore()
    if pending.number is not None:
        pending.obey()
