"""What the numbers of a panel support, and what they do not, in plain words."""

from collections.abc import Sequence
from typing import Any

from drkd.studies.statistics import mean_and_deviation, paired
from drkd.tasks.task import Task, task_of

LEVEL = 0.05
"""A difference counts as shown where Holm's p-value is below this."""

FEW_SEEDS = 5


def conclusions(panel: dict[str, Any], comparisons: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences for one panel: what is shown, what is not, what rectification did, what the control says."""
    methods = panel["methods"]
    task = task_of(panel)
    tests = {c["method"]: c for c in comparisons if c["panel"] == panel["name"] and c["metric"] == task.first}
    sentences = [
        f"{name} failed on {count} of {len(panel['seeds'])} seeds." for name, count in _failures(methods, task)
    ]
    sentences += _notes(methods)
    seeds = max((test["seeds"] for test in tests.values()), default=0)
    if seeds < 2:
        return [*sentences, "One seed shows no difference between methods: run at least 5 (--seeds 5)."]
    if seeds < FEW_SEEDS:
        sentences.append(f"{seeds} seeds leave wide intervals: run at least {FEW_SEEDS} before you rely on them.")
    sentences += _shown(tests, task)
    sentences += _rectification(panel)
    sentences += _control(panel)
    sentences += _calibration(methods) if "ece" in task.metrics else []
    return sentences


def _failures(methods: dict[str, Any], task: Task) -> list[tuple[str, int]]:
    counts = [(name, lists[task.first].count(None)) for name, lists in methods.items()]
    return [(name, count) for name, count in counts if count]


def _notes(methods: dict[str, Any]) -> list[str]:
    """Warnings of the trainings, once each; that nothing was rectified is said elsewhere."""
    notes = [note for lists in methods.values() for of_seed in lists["notes"] for note in of_seed or ()]
    return [f"Note: {note}." for note in dict.fromkeys(notes) if "had nothing to rectify" not in note]


def _shown(tests: dict[str, dict[str, Any]], task: Task) -> list[str]:
    """Which differences to cross-entropy the seeds show."""
    shown = [name for name, test in tests.items() if test["p_holm"] is not None and test["p_holm"] < LEVEL]
    sentences = []
    of_accuracy = task.first == "accuracy"
    better = "is more accurate than" if of_accuracy else f"has a higher {task.called} than"
    worse = "is less accurate than" if of_accuracy else f"has a lower {task.called} than"
    for sign, verb in ((1, better), (-1, worse)):
        for name in shown:
            test = tests[name]
            if test["mean_difference"] * sign > 0:
                low, high = (100 * end for end in test["ci95"])
                sentences.append(
                    f"{name} {verb} cross_entropy here: {_points(test)} points, 95% interval {low:+.2f} to {high:+.2f}."
                )
    rest = [name for name in tests if name not in shown]
    if rest:
        listed = ", ".join(f"{name} ({_points(tests[name])})" for name in rest)
        sentences.append(f"No difference in {task.called} to cross_entropy is shown for {listed}.")
    return sentences


def _rectification(panel: dict[str, Any]) -> list[str]:
    """What the swap changed, against the same method without it."""
    methods, first = panel["methods"], task_of(panel).first
    if "dr_kd" not in methods:
        return []
    fractions = [fraction for fraction in methods["dr_kd"]["rectified_fraction"] if fraction is not None]
    if not fractions:
        return []
    if max(fractions) == 0:
        return [
            "DR-KD equals Tf-KD_self here: the self-teacher is right on 100% of the training data, so there is "
            "nothing to rectify."
        ]
    sentences = []
    test = paired(methods["dr_kd"][first], methods["tf_kd_self"][first]) if "tf_kd_self" in methods else None
    if test is not None and test.ci95 is not None:
        low, high = (100 * end for end in test.ci95)
        verdict = "helped" if low > 0 else "hurt" if high < 0 else "made no difference that these seeds show"
        sentences.append(
            f"Rectifying {100 * sum(fractions) / len(fractions):.1f}% of the targets {verdict}: dr_kd minus tf_kd_self "
            f"is {100 * test.mean_difference:+.2f} points, 95% interval {low:+.2f} to {high:+.2f}."
        )
    if panel["label_noise"]:
        sentences.append(
            f"With {100 * panel['label_noise']:g}% of the labels wrong, the swap writes wrong labels back into the "
            "targets that the teacher had got right."
        )
    return sentences


def _control(panel: dict[str, Any]) -> list[str]:
    """Whether methods with a pretrained teacher, or with all samples twice, beat as many epochs of cross-entropy."""
    methods, first = panel["methods"], task_of(panel).first
    if "cross_entropy_2x" not in methods:
        return []
    sentences = []
    for name in panel["costs_double"]:
        test = paired(methods[name][first], methods["cross_entropy_2x"][first])
        if test is None or test.ci95 is None:
            continue
        low, high = (100 * end for end in test.ci95)
        verdict = "beats" if low > 0 else "loses to" if high < 0 else "is not shown to differ from"
        sentences.append(
            f"At equal total epochs {name} {verdict} cross-entropy: {100 * test.mean_difference:+.2f} points against "
            f"cross_entropy_2x, 95% interval {low:+.2f} to {high:+.2f}."
        )
    return sentences


def _calibration(methods: dict[str, Any]) -> list[str]:
    means = {name: mean_and_deviation(lists["ece"])[0] for name, lists in methods.items() if any(lists["ece"])}
    if "cross_entropy" not in means or len(means) < 2:
        return []
    best, worst = min(means, key=lambda name: means[name]), max(means, key=lambda name: means[name])
    ours = "" if "cross_entropy" in (best, worst) else f"; cross_entropy has {100 * means['cross_entropy']:.1f}%"
    return [
        f"Calibration error is lowest with {best} ({100 * means[best]:.1f}%) and highest with {worst} "
        f"({100 * means[worst]:.1f}%){ours}."
    ]


def _points(test: dict[str, Any]) -> str:
    return f"{100 * test['mean_difference']:+.2f}"
