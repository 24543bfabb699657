import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd import InputError, swap
from drkd.targets.rectify import RECTIFIERS, bayes, drop, smooth
from oracles.public_code import swapped

property_of = settings(deadline=None, max_examples=60, derandomize=True)
batches = st.tuples(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 12))


def case(seed, n, k, ties=False):
    rng = np.random.default_rng(seed)
    v = rng.integers(0, 3, size=(n, k)).astype(float) if ties else rng.normal(size=(n, k))
    return v, rng.integers(0, k, n)


@property_of
@given(batch=batches, ties=st.booleans())
def test_equals_a_swap_row_by_row(batch, ties):
    v, y = case(*batch, ties=ties)
    assert np.array_equal(swap(torch.tensor(v), torch.tensor(y)).numpy(), swapped(v, y))


@property_of
@given(batch=batches, ties=st.booleans())
def test_permutes_each_row_makes_the_label_a_maximum_and_is_done_once(batch, ties):
    v, y = (torch.tensor(part) for part in case(*batch, ties=ties))
    after = swap(v, y)
    assert torch.equal(after.sort(dim=1).values, v.sort(dim=1).values)
    assert torch.equal(after.gather(1, y[:, None])[:, 0], v.max(dim=1).values)
    assert torch.equal(swap(after, y), after)


@property_of
@given(batch=batches)
def test_commutes_with_softening(batch):
    v, y = (torch.tensor(part) for part in case(*batch))
    assert torch.allclose((swap(v, y) / 4).softmax(1), swap((v / 4).softmax(1), y))


@property_of
@given(batch=batches, ties=st.booleans(), correct_prob=st.floats(0.05, 0.95))
def test_smooth_writes_wrong_rows_anew_and_leaves_the_others(batch, ties, correct_prob):
    v, y = case(*batch, ties=ties)
    after = smooth(torch.tensor(v), torch.tensor(y), correct_prob=correct_prob).numpy()
    k = v.shape[1]
    for row, label, ours in zip(v, y, after, strict=True):
        if row[label] == row.max():
            assert np.array_equal(ours, row)
        else:
            expected = [correct_prob if j == label else (1 - correct_prob) / (k - 1) for j in range(k)]
            np.testing.assert_allclose(np.exp(ours), expected)


@property_of
@given(batch=batches, ties=st.booleans())
def test_drop_keeps_the_logits_and_the_rows_that_are_right(batch, ties):
    v, y = case(*batch, ties=ties)
    logits, stays = drop(torch.tensor(v), torch.tensor(y))
    assert np.array_equal(logits.numpy(), v)
    assert stays.tolist() == [row[label] == row.max() for row, label in zip(v, y, strict=True)]


@property_of
@given(batch=batches, ties=st.booleans())
def test_all_rectifiers_agree_on_what_is_wrong(batch, ties):
    v, y = (torch.tensor(part) for part in case(*batch, ties=ties))
    wrong = ~drop(v, y)[1]
    assert torch.equal((swap(v, y) != v).any(dim=1), wrong)
    assert torch.equal((smooth(v, y) != v).any(dim=1), wrong)


def logits_of(rectified):
    return rectified if isinstance(rectified, torch.Tensor) else rectified[0]


def stays(rectified):
    return None if isinstance(rectified, torch.Tensor) else rectified[1]


every = pytest.mark.parametrize("rectify", [swap, smooth, drop])


def test_they_are_known_by_their_names():
    known = {"swap": swap, "bayes": bayes, "smooth": smooth, "drop": drop}
    assert known == RECTIFIERS


@every
@pytest.mark.parametrize(("row", "label"), [([2.0, 1.0, 0.0], 0), ([2.0, 1.0, 2.0], 2), ([0.0, 0.0, 0.0], 1)])
def test_a_row_that_is_right_or_a_tie_at_the_maximum_is_left_alone(rectify, row, label):
    after = rectify(torch.tensor([row]), torch.tensor([label]))
    assert logits_of(after).tolist() == [row]
    assert stays(after) is None or stays(after).tolist() == [True]


