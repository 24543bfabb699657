"""Rectification with labels that name several classes: against loops written by hand."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
from drkd.targets.rectify import drop, smooth, swap, swap_in_order
from drkd.utils.labels import mix_labels

K = 5
ROWS = st.lists(
    st.tuples(
        st.lists(st.integers(-3, 3), min_size=K, max_size=K),  # logits, with ties
        st.lists(st.integers(0, 3), min_size=K, max_size=K),  # votes, with ties
    ),
    min_size=1,
    max_size=6,
)


def tensors(rows):
    votes = torch.tensor([votes for _, votes in rows], dtype=torch.float64)
    return torch.tensor([row for row, _ in rows], dtype=torch.float64), votes / votes.sum(1, keepdim=True).clamp(min=1)


def named_in_order(votes):
    """Classes above the smallest weight, the largest first, of equals the lower class."""
    return sorted((k for k in range(K) if votes[k] > min(votes)), key=lambda k: (-votes[k], k))


def by_hand(logits, votes):
    """The sequence of swaps in one row."""
    row, changed = list(logits), False
    for place, label in enumerate(named := named_in_order(votes)):
        left = [k for k in range(K) if k not in named[:place]]
        top = max(left, key=lambda k: (row[k], -k))
        if row[label] < row[top]:
            row[label], row[top] = row[top], row[label]
            changed = True
    return row, changed


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_swap_is_the_sequence_of_swaps(rows):
    logits, probs = tensors(rows)
    expected = [by_hand(row, votes) for row, votes in rows]
    after, changed = swap_in_order(logits, probs)
    assert after.tolist() == [row for row, _ in expected]
    assert changed.tolist() == [was_changed for _, was_changed in expected]
    assert swap(logits, probs).tolist() == after.tolist()
    assert torch.equal(after.sort(1).values, logits.sort(1).values)


@settings(max_examples=20, deadline=None)
@given(ROWS)
def test_swap_finds_the_order_that_agrees_best_with_the_label(rows):
    logits, probs = tensors(rows[:1])
    orders = logits[0][list(permutations(range(K)))]
    after = swap(logits, probs)
    assert (after * probs).sum().item() == pytest.approx((orders * probs).sum(1).max().item())


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_smooth_and_drop_act_where_the_largest_logit_is_of_no_named_class(rows):
    logits, probs = tensors(rows)
    wrong = []
    for row, votes in rows:
        named = named_in_order(votes)
        wrong.append(bool(named) and max(row[k] for k in named) < max(row))
    kept, stays = drop(logits, probs)
    assert torch.equal(kept, logits)
    assert stays.tolist() == [not mistake for mistake in wrong]
    smoothed = smooth(logits, probs, correct_prob=0.8)
    for number, mistake in enumerate(wrong):
        if mistake:
            mean = sum(
                probs[number, k] * smooth(-torch.eye(K)[k : k + 1].double(), torch.tensor([k]), correct_prob=0.8).exp()
                for k in range(K)
            )
            assert torch.allclose(smoothed[number].exp(), mean[0])
        else:
            assert torch.equal(smoothed[number], logits[number])


@settings(max_examples=25, deadline=None)
@given(ROWS, st.lists(st.integers(0, K - 1), min_size=6, max_size=6))
def test_one_class_is_the_papers_swap(rows, labels):
    logits, _ = tensors(rows)
    labels = torch.tensor(labels[: len(rows)])
    probs = torch.eye(K, dtype=torch.float64)[labels]
    for rectifier in (swap, smooth):
        assert torch.allclose(rectifier(logits, probs), rectifier(logits, labels), rtol=0, atol=1e-15)
    assert torch.equal(drop(logits, probs)[1], drop(logits, labels)[1])


def test_two_classes_of_a_mixed_image():
    logits = torch.tensor([[0.0, 5.0, 1.0, 3.0], [5.0, 3.0, 0.0, 1.0], [1.0, 2.0, 5.0, 3.0]])
    mixed = mix_labels(torch.tensor([0, 0, 2]), torch.tensor([2, 1, 2]), torch.tensor([0.3, 0.7, 0.5]), num_classes=4)
    after, changed = swap_in_order(logits, mixed.probs, mixed.most_named)
    assert after.tolist() == [[3, 1, 5, 0], [5, 3, 0, 1], [1, 2, 5, 3]]
    assert changed.tolist() == [True, False, False]


def test_what_a_label_gives_to_every_class_names_none():
    """timm's mixup smooths its labels: all but the two mixed classes keep the teacher's logits."""
    logits = torch.tensor([[0.0, 5.0, 1.0, 3.0]])
    smoothed = torch.tensor([[0.325, 0.025, 0.625, 0.025]])
    sharp = torch.tensor([[1 / 3, 0.0, 2 / 3, 0.0]])
    assert torch.equal(swap(logits, smoothed), swap(logits, sharp))
    assert torch.equal(swap(logits, torch.full((1, 4), 0.25)), logits)


def test_dense_rows_and_gradients_through_the_swaps():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, K, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    probs = torch.rand(2, K, 3, 3, generator=generator, dtype=torch.float64).softmax(1)
    after = swap(logits, probs)
    flat = swap(logits.movedim(1, -1).reshape(-1, K), probs.movedim(1, -1).reshape(-1, K))
    assert torch.equal(after.movedim(1, -1).reshape(-1, K), flat)
    values = torch.rand(after.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((after * values).sum(), logits)
    assert (gradient * logits).sum().item() == pytest.approx((after * values).sum().item())  # a permutation's
    assert torch.equal(gradient.sort(1).values, values.sort(1).values)


def test_rectified_counts_rows_that_were_changed_and_a_function_gets_the_distribution():
    seen = []

    def look(logits, labels):
        seen.append(labels)
        return logits

    teacher = torch.tensor([[5.0, 1.0, 0.0], [1.0, 5.0, 0.0], [0.0, 0.0, 9.0]])
    probs = torch.tensor([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.0, 0.0, 0.0]])
    losses = drkd.dr_kd(lambda inputs: teacher, 0.5)(torch.zeros(3, 3), probs, inputs=teacher)
    assert losses["rectified"].item() == 0.5
    drkd.dr_kd(lambda inputs: teacher, 0.5, rectify=look)(torch.zeros(3, 3), probs, inputs=teacher)
    assert torch.equal(seen[0][:2], probs[:2])
