"""From the summaries of a comparison's trainings to its results."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import TypeVar

from drkd.config import CompareConfig
from drkd.methods.registry import MethodInfo, get_method, parse_variant
from drkd.runs.results import ComparisonResults, Difference, MethodResults, Panel, PerSeed
from drkd.runs.summary import RunSummary
from drkd.studies.statistics import holm, paired
from drkd.tasks import Task, get_task
from drkd.utils.machine import environment

BASELINE = "cross_entropy"

CONTROL = "cross_entropy_2x"
"""Cross-entropy for twice the epochs: the fair control for methods that cost twice as much."""

Item = TypeVar("Item")
Value = TypeVar("Value")

Summaries = Sequence[RunSummary | None]
"""The summary of each seed's training, None where it failed."""


def collect(config: CompareConfig, summaries: Mapping[str, Mapping[str, Summaries]]) -> ComparisonResults:
    """The results of a comparison.

    Args:
        config: of the comparison.
        summaries: by panel and method, of each seed.
    """
    panels: list[Panel] = []
    comparisons: list[Difference] = []
    task = get_task(config.task)
    for noise, (name, of_methods) in zip(config.label_noise, summaries.items(), strict=True):
        base_seconds = _each(of_methods[BASELINE], lambda summary: summary.train_seconds)
        methods = {
            method: _of_method(of_seeds, task, base_seconds if _info(method).teacher == "self" else None)
            for method, of_seeds in of_methods.items()
        }
        panels.append(
            Panel(
                name=name,
                task=config.task,
                data=config.data,
                model=config.model,
                epochs=config.epochs,
                label_noise=noise,
                limit_train=config.limit_train,
                chosen_on_validation=config.validation > 0 and config.select == "best",
                costs_double=[method for method in methods if _info(method).costs_double],
                seeds=list(range(config.seeds)),
                methods=methods,
            )
        )
        comparisons += compare_with_baseline(panels[-1])
    return ComparisonResults(panels, comparisons, environment())


def as_csv(results: ComparisonResults) -> str:
    """A row per panel, method and seed."""
    text = io.StringIO()
    metrics = get_task(results.panels[0].task).metric_names
    writer = csv.writer(text, lineterminator="\n")
    others = ("rectified_fraction", "teacher_train_accuracy", "train_seconds", "teacher_seconds")
    writer.writerow(["panel", "method", "seed", *metrics, *others])
    for panel in results.panels:
        for name, method in panel.methods.items():
            teacher = method.teacher_train["accuracy"]
            lists = [method.rectified_fraction, teacher, method.train_seconds, method.teacher_seconds]
            columns = [*(method.test[metric] for metric in metrics), *lists]
            for number, seed in enumerate(panel.seeds):
                writer.writerow([panel.name, name, seed, *(column[number] for column in columns)])
    return text.getvalue()


def compare_with_baseline(panel: Panel) -> list[Difference]:
    """Every method against the baseline on every metric; Holm's correction over the methods of a metric."""
    rows: list[Difference] = []
    for metric in get_task(panel.task).metric_names:
        base = panel.methods[BASELINE].test[metric]
        tests = {name: paired(method.test[metric], base) for name, method in panel.methods.items() if name != BASELINE}
        known = {name: test for name, test in tests.items() if test is not None}
        corrected = holm([test.p_value for test in known.values()])
        for (name, test), p_holm in zip(known.items(), corrected, strict=True):
            rows.append(Difference(panel.name, name, BASELINE, metric, **asdict(test), p_holm=p_holm))
    return sorted(rows, key=lambda row: list(panel.methods).index(row.method))


def _info(name: str) -> MethodInfo:
    """The method of a column, whose name may have settings; the control is cross-entropy."""
    return get_method(parse_variant(BASELINE if name == CONTROL else name)[0])


def _each(items: Sequence[Item | None], get: Callable[[Item], Value | None]) -> list[Value | None]:
    return [None if item is None else get(item) for item in items]


def _of_method(summaries: Summaries, task: Task, teacher_seconds: PerSeed | None) -> MethodResults:
    """One list per measured thing."""
    tested, validated = _each(summaries, lambda s: s.test), _each(summaries, lambda s: s.val)
    teacher: dict[str, PerSeed] = {"accuracy": _each(summaries, lambda s: s.teacher_train_accuracy)}
    if task.teacher_metric == "map50":
        teacher["map50"] = _each(summaries, lambda s: s.teacher_train_map50)
    return MethodResults(
        test={name: _each(tested, attrgetter(name)) for name in task.metric_names},
        val={name: _each(validated, attrgetter(name)) for name in task.validation_metrics},
        details={name: _each(tested, attrgetter(name)) for name in task.details},
        train_accuracy=_each(summaries, lambda s: s.train_accuracy),
        rectified_fraction=_each(summaries, _mean_rectified),
        rectified_fraction_per_epoch=_each(summaries, lambda s: s.rectified_fraction_per_epoch),
        teacher_train=teacher,
        train_seconds=_each(summaries, lambda s: s.train_seconds),
        teacher_seconds=teacher_seconds or _each(summaries, lambda s: s.teacher_seconds),
        skipped_images=_each(summaries, lambda s: s.skipped_images),
        notes=_each(summaries, lambda s: s.notes),
    )


def _mean_rectified(summary: RunSummary) -> float | None:
    fractions = summary.rectified_fraction_per_epoch
    return sum(fractions) / len(fractions) if fractions else None
