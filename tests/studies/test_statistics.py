import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from drkd.studies.statistics import holm, mean_and_deviation, paired

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=10)


@settings(deadline=None, max_examples=60)
@given(scores)
def test_paired_equals_scipy(pairs):
    ours, theirs = (list(column) for column in zip(*pairs, strict=True))
    differences = np.subtract(ours, theirs)
    if differences.std() < 1e-6:
        return
    result = paired(ours, theirs)
    expected = scipy_stats.ttest_rel(ours, theirs)
    interval = expected.confidence_interval(0.95)
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert result.ci95 == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert result.mean_difference == pytest.approx(differences.mean())


def test_missing_seeds_are_left_out_in_pairs():
    assert paired([0.9, None, 0.8], [0.8, 0.7, 0.6]) == paired([0.9, 0.8], [0.8, 0.6])


def test_one_seed_has_no_interval():
    result = paired([0.9], [0.8])
    assert (result.ci95, result.p_value, result.seeds) == (None, None, 1)


def test_no_common_seed_is_none():
    assert paired([None], [0.8]) is None


def test_zero_variance_gives_a_point():
    ours, theirs = [0.5, 0.75, 0.5], [0.25, 0.5, 0.25]
    assert paired(ours, theirs).ci95 == (0.25, 0.25)
    assert paired(ours, theirs).p_value is None
    assert paired(ours, ours).p_value == 1.0


def test_two_pairs_have_an_interval_and_no_test():
    result = paired([0.9, 0.8], [0.8, 0.6])
    assert result.ci95 is not None
    assert (result.p_value, result.seeds) == (None, 2)
    assert paired([0.9, 0.8], [0.9, 0.8]).p_value is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_monotone_and_between_raw_and_bonferroni(p_values):
    corrected = holm(p_values)
    by_raw = [corrected[i] for i in np.argsort(p_values, kind="stable")]
    assert by_raw == sorted(by_raw)
    for raw, adjusted in zip(p_values, corrected, strict=True):
        assert raw <= adjusted <= min(1.0, max(raw, len(p_values) * raw)) + 1e-12 or adjusted == max(corrected)


def test_mean_of_nothing_is_nan():
    mean, deviation = mean_and_deviation([None])
    assert math.isnan(mean)
    assert deviation is None
