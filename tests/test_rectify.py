import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd import InputError, swap
from oracles.public_code import swapped

batches = st.tuples(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 12))


def case(seed, n, k, ties=False):
    rng = np.random.default_rng(seed)
    v = rng.integers(0, 3, size=(n, k)).astype(float) if ties else rng.normal(size=(n, k))
    return v, rng.integers(0, k, n)


@settings(deadline=None, max_examples=80)
@given(batch=batches, ties=st.booleans())
def test_equals_a_swap_row_by_row(batch, ties):
    v, y = case(*batch, ties=ties)
    assert np.array_equal(swap(torch.tensor(v), torch.tensor(y)).numpy(), swapped(v, y))


@settings(deadline=None, max_examples=80)
@given(batch=batches, ties=st.booleans())
def test_permutes_each_row_makes_the_label_a_maximum_and_is_done_once(batch, ties):
    v, y = (torch.tensor(part) for part in case(*batch, ties=ties))
    after = swap(v, y)
    assert torch.equal(after.sort(dim=1).values, v.sort(dim=1).values)
    assert torch.equal(after.gather(1, y[:, None])[:, 0], v.max(dim=1).values)
    assert torch.equal(swap(after, y), after)


@settings(deadline=None, max_examples=40)
@given(batch=batches)
def test_commutes_with_softening(batch):
    v, y = (torch.tensor(part) for part in case(*batch))
    assert torch.allclose((swap(v, y) / 4).softmax(1), swap((v / 4).softmax(1), y))


def test_a_teacher_that_is_right_is_left_alone():
    logits = torch.randn(5, 8)
    assert torch.equal(swap(logits, logits.argmax(1)), logits)


def test_a_tie_at_the_maximum_is_left_alone():
    logits = torch.tensor([[2.0, 1.0, 2.0]])
    assert torch.equal(swap(logits, torch.tensor([2])), logits)


def test_never_in_place():
    logits = torch.tensor([[1.0, 0.0]])
    before = logits.clone()
    swap(logits, torch.tensor([1]))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_float_type(dtype):
    after = swap(torch.tensor([[1, 0]], dtype=dtype), torch.tensor([1]))
    assert after.dtype is dtype
    assert after.tolist() == [[0, 1]]


def test_dense_logits_equal_their_rows():
    logits, labels = torch.randn(2, 5, 3, 4), torch.randint(0, 5, (2, 3, 4))
    rows = swap(logits.movedim(1, -1).reshape(-1, 5), labels.reshape(-1)).view(2, 3, 4, 5).movedim(-1, 1)
    assert torch.equal(swap(logits, labels), rows)


def test_ignored_rows_pass_through():
    logits = torch.tensor([[3.0, 1.0], [3.0, 1.0]])
    assert torch.equal(swap(logits, torch.tensor([255, 1]), ignore_index=255), torch.tensor([[3.0, 1.0], [1.0, 3.0]]))


def test_gradients_flow_through_the_permutation():
    logits = torch.tensor([[3.0, 1.0]], requires_grad=True)
    (swap(logits, torch.tensor([1])) * torch.tensor([[10.0, 1.0]])).sum().backward()
    assert logits.grad.tolist() == [[1.0, 10.0]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.rand(2, 3), r"integer labels \(2,\), got float32 \(2, 3\); turn mixup"),
        (torch.tensor([0, 3]), "labels from 0 to 2 .* got 0 to 3"),
        (torch.tensor([0, -1]), "labels from 0 to 2 .* got -1 to 0"),
        (torch.tensor([0]), r"labels \(2,\) beside logits \(2, 3\), got \(1,\)"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        swap(torch.zeros(2, 3), labels)
