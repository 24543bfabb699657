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
from drkd.config import METHOD_SETTINGS, CompareConfig, TuneConfig
from drkd.config.effects import OF_LABELS
from drkd.runs.events import EpochDone, Estimated
from drkd.studies.found import Measured, NetworkResults, TuneResults
from drkd.studies.proposals import count_trials
from drkd.studies.results import BASELINE
from drkd.studies.searching import NetworksMeasured, TrialDone, TuneEvent
from drkd.studies.stages import RATES, stages_of
from drkd.studies.tuning import Tuned, chosen_config
from drkd.tasks import get_task
from drkd.utils.files import write_text
from drkd.utils.text import counted

SHOWN = 5

WORDS = {
    "lr": "the learning rate",
    "average": "averaged weights",
    "augment": "augmentation",
    "method": "the method and its settings",
}
"""What a stage searches."""


def describe_search(config: TuneConfig, source: Mapping[str, str], out: Path) -> str:
    """What will be done, for its start."""
    stages = stages_of(config, source)
    rates = len(RATES) if "lr" in stages else 1
    of = "" if config.networks is None else f" of each of up to {len(config.networks)} networks"
    asked_once = config.freeze == "backbone" and config.task in OF_LABELS
    empty = ["lr", "augment"] if asked_once else ["lr"]  # its features are asked for once
    rest = [WORDS[stage] for stage in stages if stage not in empty]
    trials = f", then up to {config.trials} trial{'s' * (config.trials > 1)}: {', then '.join(rest)}" if rest else ""
    limit = "" if config.hours is None else f"; none starts after {config.hours:g} h"
    return (
        f"Cross-entropy at {rates} learning rate{'s' * (rates > 1)}{of}{trials}; {config.epochs} epochs each{limit}. "
        f"Output goes to {out}."
    )


class Trials:
    """A line for each finished trial, and on a terminal the one that runs.

    Args:
        console: where it is printed.
        count: how many trials are to come; those of an earlier session do not count.
        label: of the metric that the task goes by.
    """

    def __init__(self, console: Console, count: int, label: str = "accuracy") -> None:
        name = TextColumn("{task.description}", markup=False)
        columns = (
            name,
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.live = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.live.add_task("", total=count)
        self.console, self.label = console, label

    def __enter__(self) -> "Trials":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def on_trial(self, event: TuneEvent) -> None:
        """Show an epoch of a trial, its end, how long all will take, or which networks are searched."""
        match event:
            case Estimated():
                for line in describe_estimate(event):
                    self._print(line)
            case EpochDone(run=name, row=row):
                self.live.update(self.task, description=f"{name}, epoch {int(row['epoch']) + 1}")
            case TrialDone(variant=name, val_score=score, stage=stage, failed=failed):
                outcome = "ended early" if failed is None else f"failed: {failed}"
                if score is not None:
                    outcome = f"validation {self.label} {100 * score:.2f}%"
                self._print(f"  {name}: {outcome}")
                if stage != "lr":
                    self.live.advance(self.task)
            case NetworksMeasured(fit=fit, left_out=left_out):
                for each in (*fit, *left_out):
                    budget = "over budget, skipped" if each in left_out else "searched"
                    self._print(f"  {_cost(each)}: {budget}")

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)


def _cost(file: Measured) -> str:
    return f"{file.network}, exported: {file.ms:.3g} ms an image, {file.mb:.2f} MB"


