"""The table of a panel, on a terminal or on a page."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.methods.registry import all_methods, split_variant
from drkd.report.sentences import conclusions
from drkd.runs.results import ComparisonResults, Difference, Differences, MethodResults, Panel, PerSeed
from drkd.studies.results import BASELINE, CONTROL
from drkd.studies.statistics import mean_and_deviation
from drkd.tasks import Metric, Task, get_task

Value = TypeVar("Value")

CONTROL_LABEL, CONTROL_COLOUR = "Cross-entropy 2x", "#9a9a9a"
"""The baseline that trains twice as long: no method of its own, but it has its own row."""

MOST_CLASSES = 20
"""Of more classes those on which the methods are worst are shown."""

WIDE = 148
"""A terminal of so many characters holds all columns side by side; a narrower one gets two tables."""

MAIN_COLUMNS = ("method", "difference", "p", "time")
"""Those of the first of two tables, beside the metric that is compared."""

LEGEND = (
    "vs cross-entropy: paired difference in points. "
    "p (Holm): paired t-test, corrected for all differences that are tested in the panel, those of the sentences "
    "included; the intervals are not corrected, so one may leave out 0 where p is above .05. Other columns are not "
    "tested. "
    "Rectified: fraction of the targets changed, first to last epoch. Teacher: the self-teacher's {teacher} on the "
    "training data. Time: training time (seconds of the fastest epoch, times the epochs) over that of cross-entropy "
    "with the same seed, median over seeds, plus the same for the teacher; *: the teacher's answers in some or all "
    "epochs came from a cache, so that asking it is not in the time. Cross-entropy 2x: twice the epochs."
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


def label_of(name: str) -> str:
    """A method as the papers write it, with the settings in its name.

    Example:
        >>> label_of("dr_kd"), label_of("dr_kd:alpha=0.5:rectify=drop")
        ('DR-KD', 'DR-KD (alpha=0.5, rectify=drop)')
        >>> label_of("cross_entropy:average=ema"), label_of("dr_kd:alpha=0.5:average=swa:0.5")
        ('Cross-entropy, averaged', 'DR-KD, averaged (alpha=0.5, swa:0.5)')
    """
    method, settings = split_variant(name)
    known = all_methods().get(method)
    label = CONTROL_LABEL if method == CONTROL else known.label if known else method
    averages = [setting.removeprefix("average=") for setting in settings if setting.startswith("average=")]
    shown = [setting for setting in settings if not setting.startswith("average=")]
    shown += [average for average in averages if average != "ema"]
    return label + (", averaged" if averages else "") + (f" ({', '.join(shown)})" if shown else "")


def colour_of(name: str) -> str | None:
    """The colour of a method in every plot, chosen for colour-blind readers too; None for one with settings.

    Example:
        >>> colour_of("dr_kd"), colour_of("dr_kd:alpha=0.5")
        ('#d55e00', None)
    """
    known = all_methods().get(name)
    return CONTROL_COLOUR if name == CONTROL else known.colour if known else None


def classes_of(panel: Panel) -> list[list[str]]:
    """The task's metric of each class, mean over seeds: a heading row, then a row per method; nothing if unknown."""
    seeds = {name: _known(results.details.get("per_class", [])) for name, results in panel.methods.items()}
    names = list(dict.fromkeys(name for of_method in seeds.values() for seed in of_method for name in seed))
    if not names:
        return []
    metric = get_task(panel.task).class_metric
    values = {
        method: {name: [seed[name][metric.name] for seed in of_method if name in seed] for name in names}
        for method, of_method in seeds.items()
    }
    heading = f"{metric.heading} by class"
    if len(names) > MOST_CLASSES:
        heading += f", the {MOST_CLASSES} lowest of {len(names)}"
        together = {name: [value for each in values.values() for value in each[name]] for name in names}
        names = sorted(names, key=lambda name: sum(together[name]) / len(together[name]))[:MOST_CLASSES]
    lines = [[label_of(method), *(_mean(each[name], metric) for name in names)] for method, each in values.items()]
    return [[heading, *names], *lines]


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
                "difference": _difference(test, first),
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
        by_class = classes_of(panel)
        if by_class and 20 * len(by_class[0]) <= console.width:  # the page has it in any case
            for cells in by_class:
                console.print("  ".join(f"{cell:>18}" for cell in cells), highlight=False)
        for sentence in conclusions(panel, results.of(panel)):
            console.print(f"- {sentence}", highlight=False)
    console.print()
    console.print(legend_of(get_task(results.panels[0].task)), style="dim", highlight=False)


def title(panel: Panel) -> str:
    """What a panel is about, in a line."""
    size = f", {panel.limit_train} training samples" if panel.limit_train else ""
    seeds = f"{len(panel.seeds)} seed{'s' if len(panel.seeds) > 1 else ''}"
    average = f", weights averaged ({panel.average})" if panel.average else ""
    return f"{panel.data}, {panel.name}{size}: {panel.model}, {panel.epochs} epochs, {seeds}{average}"


def _known(values: Sequence[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _mean(values: PerSeed, metric: Metric) -> str:
    return f"{metric.factor * mean_and_deviation(values)[0]:.{metric.digits}f}" if _known(values) else ""


def _mean_and_deviation(values: PerSeed, metric: Metric) -> str:
    mean, deviation = (None if value is None else metric.factor * value for value in mean_and_deviation(values))
    if not _known(values):
        return "failed"
    return f"{mean:.{metric.digits}f}" + ("" if deviation is None else f" ± {deviation:.{metric.digits}f}")


def _difference(test: Difference | None, metric: Metric) -> str:
    if test is None:
        return ""
    values = (test.mean_difference, *(test.ci95 or ()))
    mean, *ends = (f"{metric.factor * value:+.{metric.digits}f}" for value in values)
    return f"{mean} [{', '.join(ends)}]" if ends else mean


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
    teacher = _ratio(results.teacher_seconds, base.train_seconds)
    return f"{epochs * own:.2f}{cached}" + (f" + {teacher:.2f}" if teacher else "")


def _ratio(ours: PerSeed, theirs: PerSeed) -> float | None:
    """Median over seeds of one over the other; None where no seed has both."""
    ratios = [mine / base for mine, base in zip(ours, theirs, strict=True) if mine is not None and base]
    return median(ratios) if ratios else None
