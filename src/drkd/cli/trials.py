"""How `drkd tune` says what it is at, and what it found."""

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from drkd.studies.results import BASELINE

SHOWN = 5


class Trials:
    """A line for each trial that is over, and on a terminal the one that runs.

    Args:
        console: where to.
        count: how many trials are to come; those of an earlier sitting are counted where they were.
    """

    def __init__(self, console: Console, count: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.live = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.live.add_task("", total=count)
        self.console = console

    def __enter__(self) -> "Trials":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def on_event(self, name: str, said: Any) -> None:
        """Take in a row, the validation accuracy at the end, or None where the trial was ended early."""
        if isinstance(said, dict):
            self.live.update(self.task, description=f"{name}, epoch {int(said['epoch']) + 1}")
            return
        outcome = "ended early" if said is None else f"validation accuracy {100 * said:.2f}%"
        self.console.print(f"  {name}: {outcome}", highlight=False, soft_wrap=True)
        if name != BASELINE:
            self.live.advance(self.task)


def print_found(results: dict[str, Any], console: Console) -> None:
    """The best trials beside cross-entropy."""
    table = Table("Trial", "Validation accuracy %", "points over cross-entropy", box=None)
    base = results["baseline_val_accuracy"]
    table.add_row(BASELINE, f"{100 * base:.2f}", "")
    through = [trial for trial in results["trials"] if trial["val_accuracy"] is not None]
    for trial in sorted(through, key=lambda trial: -trial["val_accuracy"])[:SHOWN]:
        accuracy = trial["val_accuracy"]
        table.add_row(trial["variant"], f"{100 * accuracy:.2f}", f"{100 * (accuracy - base):+.2f}")
    console.print(table)
    cut = len(results["trials"]) - len(through)
    console.print(
        f"{len(results['trials'])} trials, {cut} of them ended early. One seed, and the best of many on one validation "
        "split: part of its lead is luck.",
        highlight=False,
    )
