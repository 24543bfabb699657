"""What a teacher believes after it hears a label that may be wrong: against sums over all that may have happened."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
from drkd import InputError
from drkd.targets.rectify import bayes, rectifier_of

property_of = settings(deadline=None, max_examples=50, derandomize=True)


def by_hand(probs, label, wrong):
    """P(class | label) of a row, from P(class) and P(label | class)."""
    joint = [p * (1 - wrong if k == label else wrong / (len(probs) - 1)) for k, p in enumerate(probs)]
    return [each / sum(joint) for each in joint]


@property_of
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 8), st.floats(0.01, 0.95))
def test_is_the_rule_of_bayes(seed, rows, classes, wrong):
    rng = np.random.default_rng(seed)
    probs, labels = rng.dirichlet(np.ones(classes), rows), rng.integers(0, classes, rows)
    after = bayes(torch.tensor(np.log(probs)), torch.tensor(labels), wrong=wrong).softmax(dim=1)
    expected = [by_hand(row, label, wrong) for row, label in zip(probs, labels, strict=True)]
    np.testing.assert_allclose(after.numpy(), expected, rtol=1e-9)


def test_a_label_that_says_nothing_changes_nothing():
    """With K classes a label that is wrong with probability (K - 1) / K is drawn at random."""
    logits = torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(bayes(logits, torch.tensor([0, 1, 2, 3]), wrong=0.8), logits)


def test_dense_logits_ignored_rows_and_half_precision():
    logits, labels = torch.randn(2, 5, 3), torch.randint(0, 5, (2, 3))
    labels[1, 1] = -100
    after = bayes(logits, labels)
    flat = bayes(logits.movedim(1, -1).reshape(-1, 5), labels.reshape(-1))
    assert torch.equal(after.movedim(1, -1).reshape(-1, 5), flat)
    assert torch.equal(after[1, :, 1], logits[1, :, 1])
    for dtype in (torch.float16, torch.bfloat16):  # the label's logit rises by the logarithm of 0.8 * 2 / 0.2
        after = bayes(torch.tensor([[18.0, 2.0, 1.0]], dtype=dtype), torch.tensor([0]), wrong=0.2)
        assert after.tolist() == [[pytest.approx(18 + np.log(8)), 2, 1]]


def test_a_distribution_lifts_the_logits_by_its_weights():
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
    probs = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.25, 0.25], [0.0, 0.0, 0.0]], dtype=torch.float64)
    after = bayes(logits, probs, wrong=0.2)
    assert torch.allclose(after[0], bayes(logits, torch.tensor([1, 1, 1]), wrong=0.2)[0])
    assert torch.allclose(after[1] - logits[1], torch.tensor([0.25, 0, 0], dtype=torch.float64) * np.log(8))
    assert torch.equal(after[2], logits[2])


def test_the_gradient_is_that_of_the_logits():
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 4, dtype=torch.float64)
    (bayes(logits, torch.tensor([0, 1, -100])) * weights).sum().backward()
    assert torch.equal(logits.grad, weights)


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.1, float("nan")])
def test_an_error_rate_is_between_0_and_1(wrong):
    with pytest.raises(InputError, match="wrong"):
        bayes(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), wrong=wrong)
    with pytest.raises(InputError, match="at least 2 classes"):
        bayes(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize("name", ["bayes:0", "bayes:1", "bayes:1.5", "bayes:", "swap:0.5"])
def test_names_without_a_meaning_are_refused(name):
    with pytest.raises(InputError, match=f"unknown rectifier '{name}'"):
        rectifier_of(name)


def test_it_is_known_by_its_name_and_counts_every_row_with_a_label():
    logits, labels = torch.tensor([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1, -100])
    target = drkd.Rectified(drkd.Frozen(lambda inputs: inputs), "bayes:0.4")
    output = target(drkd.StudentBatch(torch.zeros(3, 2), labels, inputs=logits))
    assert torch.equal(output.logits, bayes(logits, labels, wrong=0.4))
    assert output.changed.tolist() == [True, True, False]
    assert output.valid is None
