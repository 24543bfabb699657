"""The progress of several trainings: a live display on a terminal, plain lines in a log."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from drkd.cli import progress as lines
from drkd.cli.progress import describe_estimate
from drkd.runs.events import EpochDone, Estimated, Event, Progressed, RunDone, RunFailed, StartNoted
from drkd.tasks import task_of
from drkd.utils import progress as reports

SECONDS_BETWEEN_LINES = 5.0


class Display:
    """Follows named trainings, each of a number of epochs.

    Args:
        console: where it is printed.
        epochs: of each training, by name.
    """

    def __init__(self, console: Console, epochs: dict[str, int]) -> None:
        self.console = console
        self.epochs = epochs
        self.finished: dict[str, str] = {}
        self.noted: set[str] = set()  # every training of a comparison says the same of its start
        self.reached: dict[str, int] = {}
        self.within: dict[str, reports.Progress] = {}  # of the trainings within an epoch
        self.last_line = time.monotonic()
        self.first: float | None = None  # the time of the first event: starting up is no measure of speed
        self.before = 0  # epochs that were done by then, or in an earlier session
        self.live = Progress(
            TextColumn("{task.description}", markup=False),
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

    def on_event(self, event: Event) -> None:
        """Show that a training has finished an epoch, is finished or has failed."""
        if isinstance(event, StartNoted):
            for note in event.notes:
                if note not in self.noted:
                    self.noted.add(note)
                    self.console.print(f"note: {note}", highlight=False, soft_wrap=True)
            return
        if isinstance(event, Estimated):
            for line in describe_estimate(event):
                self.console.print(line, highlight=False, soft_wrap=True)
            return
        name = event.run
        if isinstance(event, Progressed):
            self._within(name, event.progress)
            return
        self.within.pop(name, None)
        new = name not in self.reached
        match event:
            case EpochDone(row=row):
                self.before += int(row["epoch"]) if new else 0
                self.reached[name] = int(row["epoch"]) + 1
            case RunDone(summary=summary):
                self.before += self.epochs[name] if new else 0
                task = task_of(summary.test)
                self.finished[name] = f"{task.label} {100 * getattr(summary.test, task.primary):.2f}%"
            case RunFailed(reason=reason):
                self.finished[name] = f"failed: {reason}"
        done = sum(self.epochs[name] if name in self.finished else self.reached.get(name, 0) for name in self.epochs)
        if self.first is None:
            self.first, self.before = time.monotonic(), done
        if self.console.is_terminal:
            running = [other for other in self.reached if other not in self.finished]
            self.live.update(self.whole, completed=done, description="; ".join(running[-2:]) or name)
        else:
            self._line(name, done)

    def _within(self, name: str, progress: reports.Progress) -> None:
        """Show how far an epoch is, or another pass over data."""
        if name in self.finished or progress.done >= progress.total:
            self.within.pop(name, None)
            return
        self.within[name] = progress
        if self.console.is_terminal:
            self.live.update(self.whole, description="; ".join(f"{run} {far}" for run, far in self.within.items()))
        elif time.monotonic() - self.last_line >= lines.SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            self.console.print(f"{name} {progress}", highlight=False, soft_wrap=True)

    def _line(self, name: str, done: int) -> None:
        """A plain line, not too often; the last training always gets one."""
        now = time.monotonic()
        total = sum(self.epochs.values())
        if now - self.last_line < SECONDS_BETWEEN_LINES and len(self.finished) < len(self.epochs):
            return
        self.last_line = now
        measured, to_do = done - self.before, total - done
        known = self.first is not None and measured > total / 50
        left = f"about {_clock((now - (self.first or now)) * to_do / measured)} left" if known else "time left unknown"
        state = self.finished.get(name, f"epoch {self.reached.get(name, 0)} of {self.epochs[name]}")
        self.console.print(
            f"{len(self.finished)} of {len(self.epochs)} trainings{f', {left}' if to_do else ''}; {name}: {state}",
            highlight=False,
            soft_wrap=True,
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
