"""The headline answers the question of the page, and no more than its numbers bear."""

import pytest

from drkd.report.sentences import headline
from drkd.runs.results import ComparisonResults
from drkd.studies.results import compare_methods
from panels import ALIKE, BETTER, CONTROL, made_up

WORSE = [0.85, 0.86, 0.871, 0.85, 0.86]


def of(panel):
    return headline(panel, ComparisonResults([panel], compare_methods(panel), {}).of(panel))


def without(*names, dr_kd=BETTER, tf_kd_self=ALIKE, **options):
    panel, _ = made_up(dr_kd, tf_kd_self, **options)
    for name in names:
        del panel.methods[name]
    panel.costs_double[:] = [name for name in panel.costs_double if name in panel.methods]
    return panel


def test_a_gain_is_told_with_its_interval_and_at_equal_cost():
    assert headline(*made_up(BETTER, ALIKE)) == (
        "Yes: DR-KD is more accurate than cross-entropy here (+5.02 points, 95% interval +4.96 to +5.08); at equal "
        "total epochs DR-KD is more accurate than cross-entropy 2x (+4.02 points, 95% interval +3.14 to +4.90)."
    )


def test_a_gain_that_twice_the_epochs_give_as_well_says_so():
    text = headline(*made_up(BETTER, ALIKE, control=[0.95, 0.965, 0.968, 0.952, 0.961]))
    assert text.startswith("Yes: DR-KD is more accurate than cross-entropy here")
    assert "; at equal total epochs DR-KD is not shown to differ from cross-entropy 2x (" in text


def test_all_that_gain_are_named_the_first_with_its_number():
    text = headline(*made_up(BETTER, [value - 0.01 for value in BETTER]))
    assert text.startswith("Yes: DR-KD is more accurate than cross-entropy here (+5.02 points, ")
    assert "; the same is shown for Tf-KD_self; at equal" in text


def test_no_is_said_only_where_every_method_is_shown_to_lose():
    loss = "DR-KD is less accurate than cross-entropy here (-4.98 points, 95% interval -5.04 to -4.92)"
    assert of(without("tf_kd_self", dr_kd=WORSE)) == f"No: {loss}."
    text = of(without(dr_kd=WORSE))
    assert text.startswith("Not shown with 5 seeds: no method is above cross-entropy in mean accuracy; the best is Tf-")
    assert text.endswith(f"; {loss}.")


def test_where_nothing_is_shown_the_interval_stands_beside_it():
    assert of(without("dr_kd")) == (
        "Not shown with 5 seeds: the mean difference in accuracy from cross-entropy is that of Tf-KD_self, +0.00 "
        "points, 95% interval -0.88 to +0.88."
    )


def test_where_no_mean_is_above_cross_entropy_the_headline_says_so():
    base = [0.90, 0.91, 0.92, 0.90, 0.91]
    text = headline(*made_up(base, [value - 0.005 for value in ALIKE]))
    assert text == (
        "Not shown with 5 seeds: no method is above cross-entropy in mean accuracy; the best is DR-KD, +0.00 points on "
        "every seed."
    )


def test_an_interval_without_0_that_the_correction_takes_back_is_explained():
    slightly = [0.914, 0.9105, 0.935, 0.9095, 0.9145]
    panel, differences = made_up(slightly, ALIKE)
    test = differences["dr_kd", "cross_entropy"]
    assert test.ci95[0] > 0
    assert test.p_holm > 0.05
    assert ", which can happen by chance among 6 comparisons" in headline(panel, differences)
    panel, differences = made_up(slightly, [*ALIKE[:4], None])
    assert sum(test.p_holm is None for test in differences.values()) == 3
    assert ", which can happen by chance among 3 comparisons" in headline(panel, differences)


@pytest.mark.parametrize(
    ("seeds", "said"), [(1, "one seed shows no difference between methods"), (2, "2 seeds are too few to show")]
)
def test_too_few_seeds_give_no_answer(seeds, said):
    assert headline(*made_up(BETTER, ALIKE, seeds=seeds)).startswith(f"No answer: {said}")


def test_methods_that_failed_are_counted_out():
    failed = [*BETTER[:4], None]
    assert headline(*made_up(BETTER, failed)).endswith(" (1 of 2 failed and is not judged).")
    assert headline(*made_up(failed, failed)) == "No answer: every method failed on some seeds."
    assert of(without("tf_kd_self", dr_kd=failed)) == "No answer: DR-KD failed on some seeds."


def test_without_the_baseline_nothing_can_be_said():
    panel, _ = made_up(BETTER, ALIKE)
    panel.methods["cross_entropy"].test["accuracy"][2] = None
    assert of(panel).startswith("No answer: cross-entropy failed on 1 of 5 seeds, and everything")
    assert of(without("tf_kd_self", "dr_kd")) == "No answer: only its control was compared with cross-entropy."
    alone = of(without("tf_kd_self", "dr_kd", "cross_entropy_2x"))
    assert alone == "No answer: nothing was compared with cross-entropy."
    failed = of(without("tf_kd_self", dr_kd=[None], control=[0.9], seeds=1))
    assert failed == "No answer: DR-KD failed."


@pytest.mark.parametrize("lost", [1, 4])
def test_a_control_that_lost_seeds_says_nothing(lost):
    text = headline(*made_up(BETTER, ALIKE, control=[*CONTROL[lost:], *[None] * lost]))
    assert text == (
        "Yes: DR-KD is more accurate than cross-entropy here (+5.02 points, 95% interval +4.96 to +5.08); "
        "cross-entropy 2x, of equal total epochs, failed on some seeds and says nothing."
    )


def test_the_control_is_no_method():
    """It may gain: that is no answer to the question."""
    text = headline(*made_up(ALIKE, ALIKE, control=BETTER))
    assert text.startswith("Not shown")
    assert headline(*made_up(ALIKE, ALIKE, control=CONTROL)).startswith("Not shown")
