"""What the numbers of a panel support, and what they do not, in plain sentences."""

from collections.abc import Mapping

from drkd.runs.results import Difference, MethodResults, Panel
from drkd.studies.statistics import Paired, mean_and_deviation, paired
from drkd.tasks import Task, get_task

LEVEL = 0.05
"""A difference counts as shown where Holm's p-value is below this."""

FEW_SEEDS = 5

Methods = Mapping[str, MethodResults]


def conclusions(panel: Panel, differences: Mapping[str, Difference]) -> list[str]:
    """Sentences for one panel: what is shown, what is not, what rectification changed, what the control shows.

    Args:
        panel: of a comparison.
        differences: to cross-entropy, see `ComparisonResults.of`.
    """
    methods, task = panel.methods, get_task(panel.task)
    sentences = [
        f"{name} failed on {failures} of {len(panel.seeds)} seeds."
        for name, results in methods.items()
        if (failures := results.test[task.primary].count(None))
    ]
    sentences += _notes(methods)
    seeds = max((test.seeds for test in differences.values()), default=0)
    if seeds < 2:
        return [*sentences, "One seed shows no difference between methods: run at least 5 (--seeds 5)."]
    if seeds < FEW_SEEDS:
        sentences.append(f"{seeds} seeds leave wide intervals: run at least {FEW_SEEDS} before you rely on them.")
    sentences += _shown(differences, task)
    sentences += _rectification(panel, task)
    sentences += _control(panel, task)
    sentences += _calibration(methods) if "ece" in task.metric_names else []
    return sentences


def _notes(methods: Methods) -> list[str]:
    """Warnings of the trainings, once each; `_rectification` covers those about nothing to rectify."""
    notes = [note for results in methods.values() for of_seed in results.notes for note in of_seed or ()]
    return [f"Note: {note}." for note in dict.fromkeys(notes) if "had nothing to rectify" not in note]


def _shown(differences: Mapping[str, Difference], task: Task) -> list[str]:
    """Which differences to cross-entropy the seeds show."""
    shown = [name for name, test in differences.items() if test.p_holm is not None and test.p_holm < LEVEL]
    sentences = []
    for sign, verb in ((1, task.better), (-1, task.worse)):
        for name in shown:
            test = differences[name]
            if test.mean_difference * sign > 0:
                interval = _interval(test.ci95 or (test.mean_difference,) * 2)
                sentences.append(f"{name} {verb} cross_entropy here: {_points(test)} points, {interval}.")
    rest = [name for name in differences if name not in shown]
    if rest:
        listed = ", ".join(f"{name} ({_points(differences[name])})" for name in rest)
        sentences.append(f"No difference in {task.label} to cross_entropy is shown for {listed}.")
    return sentences


def _rectification(panel: Panel, task: Task) -> list[str]:
    """What the swap changed, against the same method without it."""
    methods = panel.methods
    if "dr_kd" not in methods:
        return []
    fractions = [fraction for fraction in methods["dr_kd"].rectified_fraction if fraction is not None]
    if not fractions:
        return []
    if max(fractions) == 0:
        return [
            "DR-KD equals Tf-KD_self here: the self-teacher is right on 100% of the training data, so there is "
            "nothing to rectify."
        ]
    sentences = []
    without = methods.get("tf_kd_self")
    test = None if without is None else paired(methods["dr_kd"].test[task.primary], without.test[task.primary])
    if test is not None and test.ci95 is not None:
        low, high = test.ci95
        verdict = "helped" if low > 0 else "hurt" if high < 0 else "made no difference that these seeds show"
        sentences.append(
            f"Rectifying {100 * sum(fractions) / len(fractions):.1f}% of the targets {verdict}: dr_kd minus tf_kd_self "
            f"is {_points(test)} points, {_interval(test.ci95)}."
        )
    if panel.label_noise:
        sentences.append(
            f"With {100 * panel.label_noise:g}% of the labels wrong, the swap writes wrong labels back into the "
            "targets that the teacher had got right."
        )
    return sentences


def _control(panel: Panel, task: Task) -> list[str]:
    """Whether methods with a pretrained teacher, or with all samples twice, beat as many epochs of cross-entropy."""
    control = panel.methods.get("cross_entropy_2x")
    if control is None:
        return []
    sentences = []
    for name in panel.costs_double:
        test = paired(panel.methods[name].test[task.primary], control.test[task.primary])
        if test is None or test.ci95 is None:
            continue
        low, high = test.ci95
        verdict = "beats" if low > 0 else "loses to" if high < 0 else "is not shown to differ from"
        sentences.append(
            f"At equal total epochs {name} {verdict} cross-entropy: {_points(test)} points against cross_entropy_2x, "
            f"{_interval(test.ci95)}."
        )
    return sentences


def _calibration(methods: Methods) -> list[str]:
    errors = {name: results.test["ece"] for name, results in methods.items()}
    means = {name: mean_and_deviation(values)[0] for name, values in errors.items() if any(values)}
    if "cross_entropy" not in means or len(means) < 2:
        return []
    best, worst = min(means, key=lambda name: means[name]), max(means, key=lambda name: means[name])
    ours = "" if "cross_entropy" in (best, worst) else f"; cross_entropy has {100 * means['cross_entropy']:.1f}%"
    return [
        f"Calibration error is lowest with {best} ({100 * means[best]:.1f}%) and highest with {worst} "
        f"({100 * means[worst]:.1f}%){ours}."
    ]


def _points(test: Difference | Paired) -> str:
    return f"{100 * test.mean_difference:+.2f}"


def _interval(ci95: tuple[float, ...]) -> str:
    low, high = (100 * end for end in ci95)
    return f"95% interval {low:+.2f} to {high:+.2f}"
