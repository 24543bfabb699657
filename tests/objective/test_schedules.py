import math

import pytest

from drkd.objective.schedules import Complement, Growing, Linear


def test_growing_weight_is_the_published_staircase():
    assert [Growing(0.8, 4)(math.nan, epoch) for epoch in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_growing_weight_without_epochs_follows_progress():
    assert [Growing(0.8)(p, 99) for p in (0.0, 0.25, 1.0)] == pytest.approx([0.0, 0.2, 0.8])


def test_complement_adds_up_to_one():
    weight = Growing(0.8)
    assert Complement(weight)(0.3, 0) + weight(0.3, 0) == 1


def test_linear_weight_goes_from_one_end_to_the_other():
    assert [Linear(0.1, 0.2)(p, 7) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.15, 0.2])
