"""The progress of `drkd tune`, and what it found."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from drkd.cli.progress import describe_estimate
from drkd.config import CompareConfig, TuneConfig
from drkd.runs.events import EpochDone, Estimated
from drkd.studies.results import BASELINE
from drkd.studies.tuning import TrialDone, TuneResults
from drkd.utils.files import write_text

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

    def on_trial(self, event: Estimated | EpochDone | TrialDone) -> None:
        """Show an epoch of a trial, or its end."""
        if isinstance(event, Estimated):
            for line in describe_estimate(event):
                self.console.print(line, highlight=False, soft_wrap=True)
            return
        if isinstance(event, EpochDone):
            self.live.update(self.task, description=f"{event.run}, epoch {int(event.row['epoch']) + 1}")
            return
        accuracy = event.val_accuracy
        outcome = "ended early" if accuracy is None else f"validation accuracy {100 * accuracy:.2f}%"
        self.console.print(f"  {event.variant}: {outcome}", highlight=False, soft_wrap=True)
        if event.variant.partition(":")[0] != BASELINE:
            self.live.advance(self.task)


def print_trials(results: TuneResults, console: Console) -> None:
    """Print the best trials beside cross-entropy."""
    table = Table("Trial", "Validation accuracy %", "points over cross-entropy", box=None)
    base = results.baseline_val_accuracy
    table.add_row(f"{BASELINE}:lr={results.baseline_lr:.3g}", f"{100 * base:.2f}", "")
    finished = [(trial.val_accuracy, trial.variant) for trial in results.trials if trial.val_accuracy is not None]
    for accuracy, variant in sorted(finished, key=lambda pair: -pair[0])[:SHOWN]:
        table.add_row(variant, f"{100 * accuracy:.2f}", f"{100 * (accuracy - base):+.2f}")
    console.print(table)
    cut = len(results.trials) - len(finished)
    console.print(
        f"{len(results.trials)} trials, {cut} of them ended early; cross-entropy at {len(results.baselines)} learning "
        "rates. One seed, and the best of many on one validation split: part of its lead is luck.",
        highlight=False,
        soft_wrap=True,
    )


def advice(results: TuneResults, config: TuneConfig, source: Mapping[str, str], out: Path) -> str:
    """What to do with what was found, ending with a command that compares the best trial with cross-entropy."""
    command = compare_command(results, config, source, out)
    if results.improves:
        return f"To test it: {command}"
    lead = 100 * (results.best_val_accuracy - results.baseline_val_accuracy)
    return (
        f"No trial is above cross-entropy: the best one differs by {lead:+.2f} points. Nothing here recommends it; "
        f"train with --method {BASELINE} --lr {results.baseline_lr:g}. To compare them all the same: {command}"
    )


def compare_command(results: TuneResults, config: TuneConfig, source: Mapping[str, str], out: Path) -> str:
    """The command that compares the best trial with cross-entropy, each at its own learning rate, over five seeds.

    It has all options that were given. What a command line cannot say, a null of a file, is written to
    `OUT/compare.yaml`, which the command then reads.
    """
    own = {"methods", "lr", "label_noise", "out", "resume"}
    given = {
        name: getattr(config, name)
        for name in CompareConfig.model_fields
        if name not in own and source.get(name) in ("command line", "file")
    }
    words = ["drkd", "compare"]
    if nulls := {name: None for name, value in given.items() if value is None}:
        write_text(out / "compare.yaml", yaml.safe_dump(nulls))
        words += ["--config", str(out / "compare.yaml")]
    options = {
        "data": config.data,
        "methods": results.best,
        "lr": results.baseline_lr,
        "label_noise": config.label_noise,
        "seeds": 5,
        **{name: value for name, value in given.items() if value is not None},
    }
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag] if value else []
        else:
            words += [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join(words)
