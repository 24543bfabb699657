"""What the numbers of a panel support, and what they do not, in plain sentences.

A verdict needs a p-value below `LEVEL` after Holm's correction over all differences of the panel, whichever sentence
they are for. Where a seed failed or no test is possible there is none.
"""

from collections.abc import Mapping

from drkd.runs.results import Difference, Differences, MethodResults, Panel
from drkd.studies.results import BASELINE, CONTROL
from drkd.studies.statistics import FEWEST_PAIRS
from drkd.tasks import Task, get_task

LEVEL = 0.05
"""A difference counts as shown where Holm's p-value is below this."""

FEW_SEEDS = 5

Methods = Mapping[str, MethodResults]


def conclusions(panel: Panel, differences: Differences) -> list[str]:
    """Sentences for one panel: what is shown, what is not, what rectification changed, what the control shows.

    Args:
        panel: of a comparison.
        differences: on its primary metric, see `ComparisonResults.of`.
    """
    methods, task = panel.methods, get_task(panel.task)
    sentences = [
        f"{name} failed on {failures} of {len(panel.seeds)} seeds: no conclusion is drawn about it."
        for name, results in methods.items()
        if (failures := results.test[task.primary].count(None))
    ]
    sentences += _notes(methods)
    seeds = max((test.seeds for test in differences.values()), default=0)
    if seeds < 2:
        return [*sentences, "One seed shows no difference between methods: run at least 5 (--seeds 5)."]
    if seeds < FEWEST_PAIRS:
        sentences.append(f"{seeds} seeds are too few for a test: run at least {FEW_SEEDS} (--seeds {FEW_SEEDS}).")
    elif seeds < FEW_SEEDS:
        sentences.append(f"{seeds} seeds leave wide intervals: run at least {FEW_SEEDS} before you rely on them.")
    complete = {pair: test for pair, test in differences.items() if test.seeds == len(panel.seeds)}
    sentences += _shown(complete, task)
    sentences += _alike(complete, task)
    sentences += _rectification(panel, complete)
    sentences += _control(panel, complete, task)
    return sentences


def _notes(methods: Methods) -> list[str]:
    """Warnings of the trainings, once each; `_rectification` covers those about nothing to rectify."""
    notes = [note for results in methods.values() for of_seed in results.notes for note in of_seed or ()]
    return [f"Note: {note}." for note in dict.fromkeys(notes) if "had nothing to rectify" not in note]


def _sign(test: Difference) -> int:
    """1 or -1 where the seeds show that the first method is higher or lower, 0 where they do not."""
    shown = test.p_holm is not None and test.p_holm < LEVEL
    return (test.mean_difference > 0) - (test.mean_difference < 0) if shown else 0


def _shown(differences: Differences, task: Task) -> list[str]:
    """Which differences to cross-entropy the seeds show."""
    tests = {method: test for (method, baseline), test in differences.items() if baseline == BASELINE}
    sentences = [
        f"{name} {verb} {BASELINE} here: {_points(test)}."
        for sign, verb in ((1, task.better), (-1, task.worse))
        for name, test in tests.items()
        if _sign(test) == sign
    ]
    rest = "; ".join(f"{name} ({_points(test)})" for name, test in tests.items() if _sign(test) == 0)
    if rest:
        sentences.append(f"No difference in {task.label} to {BASELINE} is shown for {rest}.")
    return sentences


def _alike(differences: Differences, task: Task) -> list[str]:
    """Methods with options of their own, against cross-entropy with the same ones."""
    verbs = ("is not shown to differ from", task.better, task.worse)
    return [
        f"At equal training options {ours} {verbs[_sign(test)]} {theirs}: {_points(test)}."
        for (ours, theirs), test in differences.items()
        if theirs.startswith(f"{BASELINE}:")
    ]


def _rectification(panel: Panel, differences: Differences) -> list[str]:
    """What rectification changed, against the same method with the same settings and without it."""
    sentences, swapped = [], []
    for name, results in panel.methods.items():
        fractions = [fraction for fraction in results.rectified_fraction if fraction is not None]
        if max(fractions, default=0) > 0 and panel.settings.get(name, {}).get("rectify") == "swap":
            swapped.append(name)
        if name.partition(":")[0] != "dr_kd" or not fractions:
            continue
        without = {theirs: test for (ours, theirs), test in differences.items() if ours == name and _plain(theirs)}
        if max(fractions) == 0:
            equal = [theirs for theirs in without if panel.methods[theirs].test == results.test]
            so = f", so it equals {', '.join(equal)} here" if equal else ""
            sentences.append(f"{name} had nothing to rectify: its self-teacher made no mistake in training{so}.")
            continue
        for theirs, test in without.items():
            verdict = ("made no difference that these seeds show", "helped", "hurt")[_sign(test)]
            sentences.append(
                f"Rectifying {100 * sum(fractions) / len(fractions):.1f}% of the targets {verdict}: {name} minus "
                f"{theirs}, otherwise with equal settings, is {_points(test)}."
            )
    if panel.label_noise and swapped:
        sentences.append(
            f"With {100 * panel.label_noise:g}% of the labels wrong, the swap of {', '.join(swapped)} writes wrong "
            "labels back into the targets, wherever the teacher had got the true class right."
        )
    return sentences


def _plain(name: str) -> bool:
    return name.partition(":")[0] == "tf_kd_self"


def _control(panel: Panel, differences: Differences, task: Task) -> list[str]:
    """Methods with a pretrained teacher, or with all samples twice, against as many epochs of cross-entropy."""
    verbs = ("is not shown to differ from", task.better, task.worse)
    return [
        f"At equal total epochs {name} {verbs[_sign(test)]} {CONTROL}: {_points(test)}."
        for name in panel.costs_double
        if (test := differences.get((name, CONTROL))) is not None
    ]


def _points(test: Difference) -> str:
    """The mean difference with its interval."""
    mean = f"{100 * test.mean_difference:+.2f} points"
    if test.ci95 is None or test.ci95[0] == test.ci95[1]:
        return f"{mean} on every seed, which no test can judge"
    low, high = (100 * end for end in test.ci95)
    return f"{mean}, 95% interval {low:+.2f} to {high:+.2f}"
