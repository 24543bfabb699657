import math

import pytest

from drkd.objective.schedules import complement, growing, learning_rate, linear

PLAN = {"lr": 0.1, "steps_per_epoch": 10, "epochs": 200}


def test_step_schedule_is_the_papers():
    """Divided by 5 at epochs 60, 120 and 160 of 200."""
    rates = [learning_rate(epoch * 10, **PLAN) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_cosine_ends_at_zero_and_is_half_in_the_middle():
    cosine = {**PLAN, "schedule": "cosine"}
    assert learning_rate(0, **cosine) == 0.1
    assert learning_rate(1000, **cosine) == pytest.approx(0.05)
    assert learning_rate(2000, **cosine) == pytest.approx(0, abs=1e-12)


def test_constant_stays():
    assert {learning_rate(step, **PLAN, schedule="constant") for step in (0, 700, 1999)} == {0.1}


def test_warmup_climbs_in_a_line_to_the_schedule():
    rates = [learning_rate(step, **PLAN, warmup_epochs=1) for step in range(11)]
    assert rates == pytest.approx([0.1 * min(1, (step + 1) / 10) for step in range(11)])


def test_growing_weight_is_the_published_staircase():
    assert [growing(0.8, 4)(math.nan, epoch) for epoch in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_growing_weight_without_epochs_follows_progress():
    assert [growing(0.8)(p, 99) for p in (0.0, 0.25, 1.0)] == pytest.approx([0.0, 0.2, 0.8])


def test_complement_adds_up_to_one():
    weight = growing(0.8)
    assert complement(weight)(0.3, 0) + weight(0.3, 0) == 1


def test_milestones_and_factor_can_be_chosen():
    rates = [learning_rate(epoch * 10, **PLAN, milestones=(0.75, 0.875), gamma=0.1) for epoch in (149, 150, 174, 175)]
    assert rates == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_linear_weight_goes_from_one_end_to_the_other():
    assert [linear(0.1, 0.2)(p, 7) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.15, 0.2])
