"""How far a run is: a live display on a terminal, plain lines in a log."""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from drkd.studies.jobs import Failed
from drkd.tasks.task import task_of_metrics

SECONDS_BETWEEN_LINES = 5.0


class Display:
    """Follows named trainings, each of a number of epochs.

    Args:
        console: where to.
        epochs: how many epochs each training has, by name.
    """

    def __init__(self, console: Console, epochs: dict[str, int]) -> None:
        self.console = console
        self.epochs = epochs
        self.finished: dict[str, str] = {}
        self.reached: dict[str, int] = {}
        self.last_line = time.monotonic()
        self.first: float | None = None  # when news came: what was before is starting up
        self.before = 0  # epochs that were done by then, or in an earlier sitting
        self.live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.whole = self.live.add_task("", total=sum(epochs.values()))

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def on_event(self, name: str, said: Any) -> None:
        """Take in a training's new row, its summary or its failure."""
        if name not in self.reached and not isinstance(said, Failed):  # its first news
            self.before += self.epochs[name] if "test" in said else int(said["epoch"])
        if isinstance(said, Failed):
            self._finish(name, f"failed: {said.reason}")
        elif "test" in said:
            task = task_of_metrics(said["test"])
            self._finish(name, f"{task.called} {100 * said['test'][task.first]:.2f}%")
        else:
            self.reached[name] = int(said["epoch"]) + 1
        done = sum(self.epochs[name] if name in self.finished else self.reached.get(name, 0) for name in self.epochs)
        if self.first is None:
            self.first, self.before = time.monotonic(), done
        if self.console.is_terminal:
            running = [other for other in self.reached if other not in self.finished]
            self.live.update(self.whole, completed=done, description="; ".join(running[-2:]) or name)
        else:
            self._line(name, done)

    def _finish(self, name: str, how: str) -> None:
        self.finished[name] = how

    def _line(self, name: str, done: int) -> None:
        """A plain line, not too often; the last training always gets one."""
        now = time.monotonic()
        total = sum(self.epochs.values())
        if now - self.last_line < SECONDS_BETWEEN_LINES and len(self.finished) < len(self.epochs):
            return
        self.last_line = now
        measured, to_do = done - self.before, total - done
        known = self.first is not None and measured > total / 50
        left = _clock((now - (self.first or now)) * to_do / measured) if known else "unknown time" if to_do else "0:00"
        state = self.finished.get(name, f"epoch {self.reached.get(name, 0)} of {self.epochs[name]}")
        self.console.print(
            f"{len(self.finished)}/{len(self.epochs)} trainings, about {left} left; {name}: {state}",
            highlight=False,
            soft_wrap=True,
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