@every
def test_never_in_place(rectify):
    logits, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    rectify(logits, labels)
    assert logits.tolist() == [[1.0, 0.0]]
    assert labels.tolist() == [1]


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("distributions", [False, True])
def test_values_that_are_new_have_at_least_float32_others_keep_their_type(rectify, dtype, distributions):
    logits, labels = torch.tensor([[1, 0], [1, 0]], dtype=dtype), torch.tensor([1, 0])
    labels = torch.eye(2)[labels] if distributions else labels
    after = logits_of(rectify(logits, labels))
    assert after.dtype is (torch.promote_types(dtype, torch.float32) if rectify is smooth else dtype)
    exact = logits_of(rectify(logits.double(), labels))
    assert torch.allclose(after.double(), exact, rtol=1e-6)


@every
def test_dense_logits_equal_their_rows(rectify):
    logits, labels = torch.randn(2, 5, 3, 4), torch.randint(0, 5, (2, 3, 4))
    labels[1, 1, 1] = -100
    ours, rows = rectify(logits, labels), rectify(logits.movedim(1, -1).reshape(-1, 5), labels.reshape(-1))
    assert torch.equal(logits_of(ours).movedim(1, -1).reshape(-1, 5), logits_of(rows))
    assert stays(ours) is None or torch.equal(stays(ours).flatten(), stays(rows))


@every
def test_ignored_rows_pass_through(rectify):
    logits = torch.tensor([[1.0, 3.0, 0.0], [1.2, 1.0, 0.9]])
    after = rectify(logits, torch.tensor([255, 1]), ignore_index=255)
    assert torch.equal(logits_of(after)[0], logits[0])
    assert stays(after) is None or stays(after).tolist() == [True, False]
    assert stays(after) is not None or not torch.equal(logits_of(after)[1], logits[1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_labels_of_any_integer_type_are_the_same_labels(dtype):
    """As a byte, 156 is equal to -100."""
    logits, labels = torch.randn(4, 200), torch.tensor([0, 1, 100, 156 if dtype != torch.int8 else 99])
    for rectify in RECTIFIERS.values():
        expected, found = rectify(logits, labels), rectify(logits, labels.to(dtype))
        for one, other in zip(*((x,) if isinstance(x, torch.Tensor) else x for x in (expected, found)), strict=True):
            assert torch.equal(one, other)


def test_gradients_flow_through_the_swap():
    """Wrong, right, tied and ignored: each logit gets the gradient of the place it went to."""
    logits = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [3.0, 3.0, 0.0], [3.0, 1.0, 0.0]], requires_grad=True)
    (swap(logits, torch.tensor([1, 0, 1, -100])) * torch.tensor([10.0, 1.0, 5.0])).sum().backward()
    assert logits.grad.tolist() == [[1.0, 10.0, 5.0], *[[10.0, 1.0, 5.0]] * 3]


def test_smooth_is_softened_by_a_temperature_like_any_logits():
    """Log-probabilities at T: proportional to p^(1/T)."""
    after = smooth(torch.tensor([[5.0, 1.0, 2.0]]), torch.tensor([2]), correct_prob=0.64)
    powers = torch.tensor([0.18, 0.18, 0.64]).sqrt()
    assert torch.allclose((after / 2).softmax(1)[0], powers / powers.sum())


@pytest.mark.parametrize("correct_prob", [0.0, 1.0, 1.2])
def test_smooth_needs_a_probability(correct_prob):
    with pytest.raises(InputError, match="correct_prob must lie in"):
        smooth(torch.zeros(1, 2), torch.tensor([0]), correct_prob=correct_prob)


def test_smooth_needs_two_classes():
    with pytest.raises(InputError, match="`smooth` needs at least 2 classes"):
        smooth(torch.zeros(1, 1), torch.tensor([0]))


@every
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((2, 3), 0.5), r"weights that add up to 1 in each row .*, got a sum of 1\.5; divide votes"),
        (torch.rand(2), r"integer labels \(2,\) or distributions \(2, 3\), got float32 \(2,\)"),
        (torch.tensor([0, 3]), "labels from 0 to 2 .* got 0 to 3"),
        (torch.tensor([0, -1]), "labels from 0 to 2 .* got -1 to 0"),
        (torch.tensor([0]), r"labels \(2,\) beside logits \(2, 3\), got \(1,\)"),
    ],
)
def test_bad_labels_are_refused(rectify, labels, message):
    with pytest.raises(InputError, match=f"`{rectify.__name__}` needs .*{message}"):
        rectify(torch.zeros(2, 3), labels)
