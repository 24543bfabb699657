import math

import pytest
import torch

import drkd
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


@pytest.mark.parametrize("make", [drkd.tf_kd_reg, lambda **how: drkd.dr_kd(lambda x: x, **how)])
@pytest.mark.parametrize(
    ("schedule", "weights"),
    [("linear", (0.6, 0.45, 0.3)), ("cosine", (0.6, 0.5121320343559642, 0.3)), ("rising", (0.0, 0.15, 0.3))],
)
def test_alpha_on_a_schedule_is_that_alpha_at_every_time(make, schedule, weights):
    """At progress 0, 1/4 and 1/2, against the same method with the weight as a constant."""
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    inputs = torch.randn(5, 3)
    moving = make(alpha=0.6, temperature=2.0, alpha_schedule=schedule)
    for progress, alpha in zip((0.0, 0.25, 0.5), weights, strict=True):
        moving.update(progress=progress)
        expected = make(alpha=alpha, temperature=2.0)(logits, labels, inputs=inputs)["loss"]
        torch.testing.assert_close(moving(logits, labels, inputs=inputs)["loss"], expected)
    with pytest.raises(drkd.InputError, match="alpha_schedule"):
        make(alpha_schedule="sideways")
