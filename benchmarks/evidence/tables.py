"""Tables for the log and the guide, from the lists per seed that a comparison keeps."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from drkd.methods.registry import all_methods
from drkd.studies.comparison import CONTROL
from drkd.studies.results import BASELINE
from drkd.studies.statistics import Paired, holm, mean_and_deviation, paired

PAIRS = [("dr_kd", "tf_kd_self"), *((name, CONTROL) for name, info in all_methods().items() if info.costs_double)]
"""What is compared beside each method with cross-entropy: all variants of the one with all of the other."""

METRICS = {"accuracy": 100, "nll": 1, "ece": 100, "aurc": 1000}

HEAD = "| | accuracy % | points over cross-entropy | p (Holm) | NLL | ECE % | AURC x1000 | rectified % | training % |"


def table(panel: Mapping[str, Any]) -> str:
    """Mean test metrics; differences of accuracy in points, with their 95% interval and Holm's p over all of them.

    Args:
        panel: of `results.json`.
    """
    methods = panel["methods"]
    tests = compare(panel)
    complete = [test.p_value if test.seeds == len(panel["seeds"]) else None for test in tests.values()]
    corrected = dict(zip(tests, holm(complete), strict=True))
    lines = [f"{panel['name']}, {len(panel['seeds'])} seeds", "", HEAD, "|---|" + "---:|" * 8]
    for name, lists in methods.items():
        means = {metric: scale * mean_and_deviation(lists[metric])[0] for metric, scale in METRICS.items()}
        p = corrected.get((name, BASELINE))
        cells = [
            name,
            f"{means['accuracy']:.2f}",
            points(tests.get((name, BASELINE))),
            "" if p is None else f"{p:.3f}",
            f"{means['nll']:.3f}",
            f"{means['ece']:.1f}",
            f"{means['aurc']:.0f}",
            _percent(lists["rectified_fraction"]),
            _percent(lists.get("train_accuracy", [])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for (ours, theirs), test in tests.items():
        if theirs != BASELINE:
            p = corrected[ours, theirs]
            lines.append(f"{ours} - {theirs}: {points(test)} points, p (Holm) {'none' if p is None else f'{p:.3f}'}")
    for name, lists in methods.items():
        if failed := lists["accuracy"].count(None):
            lines.append(f"{name}: {failed} of {len(panel['seeds'])} seeds diverged and are left out")
    return "\n".join(lines)


def compare(panel: Mapping[str, Any]) -> dict[tuple[str, str], Paired]:
    """Differences of accuracy: all that a table shows of a panel, which is what one correction covers."""
    methods = panel["methods"]
    pairs = [(name, BASELINE) for name in methods if name != BASELINE]
    for pair in PAIRS:
        variants = ([name for name in methods if name.partition(":")[0] == method] for method in pair)
        pairs += product(*variants)
    tests = {(a, b): paired(methods[a]["accuracy"], methods[b]["accuracy"]) for a, b in pairs}
    return {pair: test for pair, test in tests.items() if test is not None}


def minutes(panel: Mapping[str, Any]) -> float:
    """What its trainings took, teachers counted once."""
    return sum(s for lists in panel["methods"].values() for s in lists["train_seconds"] if s is not None) / 60


def points(test: Any) -> str:
    """A mean difference in points with its interval."""
    if test is None:
        return ""
    ends = "" if test.ci95 is None else " [{:+.2f}, {:+.2f}]".format(*(100 * end for end in test.ci95))
    return f"{100 * test.mean_difference:+.2f}{ends}"


def _percent(values: list[float | None]) -> str:
    return "" if not values or None in values else f"{100 * mean_and_deviation(values)[0]:.1f}"
