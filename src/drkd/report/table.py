"""The table of a panel, on a terminal or on a page."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.methods.registry import all_methods
from drkd.report.sentences import conclusions
from drkd.studies.statistics import mean_and_deviation
from drkd.tasks.task import task_of

CONTROL, CONTROL_LABEL, CONTROL_COLOUR = "cross_entropy_2x", "Cross-entropy 2x", "#9a9a9a"
"""The baseline that trains twice as long: no method of its own, but it has its own row."""

COLUMNS = {
    "method": "Method",
    "accuracy": "Accuracy %",
    "difference": "vs cross-entropy [95%]",
    "p": "p (Holm)",
    "nll": "NLL",
    "ece": "ECE %",
    "aurc": "AURC e-3",
    "rectified": "Rectified %",
    "teacher": "Teacher %",
    "time": "Time x",
}

OF_DETECTORS = {
    "method": "Method",
    "map": "mAP %",
    "difference": "vs cross-entropy [95%]",
    "p": "p (Holm)",
    "map50": "mAP50 %",
    "ar": "AR %",
    "rectified": "Rectified %",
    "teacher": "Teacher %",
    "time": "Time x",
}
"""The columns of a comparison of detectors."""

WIDE = 124
"""A terminal of so many characters holds all columns side by side; a narrower one gets two tables."""

MAIN_COLUMNS = ("method", "difference", "p", "time")
"""Those of the first of two tables, beside the metric that is compared."""

OTHERS = {"nll": (1, 3), "ece": (100, 1), "aurc": (1000, 1), "map50": (100, 2), "ar": (100, 2)}
"""Metrics beside the first: the factor and the digits they are shown with."""

LEGEND = (
    "Accuracy: mean and standard deviation over seeds, test split. vs cross-entropy: paired difference in points. "
    "p (Holm): paired t-test, corrected for the number of methods; the intervals are not corrected, so one may leave "
    "out 0 where p is above .05. "
    "Rectified: part of the targets changed, first to last epoch. Teacher: the self-teacher's accuracy on the training "
    "data. Time: training time over cross-entropy's, plus that of the teacher. Cross-entropy 2x: twice the epochs."
)


LEGEND_OF_DETECTORS = (
    "mAP: COCO's average precision on the test split, mean over overlaps 0.50 to 0.95 and classes, with its standard "
    "deviation over seeds; mAP50: at 0.5; AR: recall with 100 detections. vs cross-entropy: paired difference in "
    "points. p (Holm): paired t-test, corrected for the number of methods; the intervals are not. Rectified: part of "
    "the scored positions whose target was changed, first to last epoch. Teacher: the self-teacher's mAP50 on the "
    "training data. Time: training time over cross-entropy's, plus that of the teacher. Cross-entropy 2x: twice the "
    "epochs."
)


def columns_of(panel: dict[str, Any]) -> dict[str, str]:
    """The headings of a panel's table, by key."""
    return COLUMNS if task_of(panel).first == "accuracy" else OF_DETECTORS


def legend_of(panel: dict[str, Any]) -> str:
    """What the headings mean."""
    return LEGEND if task_of(panel).first == "accuracy" else LEGEND_OF_DETECTORS


def label_of(name: str) -> str:
    """A method as the papers write it, with the settings that its name bears.

    Example:
        >>> label_of("dr_kd"), label_of("dr_kd:alpha=0.5:rectify=drop")
        ('DR-KD', 'DR-KD (alpha=0.5, rectify=drop)')
    """
    method, _, settings = name.partition(":")
    known = all_methods().get(method)
    label = CONTROL_LABEL if method == CONTROL else known.label if known else method
    return f"{label} ({settings.replace(':', ', ')})" if settings else label


def colour_of(name: str) -> str | None:
    """The colour of a method in every plot, told apart by colour-blind readers too; None for one with settings.

    Example:
        >>> colour_of("dr_kd"), colour_of("dr_kd:alpha=0.5")
        ('#d55e00', None)
    """
    known = all_methods().get(name)
    return CONTROL_COLOUR if name == CONTROL else known.colour if known else None


