import pytest
import torch

from drkd.training.learner import StepLosses
from drkd.training.sums import WAITING, EpochSums


def batches(count):
    """Of different sizes; a term joins after a third of them."""
    for number in range(count):
        parts = {"loss": torch.rand(()), "ce": torch.rand(())}
        if number > count // 3:
            parts["soft"] = torch.rand(())
        rows = torch.tensor(5 + number % 3)
        yield StepLosses(parts["loss"], parts, rows, correct=torch.tensor(number % 4))


@pytest.mark.parametrize("flushed_after", [1, 7, 10**6])
def test_means_are_sums_in_order_over_the_rows_that_have_them_to_the_bit(flushed_after):
    """However often a checkpoint adds up what waits."""
    sums, expected, rows = EpochSums(), {}, {}
    for number, losses in enumerate(batches(3 * WAITING), 1):
        sums.add(losses)
        if number % flushed_after == 0:
            sums.flush()
        added = {name: float(part.double()) * int(losses.rows) for name, part in losses.parts.items()}
        for name, value in {**added, "train_accuracy": int(losses.correct)}.items():
            expected[name] = expected.get(name, 0.0) + value
            rows[name] = rows.get(name, 0) + int(losses.rows)
    assert rows["soft"] < rows["loss"]
    assert sums.means() == {name: total / rows[name] for name, total in expected.items()}


def test_the_next_epoch_begins_at_0():
    sums = EpochSums()
    for _ in range(2):
        sums.add(StepLosses(torch.tensor(2.0), {"loss": torch.tensor(2.0)}, torch.tensor(4)))
        assert sums.means() == {"loss": 2.0}
