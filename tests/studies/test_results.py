"""Which differences are tested, and over which of them Holm's correction is."""

import pytest

from drkd.config import CompareConfig
from drkd.report.table import rows
from drkd.runs.summary import RunSummary
from drkd.studies.comparison import with_controls
from drkd.studies.results import as_rows, collect, compare_methods
from drkd.studies.statistics import holm, paired
from drkd.training.metrics import Metrics
from panels import ALIKE, BETTER, made_up


def test_everything_that_a_sentence_may_say_is_one_family():
    panel, differences = made_up(BETTER, ALIKE)
    assert list(differences) == [
        ("cross_entropy_2x", "cross_entropy"),
        ("tf_kd_self", "cross_entropy"),
        ("dr_kd", "cross_entropy"),
        ("tf_kd_self", "cross_entropy_2x"),
        ("dr_kd", "cross_entropy_2x"),
        ("dr_kd", "tf_kd_self"),
    ]
    scores = {name: method.test["accuracy"] for name, method in panel.methods.items()}
    raw = [paired(scores[ours], scores[theirs]).p_value for ours, theirs in differences]
    assert [test.p_value for test in differences.values()] == raw
    assert [test.p_holm for test in differences.values()] == pytest.approx(holm(raw))


def test_other_metrics_are_compared_with_cross_entropy_alone():
    panel, _ = made_up(BETTER, ALIKE)
    rows = [row for row in compare_methods(panel) if row.metric == "nll"]
    assert [(row.method, row.baseline) for row in rows] == [
        (name, "cross_entropy") for name in panel.methods if name != "cross_entropy"
    ]


def test_a_method_with_a_failed_seed_is_no_part_of_the_family():
    _, differences = made_up([*BETTER[:4], None], ALIKE)
    failed = {pair for pair, test in differences.items() if test.p_holm is None}
    assert failed == {pair for pair in differences if "dr_kd" in pair}
    rest = [test for pair, test in differences.items() if pair not in failed]
    assert [test.p_holm for test in rest] == pytest.approx(holm([test.p_value for test in rest]))


def test_results_without_settings_compare_no_rectification():
    panel, _ = made_up(BETTER, ALIKE)
    panel.settings.clear()
    assert not [row for row in compare_methods(panel) if row.baseline == "tf_kd_self"]


@pytest.mark.parametrize(
    ("methods", "options", "control"),
    [
        (["dr_kd"], {"teacher_folds": 2}, True),
        (["dr_kd", "ps_kd"], {"teacher_folds": 3}, False),
        (["dr_kd:teacher_folds=4"], {}, False),
        (["dr_kd:teacher_folds=null"], {"teacher_folds": 3}, True),
        (["dr_kd_clean_view"], {"teacher_folds": 3}, True),  # which takes no folds
        (["dr_kd", "dlb"], {"teacher_folds": 3}, True),
        (["cross_entropy_2x", "dr_kd"], {"teacher_folds": 3}, True),
        (["dr_kd", "kd"], {"teacher": "given"}, False),  # whose epochs are not known
        (["dr_kd", "dlb"], {"teacher": "given"}, True),
    ],
)
def test_twice_the_epochs_are_trained_where_a_method_costs_them(methods, options, control):
    assert ("cross_entropy_2x" in with_controls(CompareConfig(methods=methods, **options))) is control


def summary(seconds_per_epoch=1.0, **others):
    """Of a training of ten epochs, of which the fastest took so long."""
    return RunSummary(
        method="any",
        seed=0,
        epochs=10,
        best_epoch=9,
        select="last",
        train_accuracy=None,
        val=None,
        test=Metrics(0.5, nll=1.0, ece=0.1, aurc=0.1, reliability=[]),
        kept_epochs={},
        rectified_fraction_per_epoch=None,
        teacher=None,
        teacher_train_accuracy=None,
        skipped_images={},
        seconds_per_epoch=seconds_per_epoch,
        **{"teacher_seconds": 0.0, "train_seconds": 11.0, **others},
    )


def collected(of_methods, **options):
    config = CompareConfig(methods=list(of_methods), label_noise=[0], seeds=len(of_methods["cross_entropy"]), **options)
    return collect(config, {"clean labels": of_methods}, {})


def times(results):
    (panel,) = results.panels
    return {row["method"]: row["time"] for row in rows(panel, results.of(panel))}


def test_a_failed_training_has_no_teacher_seconds():
    results = collected({"cross_entropy": [summary(), summary()], "dr_kd": [summary(1.5), None]})
    assert results.panels[0].methods["dr_kd"].teacher_seconds == [11.0, None]
    assert {value for name, value in as_rows(results)[-1].items() if name not in ("panel", "method", "seed")} == {None}
    assert times(results) == {"Cross-entropy": "1.00", "DR-KD": "1.50 + 1.00"}


def test_teachers_of_folds_take_their_fastest_epochs_as_the_baseline_does():
    folded = summary(1.5, train_seconds=18.0, teacher_seconds=30.0, teacher_seconds_per_epoch=1.2)
    unknown = summary(1.5, train_seconds=18.0, teacher_seconds=30.0)  # as an older version wrote it
    of_methods = {"cross_entropy": [summary(0.8)], "tf_kd_self": [folded], "dr_kd": [unknown]}
    results = collected(of_methods, teacher_folds=2)
    assert list(times(results).values()) == ["1.00", "1.88 + 1.50", "1.88 + 2.73"]  # 30 s over 11 s
    assert [as_rows(results)[n]["teacher_seconds_per_epoch"] for n in (1, 2)] == [1.2, None]


def test_a_given_teacher_costs_no_method_anything():
    of_methods = {"cross_entropy": [summary()], "kd": [summary(1.25)], "dr_kd": [summary(1.5)]}
    results = collected(of_methods, teacher="given")
    assert times(results) == {"Cross-entropy": "1.00", "KD": "1.25", "DR-KD": "1.50"}
    assert [method.teacher_seconds for method in results.panels[0].methods.values()] == [[0.0]] * 3
    folds = collected({**of_methods, "dr_kd": [summary(1.5, teacher_seconds=9.0)]}, teacher="given", teacher_folds=2)
    assert times(folds)["DR-KD"] == "1.50"
