import pytest
import torch

from asking import ask
from drkd import InputError, OneHot, Uniform, Virtual


def test_one_hot_has_no_soft_target_at_all():
    assert ask(OneHot(), torch.randn(3, 4), torch.tensor([0, 1, 2])) == (None, None)


def test_uniform_is_one_over_k():
    logits, valid = ask(Uniform(), torch.randn(2, 5), torch.tensor([0, 1]))
    assert valid is None
    assert torch.allclose(logits.softmax(1), torch.full((2, 5), 0.2))


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_virtual_teacher_by_hand(k):
    logits, _ = ask(Virtual(0.9), torch.zeros(1, k, dtype=torch.float64), torch.tensor([1]))
    probs = logits.softmax(1)[0]
    assert probs[1].item() == pytest.approx(0.9)
    assert probs[0].item() == pytest.approx(0.1 / (k - 1))


@pytest.mark.parametrize(("temperature", "on_label", "elsewhere"), [(10, 0.01103, 0.00999), (40, 0.010248, 0.0099975)])
def test_public_softening_of_probabilities_is_almost_uniform(temperature, on_label, elsewhere):
    """At K = 100 and correct_prob .99, as the public code softens."""
    logits, _ = ask(Virtual(0.99, probs_as_logits=True), torch.zeros(1, 100), torch.tensor([0]))
    probs = (logits / temperature).softmax(1)[0]
    assert probs[0].item() == pytest.approx(on_label, rel=1e-3)
    assert probs[1].item() == pytest.approx(elsewhere, rel=1e-3)


def test_virtual_covers_dense_logits_and_ignored_rows():
    logits, _ = ask(Virtual(0.9), torch.zeros(1, 3, 2), torch.tensor([[2, -100]]))
    assert logits.shape == (1, 3, 2)
    assert logits[0, :, 0].argmax() == 2
    assert logits.isfinite().all()


@pytest.mark.parametrize("correct_prob", [0.0, 1.0, 1.5])
def test_virtual_needs_a_probability(correct_prob):
    with pytest.raises(InputError, match="correct_prob must lie in"):
        Virtual(correct_prob)


def test_virtual_needs_two_classes():
    with pytest.raises(InputError, match="at least 2 classes"):
        ask(Virtual(), torch.zeros(1, 1), torch.tensor([0]))
