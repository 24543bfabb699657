"""How well each class is found, and which class is taken for which."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from drkd.report.labels import label_of
from drkd.runs.results import MethodResults, Panel
from drkd.studies.results import BASELINE, CONTROL
from drkd.studies.statistics import mean_and_deviation
from drkd.tasks import Metric, get_task

Value = TypeVar("Value")

MOST_CLASSES = 20
"""Of more classes the worst come first, and there is a list of pairs in place of a matrix."""

MOST_PAIRS = 12
"""Pairs in such a list."""

COUNTS = ("samples", "images", "boxes", "pixels")
"""What a row of a class calls the number of its cases."""


@dataclass(frozen=True)
class ClassRow:
    """A class: its name, how many cases of it are in the test split, and a fraction per column."""

    name: str
    count: int | None
    values: list[float | None]


@dataclass(frozen=True)
class ClassTable:
    """A row per class.

    Attributes:
        heading: what the fractions are.
        columns: their headings.
        rows: in the order of the classes; of more than `MOST_CLASSES` the worst come first.
    """

    heading: str
    columns: list[str]
    rows: list[ClassRow]


@dataclass(frozen=True)
class Confusion:
    """Which classes a method takes for which, all its seeds together.

    Attributes:
        method: its label.
        classes: all of them, if they are few enough for a matrix.
        percent: a row per class: the percentage of its images that are taken for each class; empty without a matrix.
        pairs: of many classes (class, what it was taken for, how often, of how many).
    """

    method: str
    classes: list[str]
    percent: list[list[float]]
    pairs: list[tuple[str, str, int, int]]


def class_table(panel: Panel) -> ClassTable | None:
    """The task's metric of each class, mean over seeds, a column per method; None if unknown."""
    metric = get_task(panel.task).class_metric
    seeds = {label_of(name): _per_class(results) for name, results in panel.methods.items()}
    columns = {
        label: {name: _mean(of_method, name, metric.name) for name in _names(seeds)}
        for label, of_method in seeds.items()
    }
    return _table(f"{metric.heading} by class", columns, seeds)


def columns_by_class(results: MethodResults, metric: Metric) -> ClassTable | None:
    """What is known of each class with one method: a column per figure, `metric` the last; None if nothing is."""
    seeds = {"": _per_class(results)}
    known = {key for seed in seeds[""] for row in seed.values() for key in row if key not in COUNTS}
    keys = [*sorted(known - {metric.name}), metric.name] if known else []
    headings = {
        "f1": "F1 %",
        "map": "mAP %",
        "map50": "mAP50 %",
        "ar": "AR %",
        "iou": "IoU %",
        metric.name: metric.heading,
    }
    columns = {
        headings.get(key, f"{key.capitalize()} %"): {name: _mean(seeds[""], name, key) for name in _names(seeds)}
        for key in keys
    }
    return _table("By class", columns, seeds)


PerClass = Mapping[str, Mapping[str, float]]


def _per_class(results: MethodResults) -> list[PerClass]:
    """Of the seeds that have it."""
    return [seed for seed in results.details.get("per_class", []) if seed]


def _names(seeds: Mapping[str, Sequence[PerClass]]) -> list[str]:
    return list(dict.fromkeys(name for of_method in seeds.values() for seed in of_method for name in seed))


def _mean(seeds: Sequence[PerClass], name: str, key: str) -> float | None:
    values = [seed[name][key] for seed in seeds if name in seed and key in seed[name]]
    return sum(values) / len(values) if values else None


def _table(
    heading: str, columns: Mapping[str, Mapping[str, float | None]], seeds: Mapping[str, Sequence[PerClass]]
) -> ClassTable | None:
    counts = {
        name: int(row[key])
        for of_method in seeds.values()
        for seed in of_method
        for name, row in seed.items()
        for key in COUNTS
        if key in row
    }
    rows = [ClassRow(name, counts.get(name), [column[name] for column in columns.values()]) for name in _names(seeds)]
    if not rows:
        return None
    if len(rows) > MOST_CLASSES:
        rows.sort(key=lambda row: mean_and_deviation(row.values)[0])
        heading += ", lowest first"
    return ClassTable(heading, list(columns), rows)


def confusions(panel: Panel) -> list[Confusion]:
    """Those of cross-entropy, and of the method with the highest mean of the task's first metric."""
    primary = get_task(panel.task).primary
    means = {
        name: mean_and_deviation(results.test[primary])[0]
        for name, results in panel.methods.items()
        if name not in (BASELINE, CONTROL) and None not in results.test[primary]
    }
    shown = [name for name in (BASELINE, max(means, key=means.__getitem__) if means else "") if name in panel.methods]
    found = [confusion_of(label_of(name), panel.methods[name]) for name in shown]
    return [each for each in found if each is not None]


def confusion_of(method: str, results: MethodResults) -> Confusion | None:
    """Which classes are taken for which; None where that is unknown, or no mistake was made."""
    totals: Counter[str] = Counter()
    taken: Counter[tuple[str, str]] = Counter()
    for per_class, confused in zip(*(results.details.get(key, []) for key in ("per_class", "confused")), strict=False):
        if per_class and confused:
            totals.update({name: int(row["samples"]) for name, row in per_class.items()})
            taken.update({(name, other): count for name, of in confused.items() for other, count in of.items()})
    if not taken:
        return None
    classes = list(totals)
    if len(classes) > MOST_CLASSES:
        pairs = [(*pair, count, totals[pair[0]]) for pair, count in taken.most_common(MOST_PAIRS)]
        return Confusion(method, [], [], pairs)
    wrong = {name: sum(count for (label, _), count in taken.items() if label == name) for name in classes}
    percent = [
        [
            100 * (totals[name] - wrong[name] if name == other else taken[name, other]) / max(1, totals[name])
            for other in classes
        ]
        for name in classes
    ]
    return Confusion(method, classes, percent, [])
