"""What several commands print."""

import functools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from rich.console import Console

from drkd.tasks import TASKS, task_of
from drkd.utils.text import printable_lines

if TYPE_CHECKING:
    from drkd.cli.progress import ProgressLine
    from drkd.runs.events import Event
    from drkd.runs.summary import RunSummary


class PlainConsole(Console):
    """Prints text as it is: names of other people are neither markup nor commands to the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable_lines(each) if isinstance(each, str) else each for each in objects), **options)


def console() -> Console:
    """As wide as the terminal; wide enough for the tables where there is none."""
    found = PlainConsole()
    return found if found.is_terminal else PlainConsole(width=240)


def say(text: object) -> None:
    """A plain line, at once, in which names of other people cannot steer the terminal."""
    print(printable_lines(text), flush=True)


def opened_with(lines: Collection[str], on_event: "Callable[[Any], None]") -> "Callable[[Any], None]":
    """`on_event`, which says these lines before its first event: by then bad options and data have been refused.

    Progress does not count, because reading reports it too.
    """
    from drkd.runs.events import Progressed

    waiting = list(lines)

    def tell(event: "Event") -> None:
        if waiting and not isinstance(event, Progressed):
            say("\n".join(waiting))
            waiting.clear()
        on_event(event)

    return tell


@functools.cache
def _line() -> "ProgressLine":
    from drkd.cli.progress import ProgressLine

    return ProgressLine("stdout")


def print_epoch(event: "Event", noted: set[str] | None = None) -> None:
    """A line for each epoch of a training, and before them what there is to say of its start, unless it is `noted`."""
    from drkd.cli.progress import describe_estimate
    from drkd.runs.events import EpochDone, Estimated, Progressed, StartNoted

    if isinstance(event, Progressed):
        _line().show(event.progress, event.run)
        return
    _line().clear()
    if isinstance(event, Estimated):
        for line in describe_estimate(event):
            say(line)
    if isinstance(event, StartNoted):
        noted = set() if noted is None else noted
        for note in event.notes:
            if note not in noted:
                say(f"note: {note}")
            noted.add(note)
    if not isinstance(event, EpochDone):
        return
    row = event.row
    measured = {
        f"{column}_{task.primary}": f"{split} {task.label}"
        for column, split in (("train", "training"), ("val", "validation"))
        for task in TASKS.values()
    }
    parts = [
        f"{name} {value:.4f}"
        for name, value in row.items()
        if name not in ("epoch", "lr", *measured) and not name.startswith("val_")
    ]
    parts += [f"{name} {100 * row[column]:.2f}%" for column, name in measured.items() if column in row]
    say(f"{event.run} epoch {row['epoch']:.0f}: {', '.join(parts)}")


def print_summary(summary: "RunSummary", noted: Collection[str] = ()) -> None:
    """What a training came to, with the notes that are not `noted` yet."""
    task = task_of(summary.test)
    say(f"{summary.method}, seed {summary.seed}: test {task.describe_metrics(summary.test)}")
    if summary.val is None and "temperature" in vars(summary.test):
        say("probabilities are not calibrated, because there is no validation split")
    chosen = "chosen on validation" if summary.select == "best" else "the last one"
    say(f"the network is from epoch {summary.best_epoch} (of 0 to {summary.epochs - 1}), {chosen}")
    if summary.teacher is not None:
        metric = task.metric(task.teacher_metric)
        value = getattr(summary, f"teacher_train_{metric.name}")
        say(f"teacher's {metric.label} on the training data: {100 * value:.2f}%")
    if summary.rectified_fraction_per_epoch:
        first, last = (100 * summary.rectified_fraction_per_epoch[end] for end in (0, -1))
        say(f"rectified targets: {first:.1f}% in the first epoch, {last:.1f}% in the last")
    for note in summary.notes:
        if note not in noted:
            say(f"note: {note}")
    say("One seed is not a comparison: `drkd compare` runs several, in pairs.")
