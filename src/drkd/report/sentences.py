"""What the numbers of a panel support, and what they do not, in plain sentences.

A verdict needs a p-value below `LEVEL` after Holm's correction over all differences of the panel, whichever sentence
they are for. Where a seed failed or no test is possible there is none.
"""

import re
from collections.abc import Mapping, Sequence

from drkd.report.labels import label_of, listed, within
from drkd.runs.results import Difference, Differences, MethodResults, Panel
from drkd.studies.results import BASELINE, CONTROL
from drkd.studies.statistics import FEWEST_PAIRS
from drkd.tasks import Task, get_task
from drkd.utils.text import counted

LEVEL = 0.05
"""A difference counts as shown where Holm's p-value is below this."""

FEW_SEEDS = 5

ROUNDING = 1e-12
"""A mean difference this small is none."""

VALIDATION_SIZE = re.compile(r"(?<=chosen on )\d+(?= validation samples?)")
"""In notes; seeds divide a folder into validation splits of unequal size."""

Methods = Mapping[str, MethodResults]


def headline(panel: Panel, differences: Differences) -> str:
    """The answer of a panel in a sentence: does any of its methods beat cross-entropy?

    The control is no such method. A method that costs two trainings is set against the control in the same sentence.

    Args:
        panel: of a comparison.
        differences: on its primary metric, see `ComparisonResults.of`.
    """
    task, seeds = get_task(panel.task), len(panel.seeds)
    asked = [name for name in panel.methods if name not in (BASELINE, CONTROL)]
    tests = {name: test for name in asked if (test := differences.get((name, BASELINE))) and test.seeds == seeds}
    lost = len(asked) - len(tests)
    failed = f" ({lost} of {len(asked)} failed and {'is' if lost == 1 else 'are'} not judged)" if lost else ""
    if reason := _no_answer(panel, asked, tests):
        return f"No answer: {reason}{failed if tests else ''}."
    ranked = sorted(tests, key=lambda name: -tests[name].mean_difference)
    better = [name for name in ranked if _sign(tests[name]) > 0]
    worse = [name for name in reversed(ranked) if _sign(tests[name]) < 0]
    if better:
        gain = _against_baseline(better, tests, task.better)
        return f"Yes: {gain}{_at_equal_cost(better[0], panel, differences)}{failed}."
    loss = _against_baseline(worse, tests, task.worse) if worse else ""
    if len(worse) == len(tests):
        return f"No: {loss}{failed}."
    top = tests[ranked[0]]
    found = _points(top)
    if top.p_holm is not None and top.ci95 is not None and top.ci95[0] > 0:
        tested = sum(test.p_holm is not None for test in differences.values())
        found += f", which can happen by chance among {tested} comparisons"
    if len(tests) > 1 and top.mean_difference <= ROUNDING:
        best = f"no method is above cross-entropy in mean {task.label}; the best is {within(ranked[0])}"
    else:
        whose = f"{'the' if len(tests) == 1 else 'the best'} mean difference in {task.label} from cross-entropy"
        best = f"{whose} is that of {within(ranked[0])}"
    also = f"; {loss}" if loss else ""
    return f"Not shown with {seeds} seeds: {best}, {found}{also}{failed}."


def _no_answer(panel: Panel, asked: Sequence[str], tests: Mapping[str, Difference]) -> str:
    """Why a panel can have no answer; empty where it can."""
    seeds = len(panel.seeds)
    if not asked:
        return f"{'only its control' if CONTROL in panel.methods else 'nothing'} was compared with cross-entropy"
    if failures := _failures(panel, BASELINE):
        return f"cross-entropy failed on {failures} of {seeds} seeds, and everything is compared with it"
    if not tests:
        return f"{label_of(asked[0]) if len(asked) == 1 else 'every method'} failed{' on some seeds' * (seeds > 1)}"
    if seeds == 1:
        return "one seed shows no difference between methods"
    return f"{seeds} seeds are too few to show a difference" if seeds < FEWEST_PAIRS else ""


def _against_baseline(names: Sequence[str], tests: Mapping[str, Difference], verb: str) -> str:
    """The verdict on the first of some methods that share it, and the names of the others."""
    others = f"; the same is shown for {listed(names[1:])}" if names[1:] else ""
    return f"{label_of(names[0])} {verb} {within(BASELINE)} here ({_points(tests[names[0]])}){others}"


def _at_equal_cost(name: str, panel: Panel, differences: Differences) -> str:
    """What a method that costs twice as much is beside cross-entropy of as many epochs."""
    test, task = differences.get((name, CONTROL)), get_task(panel.task)
    if test is None:
        return ""
    if test.seeds < len(panel.seeds):
        return f"; {within(CONTROL)}, of equal total epochs, failed on some seeds and says nothing"
    verdict = ("is not shown to differ from", task.better, task.worse)[_sign(test)]
    return f"; at equal total epochs {within(name)} {verdict} {within(CONTROL)} ({_points(test)})"


