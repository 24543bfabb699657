"""What several commands print."""

from typing import TYPE_CHECKING

from rich.console import Console

from drkd.tasks import TASKS, task_of

if TYPE_CHECKING:
    from drkd.runs.events import Event
    from drkd.runs.summary import RunSummary


def console() -> Console:
    """As wide as the terminal; wide enough for the tables where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=160)


def print_epoch(event: "Event") -> None:
    """A line for each epoch of a training."""
    from drkd.runs.events import EpochDone

    if not isinstance(event, EpochDone):
        return
    row = event.row
    parts = ", ".join(
        f"{name} {value:.4f}"
        for name, value in row.items()
        if name not in ("epoch", "lr") and not name.startswith("val_")
    )
    validation = "".join(
        f", validation {task.label} {100 * row[column]:.2f}%"
        for task in TASKS.values()
        if (column := f"val_{task.primary}") in row
    )
    print(f"{event.run} epoch {row['epoch']:.0f}: {parts}{validation}", flush=True)


def print_summary(summary: "RunSummary") -> None:
    """What a training came to."""
    task = task_of(summary.test)
    print(f"{summary.method}, seed {summary.seed}: test {task.describe_metrics(summary.test)}")
    chosen = "chosen on validation" if summary.select == "best" else "the last one"
    print(f"epoch {summary.best_epoch} (counted from 0) of {summary.epochs}, {chosen}")
    if summary.teacher is not None:
        metric = task.metric(task.teacher_metric)
        value = getattr(summary, f"teacher_train_{metric.name}")
        print(f"teacher's {metric.label} on the training data: {100 * value:.2f}%")
    if summary.rectified_fraction_per_epoch:
        first, last = (100 * summary.rectified_fraction_per_epoch[end] for end in (0, -1))
        print(f"rectified targets: {first:.1f}% in the first epoch, {last:.1f}% in the last")
    for note in summary.notes:
        print(f"note: {note}")
    print("One seed is no comparison: `drkd compare` runs several, paired.")