def print_networks(results: NetworkResults, console: Console) -> None:
    """Print a row per network, the Pareto front, and what the chosen one costs as it was trained."""
    table = Table(box=None)
    label = get_task(results.searches[results.chosen].task).label
    for name in ("Network", "ms", "MB", f"Validation {label} %", f"Test {label} %", "Best trial"):
        table.add_column(name, justify="left" if name in ("Network", "Best trial") else "right")
    for file in sorted(results.measured, key=lambda each: each.ms):
        found = results.searches.get(file.network)
        cells = ("over the budget", "", "")
        if found is not None:
            test = "" if found.best_test_score is None else f"{100 * found.best_test_score:.2f}"
            cells = (f"{100 * found.best_val_score:.2f}", test, found.best)
        table.add_row(file.network, f"{file.ms:.3g}", f"{file.mb:.2f}", *cells)
    console.print(table)
    lines = [
        f"ms: median of calls with one image in ONNX Runtime on this machine, threads: {results.threads}. Chosen on "
        f"validation: {results.chosen}. Pareto front, where no other network is as fast and as accurate: "
        f"{', '.join(results.front)}."
    ]
    if results.exported is None:
        lines.append(f"The chosen network was not exported: {results.problem}")
    else:
        fits = "within the budget" if results.exported.fits else "NOT within the budget"
        cost = _cost(results.exported.measured)
        lines.append(f"After training, {cost}, {fits}. File, below the folder of the search: {results.exported.file}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def print_trials(results: TuneResults, console: Console) -> None:
    """Print the best trials beside cross-entropy."""
    label = get_task(results.task).label
    table = Table("Trial", f"Validation {label} %", "points over cross-entropy", box=None)
    base = results.baseline_val_score
    table.add_row(f"{BASELINE}:lr={results.baseline_lr:.3g}", f"{100 * base:.2f}", "")
    finished = [(trial.val_score, trial.name) for trial in results.trials if trial.val_score is not None]
    for score, name in sorted(finished, key=lambda pair: -pair[0])[:SHOWN]:
        table.add_row(name, f"{100 * score:.2f}", f"{100 * (score - base):+.2f}")
    console.print(table)
    rates = len(results.baselines)
    ends = [*results.baselines][:: rates - 1] if rates > 1 else []
    if f"{results.baseline_lr:.3g}" in ends:
        line = "The best learning rate is the lowest or highest tried: continue the search from it with --lr"
        console.print(f"{line} {results.baseline_lr:g}.", highlight=False, soft_wrap=True)
    if results.options:
        chosen = ", ".join(f"{name}={value}" for name, value in results.options.items())
        gain = 100 * (results.recipe_val_score - base)
        console.print(
            f"Trials of methods have {chosen}, with which cross-entropy gains {gain:+.2f} points.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"{count_trials(results.trials)}; cross-entropy at {counted(rates, 'learning rate')}. One seed, "
        "and the best of many on one validation split: part of its lead is luck.",
        highlight=False,
        soft_wrap=True,
    )


def advice(found: Tuned, config: TuneConfig, source: Mapping[str, str]) -> str:
    """What to do with what was found, ending with a command that compares the best trial with cross-entropy."""
    results = found.results
    if results.improves:
        return f"To test it: {study_command(found, config, source)}"
    best = results.best_method
    train = study_command(found, config, source, command="train")
    if best is None or best.val_score is None:
        return f"To train with these settings: {train}"
    lead = 100 * (best.val_score - results.recipe_val_score)
    return (
        f"No method beats cross-entropy: the best one differs by {lead:+.2f} points. "
        f"Train with: {train}\nTo compare them anyway: {study_command(found, config, source)}"
    )


def study_command(found: Tuned, config: TuneConfig, source: Mapping[str, str], *, command: str = "compare") -> str:
    """The command that compares the best method with cross-entropy, each at its own learning rate, over five seeds.

    It has all options that were given, and those that were chosen. What a command line cannot say, a null of a file, is
    written to `OUT/compare.yaml`, which the command then reads.

    Args:
        found: by the search.
        config, source: of the search.
        command: `compare`, or `train` for cross-entropy as it did best.
    """
    results, settled = found.results, chosen_config(config, found)
    of_search = {"methods", "lr", "label_noise", "out", "resume", "model", *results.options}
    if command == "train":
        of_search |= {"jobs", "launcher", "slurm_options", "teacher", "teacher_precision", *METHOD_SETTINGS}
    elif settled.teacher_precision != config.teacher_precision:
        source = {**source, "teacher_precision": "command line"}
    given = {
        name: getattr(settled, name)
        for name in CompareConfig.model_fields
        if name in TuneConfig.model_fields and name not in of_search and source.get(name) in ("command line", "file")
    }
    words = ["drkd", command]
    if nulls := {name: None for name, value in given.items() if value is None}:
        write_text(found.out / "compare.yaml", yaml.safe_dump(nulls))
        words += ["--config", str(found.out / "compare.yaml")]
    best = results.best_method
    own = {"methods": best.variant if best else results.best, "lr": results.baseline_lr, "seeds": 5}
    model = config.model if found.networks is None else found.networks.chosen
    shows_model = found.networks is not None or source.get("model") in ("command line", "file")
    options = {
        "data": config.data,
        **({"model": model} if shows_model else {}),
        **(own if command == "compare" else {"method": BASELINE, "lr": results.baseline_lr}),
        "label_noise": config.label_noise,
        **results.options,
        **{name: value for name, value in given.items() if value is not None},
    }
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag] if value else []
        else:
            words += [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join(words)
