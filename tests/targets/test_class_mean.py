import numpy as np
import pytest
import torch

from asking import ask
from drkd import ClassMean, MixedLabels, StudentBatch, swap
from oracles.neighbours import class_means

RIGHT = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
LABELS = torch.tensor([0, 1])


def see(target, logits, labels=LABELS, epoch=0):
    """A call and its update; what the target said, as probabilities."""
    said, valid = ask(target, logits, labels)
    assert valid is None
    target.update(epoch)
    return said.exp()


def means(target):
    """Row c: what the target says of class c."""
    return ask(target.eval(), torch.zeros(3, 3), torch.arange(3))[0].exp()


def test_the_first_epoch_is_uniform_the_next_has_its_means():
    target = ClassMean()
    more = torch.tensor([[1.0, 0.0, 0.0], [3.0, 2.0, 0.0]])
    for logits, epoch in ((RIGHT, 0), (more, 1)):
        assert torch.allclose(see(target, logits, epoch=epoch), torch.full((2, 3), 1 / 3))
    expected = class_means(torch.cat([RIGHT, more]).numpy(), np.tile(LABELS, 2))
    assert torch.allclose(see(target, RIGHT, epoch=1), torch.tensor(expected[:2], dtype=torch.float32))
    assert torch.allclose(means(target), torch.tensor(expected, dtype=torch.float32))


def test_samples_predicted_wrong_do_not_count():
    target = ClassMean()
    see(target, RIGHT, torch.tensor([0, 0]), epoch=1)
    assert torch.allclose(means(target)[0], RIGHT[0].softmax(0))
    assert torch.allclose(means(target)[1:], torch.full((2, 3), 1 / 3))


def test_a_class_without_a_right_prediction_is_uniform_again():
    """No memory beyond the last epoch."""
    target = ClassMean()
    see(target, RIGHT, epoch=1)
    see(target, RIGHT[:1], LABELS[:1], epoch=2)
    assert torch.allclose(means(target), torch.stack([RIGHT[0].softmax(0), *torch.full((2, 3), 1 / 3)]))


def test_an_epoch_without_a_step_forgets_it():
    target = ClassMean()
    see(target, RIGHT, epoch=1)
    target.update(epoch=2)
    assert torch.allclose(means(target), torch.full((3, 3), 1 / 3))


def test_an_epoch_ends_though_its_last_step_was_skipped():
    """The skipped step's samples count in neither epoch."""
    target = ClassMean()
    see(target, RIGHT[:1], LABELS[:1])
    ask(target, 5 * RIGHT, LABELS)
    target.discard()
    target.end_epoch(1)
    expected = torch.stack([RIGHT[0].softmax(0), *torch.full((2, 3), 1 / 3)])
    assert torch.allclose(see(target, 3 * RIGHT, epoch=1), expected[:2])
    assert torch.allclose(means(target), expected)


def test_an_epoch_ends_once():
    target = ClassMean()
    see(target, RIGHT, epoch=1)
    first = means(target)
    for _ in range(3):
        see(target.train(), -RIGHT, epoch=1)
        assert torch.equal(means(target), first)


def test_a_probability_of_zero_stays_finite():
    target = ClassMean()
    see(target, torch.tensor([[1000.0, 0.0, -1000.0]]), torch.tensor([0]), epoch=1)
    logits, _ = ask(target, torch.zeros(1, 3), torch.tensor([0]))
    assert logits.isfinite().all()
    assert torch.allclose(logits.softmax(1), torch.tensor([[1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("seed", range(5))
def test_the_class_means_leave_nothing_to_rectify(seed):
    """Each of the averaged predictions has its maximum at the label."""
    target, random = ClassMean(), torch.Generator().manual_seed(seed)
    see(target, torch.randn(20, 3, generator=random), torch.randint(0, 3, (20,), generator=random), epoch=1)
    said, _ = ask(target, torch.zeros(3, 3), torch.arange(3))
    assert not torch.allclose(said.exp(), torch.full((3, 3), 1 / 3))
    assert torch.equal(swap(said, torch.arange(3)), said)


def test_every_call_since_the_last_update_counts_and_ignored_rows_do_not():
    parts, whole = ClassMean(), ClassMean()
    ask(parts, RIGHT[:1], LABELS[:1])
    see(parts, torch.cat([RIGHT[1:], RIGHT[:1]]), torch.tensor([1, -100]), epoch=1)
    see(whole, RIGHT, epoch=1)
    assert torch.equal(means(parts), means(whole))


@pytest.mark.parametrize("epoch", [0, 1])
def test_state_restores_into_an_empty_target(epoch):
    """In the middle of an epoch, and after its end."""
    target, other = ClassMean(), ClassMean()
    see(target, RIGHT, epoch=epoch)
    other.load_state_dict(target.state_dict())
    for both in (target, other):
        see(both, RIGHT / 2, epoch=1)
    assert torch.equal(means(target), means(other))
    assert other.epochs.completed == 1


def test_half_precision_is_averaged_in_float32():
    target = ClassMean()
    said, _ = ask(target, RIGHT.to(torch.bfloat16), LABELS)
    assert said.dtype is torch.bfloat16
    target.update(epoch=1)
    assert target.means.dtype is torch.float32
    assert torch.allclose(means(target)[:2], RIGHT.softmax(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_averages_distributions_in_full_precision(dtype):
    target, logits = ClassMean(), torch.tensor([[40.0, 0.0, -30.0], [1.0, 3.0, 0.0], [0.0, 1.0, 2.0]])
    labels = torch.tensor([[0.9, 0.1, 0.0], [0.07, 0.8, 0.13], [0.0, 0.3, 0.7]])
    with torch.autocast("cpu", dtype):
        for epoch in (1, 2):  # by what the first gave, the second is taught
            taught = target(StudentBatch(logits, labels.argmax(1), mixed=MixedLabels(labels))).logits
            target.update(epoch)
    shares, said = labels.double(), logits.double().softmax(1)
    expected = shares @ ((shares.T @ said) / shares.sum(0)[:, None])
    assert taught.dtype is torch.float32
    assert torch.allclose(taught.double().exp(), expected, rtol=1e-5, atol=0)