def classes_of(panel: dict[str, Any]) -> list[list[str]]:
    """Of detectors, mAP50 in % of each class, mean over seeds: a heading row, then a row per method; else nothing."""
    seeds = {name: _there(lists.get("per_class", [])) for name, lists in panel["methods"].items()}
    names = list(dict.fromkeys(name for of_method in seeds.values() for seed in of_method for name in seed))
    if not names:
        return []
    table = [["mAP50 % by class", *names]]
    for method, of_method in seeds.items():
        values = {name: [seed[name]["map50"] for seed in of_method if name in seed] for name in names}
        table.append([label_of(method), *(_mean(values[name], 100, 2) for name in names)])
    return table


def rows(panel: dict[str, Any], comparisons: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The table of `panel`, every cell as text; keys as in `COLUMNS`."""
    task = task_of(panel)
    mine = {c["method"]: c for c in comparisons if c["panel"] == panel["name"] and c["metric"] == task.first}
    base_seconds, _ = mean_and_deviation(panel["methods"]["cross_entropy"]["train_seconds"])
    table = []
    for name, lists in panel["methods"].items():
        test = mine.get(name)
        table.append(
            {
                "method": label_of(name),
                task.first: _spread(lists[task.first], 100),
                "difference": _difference(test),
                "p": "" if test is None or test["p_holm"] is None else f"{test['p_holm']:.3f}",
                **{name: _mean(lists[name], *OTHERS[name]) for name in task.metrics[1:]},
                "rectified": _first_to_last(lists["rectified_fraction_per_epoch"]),
                "teacher": _mean(lists.get("teacher_train_map50", lists["teacher_train_accuracy"]), 100, 1),
                "time": _time(lists, base_seconds),
            }
        )
    return table


def print_results(results: dict[str, Any], console: Console) -> None:
    """Print every panel's table and conclusions."""
    wide = console.width >= WIDE
    for panel in results["panels"]:
        console.print()
        console.print(title(panel), style="bold", highlight=False)
        headings = columns_of(panel)
        first = [key for key in headings if key in (*MAIN_COLUMNS, task_of(panel).first)]
        rest = ["method", *(key for key in headings if key not in first)]
        for columns in [list(headings)] if wide else [first, rest]:
            table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for key in columns:
                table.add_column(headings[key], justify="left" if key == "method" else "right", no_wrap=True)
            for row in rows(panel, results["comparisons"]):
                table.add_row(*(row[key] for key in columns))
            console.print(table)
        for cells in classes_of(panel):
            console.print("  ".join(f"{cell:>18}" for cell in cells), highlight=False)
        for sentence in conclusions(panel, results["comparisons"]):
            console.print(f"- {sentence}", highlight=False)
    console.print()
    console.print(legend_of(results["panels"][0]), style="dim", highlight=False)


def title(panel: dict[str, Any]) -> str:
    """What a panel is about, in a line."""
    size = f", {panel['limit_train']} training samples" if panel["limit_train"] else ""
    seeds = len(panel["seeds"])
    return (
        f"{panel['data']}, {panel['name']}{size}: {panel['model']}, {panel['epochs']} epochs, "
        f"{seeds} seed{'s' if seeds > 1 else ''}"
    )


def _there(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None], factor: float, digits: int) -> str:
    return f"{factor * mean_and_deviation(values)[0]:.{digits}f}" if _there(values) else ""


def _spread(values: Sequence[float | None], factor: float) -> str:
    mean, deviation = mean_and_deviation(values)
    if not _there(values):
        return "failed"
    return f"{factor * mean:.2f}" if deviation is None else f"{factor * mean:.2f} ± {factor * deviation:.2f}"


def _difference(test: dict[str, Any] | None) -> str:
    if test is None:
        return ""
    text = f"{100 * test['mean_difference']:+.2f}"
    return f"{text} [{100 * test['ci95'][0]:+.2f}, {100 * test['ci95'][1]:+.2f}]" if test["ci95"] else text


def _first_to_last(per_epoch: Sequence[list[float] | None]) -> str:
    there = _there(per_epoch)
    if not there:
        return ""
    first, last = (100 * sum(fractions[end] for fractions in there) / len(there) for end in (0, -1))
    return f"{first:.1f} to {last:.1f}"


def _time(lists: dict[str, list[Any]], base_seconds: float) -> str:
    if not _there(lists["train_seconds"]):
        return ""
    own = mean_and_deviation(lists["train_seconds"])[0] / base_seconds
    teacher = mean_and_deviation(lists["teacher_seconds"])[0] / base_seconds
    return f"{own:.2f} + {teacher:.2f}" if teacher else f"{own:.2f}"
