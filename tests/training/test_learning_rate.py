import pytest

from drkd.config import ScheduleOptions
from drkd.training.learning_rate import learning_rate


def rates(steps, **changes):
    """Of a training of 200 epochs of 10 steps."""
    options = ScheduleOptions(**{"lr": 0.1, "epochs": 200, **changes})
    return [learning_rate(step, options, steps_per_epoch=10) for step in steps]


def test_step_schedule_is_the_papers():
    """Divided by 5 at epochs 60, 120 and 160 of 200."""
    found = rates(10 * epoch for epoch in (0, 59, 60, 119, 120, 159, 160, 199))
    assert found == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_cosine_ends_at_zero_and_is_half_in_the_middle():
    first, middle, end = rates((0, 1000, 2000), schedule="cosine")
    assert first == 0.1
    assert middle == pytest.approx(0.05)
    assert end == pytest.approx(0, abs=1e-12)


def test_constant_never_changes():
    assert set(rates((0, 700, 1999), schedule="constant")) == {0.1}


def test_warmup_climbs_linearly_to_the_schedule():
    expected = [0.1 * min(1, (step + 1) / 10) for step in range(11)]
    assert rates(range(11), warmup_epochs=1) == pytest.approx(expected)


def test_milestones_and_factor_can_be_chosen():
    found = rates((1490, 1500, 1740, 1750), milestones=(0.75, 0.875), gamma=0.1)
    assert found == pytest.approx([0.1, 0.01, 0.01, 0.001])
