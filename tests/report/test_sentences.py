"""Sentences say what the tests say, and no more."""

import sys
from pathlib import Path

import numpy as np
import pytest

from drkd.report.sentences import conclusions
from drkd.runs.results import ComparisonResults
from drkd.studies.results import compare_methods
from panels import ALIKE, BETTER, made_up

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from null_verdicts import VERDICTS, claims, null_panel, rates

BASE = [0.90, 0.91, 0.92, 0.90, 0.91]


def text_of(*arguments, **options):
    return " ".join(conclusions(*made_up(*arguments, **options)))


def compared(panel):
    return ComparisonResults([panel], compare_methods(panel), {}).of(panel)


def claimed(text):
    return [words for words in VERDICTS if words in text]


def test_sentences_say_what_is_shown():
    text = text_of(BETTER, ALIKE)
    assert "DR-KD is more accurate than cross-entropy here: +5.02 points, 95% interval +4.96 to +5.08." in text
    assert "No difference in accuracy from cross-entropy is shown for" in text
    assert "Tf-KD_self (+0.00 points, 95% interval" in text
    assert "Rectifying 5.0% of the targets helped: DR-KD minus Tf-KD_self" in text
    assert "At equal total epochs DR-KD is more accurate than cross-entropy 2x: +4.02 points" in text
    assert "At equal total epochs Tf-KD_self is not shown to differ from cross-entropy 2x: -1.00 points" in text


def test_sentences_say_when_rectifying_hurts():
    assert "Rectifying 5.0% of the targets hurt" in text_of(ALIKE, BETTER)


def test_a_small_difference_of_five_seeds_is_no_verdict_whatever_it_is_compared_with():
    """Its interval to the control leaves out 0, and so did a sentence."""
    slightly = [0.914, 0.9215, 0.935, 0.9205, 0.9145]
    panel, differences = made_up(slightly, ALIKE)
    test = differences["dr_kd", "cross_entropy_2x"]
    assert test.ci95[0] > 0
    assert test.p_value < 0.05 < test.p_holm
    text = " ".join(conclusions(panel, differences))
    assert "DR-KD is not shown to differ from cross-entropy 2x" in text


@pytest.mark.parametrize(
    ("label_noise", "settings", "said"),
    [(0.2, {}, True), (0.0, {}, False), (0.2, {"rectify": "drop"}, False), (0.2, {"rectify": "smooth"}, False)],
)
def test_only_the_swap_and_only_wrong_labels_write_wrong_labels_back(label_noise, settings, said):
    text = text_of(ALIKE, BETTER, label_noise=label_noise, settings=settings)
    assert ("20% of the labels wrong, the swap of DR-KD puts wrong labels back" in text) == said


@pytest.mark.parametrize("settings", [{"alpha": 0.5}, {"temperature": 4.0}, {"student_swap": True}, {"multiplier": 2}])
def test_no_effect_of_rectification_is_claimed_between_unequal_settings(settings):
    text = text_of(BETTER, ALIKE, settings=settings)
    assert "Rectifying" not in text
    assert "Tf-KD_self is" not in text.replace("Tf-KD_self is not shown", "")
    assert "equals" not in text_of(ALIKE, ALIKE, rectified=0.0, settings=settings)


def test_another_rectifier_at_equal_settings_is_compared():
    assert "Rectifying 5.0% of the targets helped" in text_of(BETTER, ALIKE, settings={"rectify": "drop"})


def test_variants_are_paired_by_their_settings():
    panel, _ = made_up(BETTER, ALIKE)
    for method in ("tf_kd_self", "dr_kd"):
        name = f"{method}:alpha=0.5"
        panel.methods[name] = panel.methods[method]
        panel.settings[name] = {**panel.settings[method], "alpha": 0.5}
    differences = compared(panel)
    pairs = {pair for pair in differences if pair[1].startswith("tf_kd_self")}
    assert pairs == {("dr_kd", "tf_kd_self"), ("dr_kd:alpha=0.5", "tf_kd_self:alpha=0.5")}
    text = " ".join(conclusions(panel, differences))
    assert "helped: DR-KD (alpha=0.5) minus Tf-KD_self (alpha=0.5), with otherwise equal settings" in text


