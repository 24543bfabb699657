"""The table of a panel, on a terminal or on a page."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.report.words import conclusions
from drkd.stats import mean_and_deviation

LABELS = {
    "cross_entropy": "Cross-entropy",
    "cross_entropy_2x": "Cross-entropy 2x",
    "label_smoothing": "Label smoothing",
    "kd": "KD",
    "tf_kd_reg": "Tf-KD_reg",
    "tf_kd_self": "Tf-KD_self",
    "dr_kd": "DR-KD",
    "ps_kd": "PS-KD",
    "online_dr_kd": "Online DR-KD",
    "ols": "OLS",
    "max_sup": "MaxSup",
    "cs_kd": "CS-KD",
    "dlb": "DLB",
}
"""How the papers write the methods' names."""

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

WIDE = 124
"""A terminal of so many characters holds all columns side by side; a narrower one gets two tables."""

MAIN_COLUMNS = ["method", "accuracy", "difference", "p", "time"]
OTHER_COLUMNS = ["method", "nll", "ece", "aurc", "rectified", "teacher"]

LEGEND = (
    "Accuracy: mean and standard deviation over seeds, test split. vs cross-entropy: paired difference in points. "
    "p (Holm): paired t-test, corrected for the number of methods; the intervals are not corrected, so one may leave "
    "out 0 where p is above .05. "
    "Rectified: part of the targets changed, first to last epoch. Teacher: the self-teacher's accuracy on the training "
    "data. Time: training time over cross-entropy's, plus that of the teacher. Cross-entropy 2x: twice the epochs."
)


def rows(panel: dict[str, Any], comparisons: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The table of `panel`, every cell as text; keys as in `COLUMNS`."""
    mine = {c["method"]: c for c in comparisons if c["panel"] == panel["name"] and c["metric"] == "accuracy"}
    base_seconds, _ = mean_and_deviation(panel["methods"]["cross_entropy"]["train_seconds"])
    table = []
    for name, lists in panel["methods"].items():
        test = mine.get(name)
        table.append(
            {
                "method": LABELS.get(name, name),
                "accuracy": _spread(lists["accuracy"], 100),
                "difference": _difference(test),
                "p": "" if test is None or test["p_holm"] is None else f"{test['p_holm']:.3f}",
                "nll": _mean(lists["nll"], 1, 3),
                "ece": _mean(lists["ece"], 100, 1),
                "aurc": _mean(lists["aurc"], 1000, 1),
                "rectified": _first_to_last(lists["rectified_fraction_per_epoch"]),
                "teacher": _mean(lists["teacher_train_accuracy"], 100, 1),
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
        for columns in [list(COLUMNS)] if wide else [MAIN_COLUMNS, OTHER_COLUMNS]:
            table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for key in columns:
                table.add_column(COLUMNS[key], justify="left" if key == "method" else "right", no_wrap=True)
            for row in rows(panel, results["comparisons"]):
                table.add_row(*(row[key] for key in columns))
            console.print(table)
        for sentence in conclusions(panel, results["comparisons"]):
            console.print(f"- {sentence}", highlight=False)
    console.print()
    console.print(LEGEND, style="dim", highlight=False)


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
