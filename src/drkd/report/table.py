"""The table of a panel, on a terminal or on a page."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.report.classes import MOST_CLASSES, class_table
from drkd.report.labels import label_of
from drkd.report.sentences import conclusions, headline
from drkd.runs.results import ComparisonResults, Difference, Differences, MethodResults, Panel, PerSeed
from drkd.studies.results import BASELINE, CONTROL
from drkd.studies.statistics import mean_and_deviation
from drkd.tasks import Metric, Task, get_task
from drkd.utils.text import counted, printable

Value = TypeVar("Value")

WIDE = 148
"""A terminal this wide, in characters, holds all columns side by side; a narrower one gets two tables."""

MAIN_COLUMNS = ("method", "difference", "p", "time")
"""Those of the first of two tables, beside the metric that is compared."""

LEGEND = (
    "vs cross-entropy: paired difference in points. "
    "p (Holm): paired t-test, corrected for all differences tested in the panel, including those of the sentences; "
    "the intervals are not corrected, so one may exclude 0 although p is above 0.05. Other columns are untested. "
    "Rectified: fraction of the targets changed, first to last epoch. Teacher: the teacher's {teacher} on the "
    "training data; for teachers of folds, on the images that each did not see. Time: training time (seconds of the "
    "fastest "
    "epoch, times the epochs) over that of cross-entropy with the same seed, median over seeds, plus the same for the "
    "teacher; *: teacher outputs in some or all epochs came from a cache, so the time does not include them. "
    "Cross-entropy 2x: twice the epochs."
)


def columns_of(task: Task) -> dict[str, str]:
    """The headings of a table, by key.

    Example:
        >>> from drkd.tasks import get_task
        >>> list(columns_of(get_task("detection")))
        ['method', 'map', 'difference', 'p', 'map50', 'ar', 'rectified', 'teacher', 'time']
    """
    first, *others = task.metrics
    return {
        "method": "Method",
        first.name: first.heading,
        "difference": "vs cross-entropy [95%]",
        "p": "p (Holm)",
        **{metric.name: metric.heading for metric in others},
        "rectified": "Rectified %",
        "teacher": "Teacher %",
        "time": "Time x",
    }


def legend_of(task: Task) -> str:
    """What the headings mean."""
    return f"{task.legend} {LEGEND.format(teacher=task.metric(task.teacher_metric).label)}"


def rows(panel: Panel, differences: Differences) -> list[dict[str, str]]:
    """The table of a panel, every cell as text; keys as in `columns_of`.

    Args:
        panel: of a comparison.
        differences: on its primary metric, see `ComparisonResults.of`.
    """
    task = get_task(panel.task)
    first, *others = task.metrics
    teacher = task.metric(task.teacher_metric)
    base = panel.methods[BASELINE]
    table = []
    for name, results in panel.methods.items():
        test = differences.get((name, BASELINE))
        table.append(
            {
                "method": label_of(name),
                first.name: _mean_and_deviation(results.test[first.name], first),
                "difference": _difference(test, first, len(panel.seeds)),
                "p": "" if test is None or test.p_holm is None else f"{test.p_holm:.3f}",
                **{metric.name: _mean(results.test.get(metric.name, []), metric) for metric in others},
                "rectified": _first_to_last(results.rectified_fraction_per_epoch),
                "teacher": _mean(results.teacher_train.get(teacher.name, []), replace(teacher, digits=1)),
                "time": _time(results, base, epochs=2 if name == CONTROL else 1),
            }
        )
    return table


def print_results(results: ComparisonResults, console: Console) -> None:
    """Print every panel's table and conclusions."""
    wide = console.width >= WIDE
    for panel in results.panels:
        console.print()
        console.print(title(panel), style="bold", highlight=False)
        task = get_task(panel.task)
        headings = columns_of(task)
        first = [key for key in headings if key in (*MAIN_COLUMNS, task.primary)]
        rest = ["method", *(key for key in headings if key not in first)]
        for columns in [list(headings)] if wide else [first, rest]:
            table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for key in columns:
                table.add_column(headings[key], justify="left" if key == "method" else "right", no_wrap=True)
            for row in rows(panel, results.of(panel)):
                table.add_row(*(row[key] for key in columns))
            console.print(table)
        if wide and (by_class := _classes(panel)) is not None:  # the page has it in any case
            console.print(by_class)
        console.print(headline(panel, results.of(panel)), style="bold", highlight=False)
        for sentence in conclusions(panel, results.of(panel)):
            console.print(f"- {sentence}", highlight=False)
    console.print()
    console.print(legend_of(get_task(results.panels[0].task)), style="dim", highlight=False)


