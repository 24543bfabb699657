"""Panels of comparisons that were never trained."""

from drkd.runs.results import ComparisonResults, MethodResults, Panel
from drkd.studies.results import compare_methods

BETTER = [0.95, 0.96, 0.971, 0.95, 0.96]
ALIKE = [0.90, 0.91, 0.93, 0.89, 0.91]
CONTROL = [0.91, 0.92, 0.93, 0.92, 0.91]

SETTINGS = {"alpha": 0.3, "temperature": 1.0, "convention": "batchmean", "multiplier": 1.0}
DR_KD = {**SETTINGS, "rectify": "swap", "student_swap": False}


def made_up(dr_kd, tf_kd_self, *, control=CONTROL, rectified=0.05, label_noise=0.0, settings=None, seeds=5):
    """A panel with the given accuracies, and its differences on accuracy.

    `settings` replaces some of those of DR-KD; the first `seeds` of all seeds are taken.
    """

    def results(accuracy, fraction=None, teacher_seconds=0.0):
        return MethodResults(
            test={"accuracy": accuracy[:seeds], "nll": [0.5] * seeds, "ece": [0.1] * seeds, "aurc": [0.05] * seeds},
            val={"accuracy": [0.9] * seeds, "nll": [0.5] * seeds},
            details={"reliability": [[]] * seeds},
            train_accuracy=[0.9] * seeds,
            rectified_fraction=[fraction] * seeds,
            rectified_fraction_per_epoch=[None if fraction is None else [fraction] * 3] * seeds,
            teacher_train={"accuracy": [0.95] * seeds},
            train_seconds=[2.0] * seeds,
            teacher_seconds=[teacher_seconds] * seeds,
            skipped_images=[{}] * seeds,
            notes=[[]] * seeds,
            seconds_per_epoch=[2.0] * seeds,
            teacher_cached=[None] * seeds,
        )

    panel = Panel(
        name="p",
        task="classification",
        data="d",
        model="m",
        epochs=3,
        label_noise=label_noise,
        limit_train=None,
        chosen_on_validation=True,
        costs_double=["tf_kd_self", "dr_kd"],
        seeds=list(range(seeds)),
        methods={
            "cross_entropy": results([0.90, 0.91, 0.92, 0.90, 0.91]),
            "cross_entropy_2x": results(control),
            "tf_kd_self": results(tf_kd_self, teacher_seconds=2.0),
            "dr_kd": results(dr_kd, rectified, teacher_seconds=2.0),
        },
        settings={
            "cross_entropy": {},
            "cross_entropy_2x": {},
            "tf_kd_self": SETTINGS,
            "dr_kd": {**DR_KD, **(settings or {})},
        },
    )
    return panel, ComparisonResults([panel], compare_methods(panel), {}).of(panel)