def conclusions(panel: Panel, differences: Differences) -> list[str]:
    """Sentences for one panel: what is shown, what is not, what rectification changed, what the control shows.

    Args:
        panel: of a comparison.
        differences: on its primary metric, see `ComparisonResults.of`.
    """
    methods, task = panel.methods, get_task(panel.task)
    sentences = [
        f"{label_of(name)} failed on {failures} of {counted(len(panel.seeds), 'seed')}: nothing is concluded about it."
        for name in methods
        if (failures := _failures(panel, name))
    ]
    seeds = len(panel.seeds)
    if not differences:
        return [*sentences, *_notes(methods)]
    if seeds < 2:
        few = "One seed shows no difference between methods: run at least 5 (--seeds 5)."
        return [*sentences, few, *_notes(methods)]
    if seeds < FEWEST_PAIRS:
        sentences.append(f"{seeds} seeds are too few for a test: run at least {FEW_SEEDS} (--seeds {FEW_SEEDS}).")
    elif seeds < FEW_SEEDS:
        sentences.append(f"{seeds} seeds leave wide intervals: run at least {FEW_SEEDS} before you rely on them.")
    complete = {pair: test for pair, test in differences.items() if test.seeds == len(panel.seeds)}
    sentences += _shown(complete, task)
    sentences += _alike(complete, task)
    sentences += _rectification(panel, complete)
    sentences += _control(panel, complete, task)
    return [*sentences, *_notes(methods)]


def _failures(panel: Panel, name: str) -> int:
    """The seeds on which a method failed."""
    return panel.methods[name].test[get_task(panel.task).primary].count(None)


def _notes(methods: Methods) -> list[str]:
    """Warnings of the trainings, once each; `_rectification` covers those about nothing to rectify."""
    notes = [note for results in methods.values() for of_seed in results.notes for note in of_seed or ()]
    sizes = sorted(int(found[0]) for note in notes if (found := VALIDATION_SIZE.search(note)))
    size = f"{sizes[0]} to {sizes[-1]}" if len(set(sizes)) > 1 else "".join(map(str, sizes[:1]))
    alike = dict.fromkeys(VALIDATION_SIZE.sub(size, note) for note in notes)
    return [f"Note: {note}." for note in alike if "had nothing to rectify" not in note]


def _sign(test: Difference) -> int:
    """1 or -1 where the seeds show that the first method is higher or lower, 0 where they do not."""
    shown = test.p_holm is not None and test.p_holm < LEVEL
    return (test.mean_difference > 0) - (test.mean_difference < 0) if shown else 0


def _shown(differences: Differences, task: Task) -> list[str]:
    """Which differences to cross-entropy the seeds show."""
    tests = {method: test for (method, baseline), test in differences.items() if baseline == BASELINE}
    sentences = [
        f"{label_of(name)} {verb} {within(BASELINE)} here: {_points(test)}."
        for sign, verb in ((1, task.better), (-1, task.worse))
        for name, test in tests.items()
        if _sign(test) == sign
    ]
    rest = "; ".join(f"{within(name)} ({_points(test)})" for name, test in tests.items() if _sign(test) == 0)
    if rest:
        sentences.append(f"No difference in {task.label} from {within(BASELINE)} is shown for {rest}.")
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
        if name.partition(":")[0] != "dr_kd" or not fractions or _failures(panel, name):
            continue
        without = {theirs: test for (ours, theirs), test in differences.items() if ours == name and _plain(theirs)}
        if max(fractions) == 0:
            equal = [theirs for theirs in without if panel.methods[theirs].test == results.test]
            so = f", so it equals {listed(equal)} here" if equal else ""
            sentences.append(
                f"{label_of(name)} had nothing to rectify: its teacher made no mistake in training, or none that its "
                f"rectifier corrects{so}."
            )
            continue
        for theirs, test in without.items():
            verdict = ("made no difference that these seeds show", "helped", "hurt")[_sign(test)]
            sentences.append(
                f"Rectifying {100 * sum(fractions) / len(fractions):.1f}% of the targets {verdict}: {within(name)} "
                f"minus {within(theirs)}, with otherwise equal settings, is {_points(test)}."
            )
    if panel.label_noise and swapped:
        sentences.append(
            f"With {100 * panel.label_noise:g}% of the labels wrong, the swap of {listed(swapped)} puts wrong "
            "labels back into the targets wherever the teacher had the true class."
        )
    return sentences


def _plain(name: str) -> bool:
    return name.partition(":")[0] == "tf_kd_self"


def _control(panel: Panel, differences: Differences, task: Task) -> list[str]:
    """Methods with a pretrained teacher, or with all samples twice, against as many epochs of cross-entropy."""
    verbs = ("is not shown to differ from", task.better, task.worse)
    return [
        f"At equal total epochs {within(name)} {verbs[_sign(test)]} {within(CONTROL)}: {_points(test)}."
        for name in panel.costs_double
        if (test := differences.get((name, CONTROL))) is not None
    ]


def _points(test: Difference) -> str:
    """The mean difference with its interval."""
    mean = f"{100 * test.mean_difference:+.2f} points"
    if test.ci95 is None or test.ci95[0] == test.ci95[1]:
        judged = "" if abs(test.mean_difference) <= ROUNDING else ", so there is nothing to test"
        return f"{mean} on every seed{judged}"
    low, high = (100 * end for end in test.ci95)
    return f"{mean}, 95% interval {low:+.2f} to {high:+.2f}"
