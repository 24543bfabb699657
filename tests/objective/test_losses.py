import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
from drkd.objective import losses
from drkd.objective.losses import entropy, hard_cross_entropy, kl_divergence, soft_cross_entropy
from oracles.public_code import softmax

temperatures = st.floats(0.25, 20)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 30), ours=temperatures, theirs=temperatures)
def test_soft_cross_entropy_equals_the_formula(seed, k, ours, theirs):
    z, v = np.random.default_rng(seed).normal(scale=4, size=(2, 3, k))
    expected = -(softmax(v / theirs) * np.log(softmax(z / ours))).sum(axis=1)
    got = soft_cross_entropy(torch.tensor(z), torch.tensor(v), student_temperature=ours, target_temperature=theirs)
    assert np.allclose(got.numpy(), expected, rtol=1e-10)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), temperature=temperatures)
def test_kl_is_cross_entropy_minus_entropy_and_never_negative(seed, temperature):
    z, v = torch.tensor(np.random.default_rng(seed).normal(scale=4, size=(2, 3, 7)))
    both = {"student_temperature": temperature, "target_temperature": temperature}
    kl = kl_divergence(z, v, **both)
    assert torch.allclose(kl, soft_cross_entropy(z, v, **both) - entropy(v, temperature=temperature), atol=1e-12)
    assert (kl >= -1e-12).all()


@pytest.mark.parametrize("large", [False, True])
def test_a_class_that_the_target_rules_out_counts_for_nothing(large, monkeypatch):
    """-inf among the target's logits: 0 log 0 is 0, and the rest is as if the class were not there."""
    monkeypatch.setattr(losses, "is_large", lambda logits: large)
    z, v = torch.randn(2, 5, 9, dtype=torch.float64)
    v[:, 3] = -torch.inf
    kept = [0, 1, 2, 4, 5, 6, 7, 8]
    target = v[:, kept].log_softmax(1)
    expected = (target.exp() * (target - z.log_softmax(1)[:, kept])).sum(1)
    assert torch.allclose(kl_divergence(z, v), expected)
    assert torch.allclose(entropy(v), entropy(v[:, kept]))
    soft, target_entropy = losses.soft_cross_entropy_and_entropy(z, v)
    assert torch.allclose(soft - target_entropy, expected)
    assert torch.allclose(soft, soft_cross_entropy(z, v))
    ruled_out = z.clone()
    ruled_out[:, 3] = -torch.inf  # for the student, too
    assert kl_divergence(ruled_out, v).isfinite().all()
    assert soft_cross_entropy(ruled_out, v).isfinite().all()
    given = drkd.kd(lambda inputs: v)(z, torch.arange(5) + 4, inputs=z)
    assert float(given["soft_kl"]) == pytest.approx(float(expected.mean()))


def test_kl_equals_torch():
    z, v = torch.randn(2, 5, 9, dtype=torch.float64)
    expected = F.kl_div(z.log_softmax(1), v.log_softmax(1), reduction="none", log_target=True).sum(1)
    assert torch.allclose(kl_divergence(z, v), expected)


def test_gradient_of_the_soft_term_is_that_of_the_kl():
    z, v = torch.randn(2, 4, 6, dtype=torch.float64)
    gradients = []
    for loss in (soft_cross_entropy, kl_divergence):
        student = z.clone().requires_grad_()
        loss(student, v, student_temperature=3, target_temperature=3).sum().backward()
        gradients.append(student.grad)
    assert torch.allclose(*gradients, atol=1e-14)
    assert torch.allclose(gradients[0], ((z / 3).softmax(1) - (v / 3).softmax(1)) / 3)


def test_dense_logits_equal_their_rows():
    z, v = torch.randn(2, 2, 5, 3, 4, dtype=torch.float64)
    rows = soft_cross_entropy(z.movedim(1, -1).reshape(-1, 5), v.movedim(1, -1).reshape(-1, 5)).view(2, 3, 4)
    assert torch.allclose(soft_cross_entropy(z, v), rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    logits = torch.full((2, 4), 6e4 if dtype is torch.float16 else 1e30, dtype=dtype)
    assert soft_cross_entropy(logits, -logits).dtype is torch.float32
    assert torch.allclose(soft_cross_entropy(logits, -logits), torch.tensor(4.0).log())


def test_float64_stays_float64():
    assert hard_cross_entropy(torch.zeros(1, 3, dtype=torch.float64), torch.tensor([0])).dtype is torch.float64


def test_ignored_rows_are_zero():
    rows = hard_cross_entropy(torch.randn(3, 4), torch.tensor([1, -100, 2]))
    assert rows[1] == 0
    assert (rows[[0, 2]] > 0).all()
