"""The progress of `drkd tune`, and what it found."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from drkd.runs.events import EpochDone
from drkd.studies.results import BASELINE
from drkd.studies.tuning import TrialDone, TuneResults

SHOWN = 5


class Trials:
    """A line for each finished trial, and on a terminal the one that runs.

    Args:
        console: where it is printed.
        count: how many trials are to come; those of an earlier session do not count.
    """

    def __init__(self, console: Console, count: int) -> None:
        name = TextColumn("{task.description}", markup=False)
        columns = (
            name,
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
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

    def on_trial(self, event: EpochDone | TrialDone) -> None:
        """Show an epoch of a trial, or its end."""
        if isinstance(event, EpochDone):
            self.live.update(self.task, description=f"{event.run}, epoch {int(event.row['epoch']) + 1}")
            return
        accuracy = event.val_accuracy
        outcome = "ended early" if accuracy is None else f"validation accuracy {100 * accuracy:.2f}%"
        self.console.print(f"  {event.variant}: {outcome}", highlight=False, soft_wrap=True)
        if event.variant != BASELINE:
            self.live.advance(self.task)


def print_trials(results: TuneResults, console: Console) -> None:
    """Print the best trials beside cross-entropy."""
    table = Table("Trial", "Validation accuracy %", "points over cross-entropy", box=None)
    base = results.baseline_val_accuracy
    table.add_row(BASELINE, f"{100 * base:.2f}", "")
    finished = [(trial.val_accuracy, trial.variant) for trial in results.trials if trial.val_accuracy is not None]
    for accuracy, variant in sorted(finished, key=lambda pair: -pair[0])[:SHOWN]:
        table.add_row(variant, f"{100 * accuracy:.2f}", f"{100 * (accuracy - base):+.2f}")
    console.print(table)
    cut = len(results.trials) - len(finished)
    console.print(
        f"{len(results.trials)} trials, {cut} of them ended early. One seed, and the best of many on one validation "
        "split: part of its lead is luck.",
        highlight=False,
    )