def test_dr_kd_equals_tf_kd_self_only_where_it_does():
    start = "DR-KD had nothing to rectify: its teacher made no mistake in training, or none that its rectifier corrects"
    assert f"{start}, so it equals Tf-KD_self here." in text_of(ALIKE, ALIKE, rectified=0.0)
    assert f"{start}." in text_of(BETTER, ALIKE, rectified=0.0)
    failed = text_of([*ALIKE[:4], None], ALIKE, rectified=0.0)
    assert "DR-KD failed on 1 of 5 seeds: nothing is concluded about it." in failed
    assert "had nothing to rectify" not in failed


def test_more_seeds_are_advised_only_where_seeds_are_few():
    lost = [*BETTER[:4], None]
    assert "run at least 5" not in text_of(lost, lost, control=lost)
    panel, _ = made_up(BETTER, ALIKE)
    panel.methods["cross_entropy"].test["accuracy"][1:] = [None] * 4
    text = " ".join(conclusions(panel, compared(panel)))
    assert "cross-entropy failed on 4 of 5 seeds" in text.lower()
    assert "run at least 5" not in text
    for name in ("dr_kd", "tf_kd_self", "cross_entropy_2x"):
        del panel.methods[name]
    panel.costs_double.clear()
    assert "One seed" not in " ".join(conclusions(panel, compared(panel)))


def test_differences_without_variance_are_no_verdict():
    shifted = [value + 0.01 for value in BASE]
    text = text_of(shifted, BASE, control=BASE)
    assert not claimed(text)
    assert "DR-KD (+1.00 points on every seed, so there is nothing to test)" in text


def test_two_seeds_are_no_verdict():
    text = text_of(BETTER, ALIKE, seeds=2)
    assert not claimed(text)
    assert "2 seeds are too few for a test: run at least 5 (--seeds 5)." in text


def test_sentences_do_not_conclude_from_one_seed():
    assert conclusions(*made_up(BETTER, ALIKE, seeds=1)) == [
        "One seed shows no difference between methods: run at least 5 (--seeds 5)."
    ]


def test_a_method_that_failed_on_some_seeds_gets_no_verdict():
    """The seeds that remain are those on which it did well."""
    panel, differences = made_up([*BETTER[:4], None], ALIKE)
    assert differences["dr_kd", "cross_entropy"].p_value < 1e-4
    assert differences["dr_kd", "cross_entropy"].p_holm is None
    sentences = conclusions(panel, differences)
    assert sentences[0] == "DR-KD failed on 1 of 5 seeds: nothing is concluded about it."
    assert not any("DR-KD" in sentence for sentence in sentences[1:])


@pytest.mark.parametrize(("sizes", "size"), [((27, 18, 29, 27, 20), "18 to 29"), ((27,) * 5, "27")])
def test_a_note_that_differs_by_seed_in_its_number_is_one_note(sizes, size):
    panel, differences = made_up(BETTER, ALIKE)
    notes = [[f"the epoch is chosen on {number} validation samples only", "seed 3 of 5"] for number in sizes]
    for results in panel.methods.values():
        results.notes[:] = notes
    assert [each for each in conclusions(panel, differences) if each.startswith("Note: ")] == [
        f"Note: the epoch is chosen on {size} validation samples only.",
        "Note: seed 3 of 5.",
    ]


def test_nothing_is_said_of_calibration():
    panel, _ = made_up(ALIKE, ALIKE)
    panel.methods["dr_kd"].test["ece"][:] = [0.01, 0.02, 0.01, 0.02, 0.01]
    assert "alibration" not in " ".join(conclusions(panel, compared(panel)))


def test_without_any_effect_at_most_one_panel_in_twenty_has_a_verdict():
    (rate, low, _), (_, low_before, _) = rates(1500, seed=1)
    assert rate > 0.01
    assert low <= 0.05
    assert low_before > 0.15  # with the further pairs judged one by one


def test_an_effect_is_found():
    draw = np.random.default_rng(0)
    assert sum(claims(null_panel(draw, effect=0.1))[0] for _ in range(20)) >= 18