def _classes(panel: Panel) -> Table | None:
    """Each class for a terminal; of many the worst."""
    found = class_table(panel)
    if found is None:
        return None
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in (found.heading, *found.columns):
        table.add_column(name, justify="left" if name == found.heading else "right")
    for row in found.rows[:MOST_CLASSES]:
        table.add_row(printable(row.name), *("" if value is None else f"{100 * value:.1f}" for value in row.values))
    if len(found.rows) > MOST_CLASSES:
        table.add_row(f"and {len(found.rows) - MOST_CLASSES} more in report.html")
    return table


def title(panel: Panel) -> str:
    """What a panel is about, in a line."""
    size = f", {panel.limit_train} training samples" if panel.limit_train else ""
    seeds = counted(len(panel.seeds), "seed")
    average = f", weights averaged ({panel.average})" if panel.average else ""
    return f"{panel.data}, {panel.name}{size}: {panel.model}, {counted(panel.epochs, 'epoch')}, {seeds}{average}"


def _known(values: Sequence[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _mean(values: PerSeed, metric: Metric) -> str:
    return f"{metric.factor * mean_and_deviation(values)[0]:.{metric.digits}f}" if _known(values) else ""


def _mean_and_deviation(values: PerSeed, metric: Metric) -> str:
    mean, deviation = (None if value is None else metric.factor * value for value in mean_and_deviation(values))
    if not _known(values):
        return "failed"
    found = f"{mean:.{metric.digits}f}" + ("" if deviation is None else f" ± {deviation:.{metric.digits}f}")
    return found + _lost(len(_known(values)), len(values))


def _lost(seeds: int, asked: int) -> str:
    """What a number says that is not of all seeds."""
    return "" if seeds == asked else f" ({seeds} of {counted(asked, 'seed')})"


def _difference(test: Difference | None, metric: Metric, seeds: int) -> str:
    if test is None:
        return ""
    values = (test.mean_difference, *(test.ci95 or ()))
    mean, *ends = (f"{metric.factor * value:+.{metric.digits}f}" for value in values)
    return (f"{mean} [{', '.join(ends)}]" if ends else mean) + _lost(test.seeds, seeds)


def _first_to_last(per_epoch: Sequence[list[float] | None]) -> str:
    seeds = _known(per_epoch)
    if not seeds:
        return ""
    first, last = (100 * sum(fractions[end] for fractions in seeds) / len(seeds) for end in (0, -1))
    return f"{first:.1f} to {last:.1f}"


def _time(results: MethodResults, base: MethodResults, *, epochs: int) -> str:
    """The cost over that of cross-entropy, and that of the teacher; `epochs` is how many times as many there are."""
    own = _ratio(results.seconds_per_epoch, base.seconds_per_epoch)
    if own is None:
        return ""
    cached = "*" if any(results.teacher_cached) else ""
    if any(results.teacher_seconds_per_epoch):
        teacher = _ratio(results.teacher_seconds_per_epoch, base.seconds_per_epoch)
    else:  # what older versions wrote
        teacher = _ratio(results.teacher_seconds, base.train_seconds)
    return f"{epochs * own:.2f}{cached}" + (f" + {teacher:.2f}" if teacher else "")


def _ratio(ours: PerSeed, theirs: PerSeed) -> float | None:
    """Median over seeds of one over the other; None where no seed has both."""
    ratios = [mine / base for mine, base in zip(ours, theirs, strict=True) if mine is not None and base]
    return median(ratios) if ratios else None
