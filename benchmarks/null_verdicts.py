"""How often a report claims a difference where there is none: comparisons drawn at random, every method alike.

    python benchmarks/null_verdicts.py [--panels 20000]

A panel has 5 seeds, cross-entropy, its control of twice the epochs and 8 methods, 4 of them of double cost. An accuracy
is the sum of what its seed does to all methods and of what the training alone does; `rounded` ones are those of a test
split of 360 images. Printed with their 95% intervals (Clopper-Pearson) are the fractions of panels with a verdict in a
sentence, and with one had Holm's correction covered the differences to cross-entropy alone.
"""

import argparse

import numpy as np
from numpy.random import Generator
from scipy.stats import binomtest

from drkd.report.sentences import LEVEL, conclusions, headline
from drkd.runs.results import ComparisonResults, MethodResults, Panel, PerSeed
from drkd.studies.results import BASELINE, CONTROL, compare_methods
from drkd.studies.statistics import holm
from drkd.tasks import get_task

DOUBLE = ("tf_kd_self", "dr_kd", "cs_kd", "dlb")
SINGLE = ("label_smoothing", "tf_kd_reg", "ps_kd", "online_dr_kd")
SETTINGS = {"alpha": 0.3, "temperature": 1.0}

VERDICTS = (get_task().better, get_task().worse, "helped", "hurt", "beats", "loses to", "lowest", "highest")
"""Words that claim a difference."""


def null_panel(draw: Generator, *, test_images: int | None = None, effect: float = 0.0, seeds: int = 5) -> Panel:
    """A panel in which all methods are alike, but for DR-KD's `effect` on the accuracy."""
    shared = draw.normal(0.9, 0.01, seeds)
    methods = {}
    for name in (BASELINE, CONTROL, *SINGLE, *DOUBLE):
        scores = shared + draw.normal(effect if name == "dr_kd" else 0.0, 0.01, seeds)
        if test_images is not None:
            scores = np.round(scores * test_images) / test_images
        methods[name] = _results(scores.tolist(), rectified=0.05 if name == "dr_kd" else None)
    settings = {"tf_kd_self": SETTINGS, "dr_kd": {**SETTINGS, "rectify": "swap", "student_swap": False}}
    return Panel(
        name="null",
        task="classification",
        data="made up",
        model="none",
        epochs=1,
        label_noise=0.2,
        limit_train=None,
        chosen_on_validation=True,
        costs_double=list(DOUBLE),
        seeds=list(range(seeds)),
        methods=methods,
        settings=settings,
    )


def _results(accuracies: PerSeed, rectified: float | None) -> MethodResults:
    there: PerSeed = [0.5] * len(accuracies)
    return MethodResults(
        test={"accuracy": accuracies, "nll": there, "ece": accuracies, "aurc": there},
        val={},
        details={},
        train_accuracy=there,
        rectified_fraction=[rectified] * len(accuracies),
        rectified_fraction_per_epoch=[None] * len(accuracies),
        teacher_train={"accuracy": there},
        train_seconds=there,
        teacher_seconds=there,
        skipped_images=[{}] * len(accuracies),
        notes=[[]] * len(accuracies),
    )


def claims(panel: Panel) -> tuple[bool, bool]:
    """Whether a sentence claims a difference, and whether one would were the further pairs judged one by one."""
    differences = ComparisonResults([panel], compare_methods(panel), {}).of(panel)
    text = " ".join([headline(panel, differences), *conclusions(panel, differences)])
    apart = {pair: test.p_value for pair, test in differences.items() if pair[1] != BASELINE}
    corrected = holm([test.p_value for pair, test in differences.items() if pair not in apart])
    below = any(p is not None and p < LEVEL for p in (*apart.values(), *corrected))
    return any(words in text for words in VERDICTS), below


def rates(panels: int, *, seed: int = 0, test_images: int | None = None) -> list[tuple[float, float, float]]:
    """(fraction, low, high) of panels with a claim: as reports are, and with the further pairs judged one by one."""
    draw = np.random.default_rng(seed)
    found = np.array([claims(null_panel(draw, test_images=test_images)) for _ in range(panels)]).sum(axis=0)
    intervals = [binomtest(int(count), panels).proportion_ci(0.95) for count in found]
    return [(float(count) / panels, ci.low, ci.high) for count, ci in zip(found, intervals, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, test_images in (("exact", None), ("rounded", 360)):
        measured = rates(arguments.panels, seed=arguments.seed, test_images=test_images)
        for rule, (rate, low, high) in zip(("verdicts", "with further pairs uncorrected"), measured, strict=True):
            print(f"{name} accuracies, {rule}: {100 * rate:.2f}% of {arguments.panels} panels", end="")
            print(f" [{100 * low:.2f}, {100 * high:.2f}]", flush=True)


if __name__ == "__main__":
    main()
