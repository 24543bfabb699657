"""The swap where the teacher finds the label plausible: against probabilities worked out row by row."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
import drkd.config
from asking import ask
from drkd import InputError, swap
from drkd.targets.rectify import PLAUSIBLE, plausible, rectifier_of

property_of = settings(deadline=None, max_examples=60, derandomize=True)
batches = st.tuples(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 8))


def by_hand(logits, labels, ratio):
    """A row at a time, with the softmax written out."""
    rows = [list(row) for row in logits]
    for row, label in zip(rows, labels, strict=True):
        total = sum(math.exp(value) for value in row)
        probs = [math.exp(value) / total for value in row]
        best = probs.index(max(probs))
        if row[label] < row[best] and probs[label] >= ratio * probs[best]:
            row[label], row[best] = row[best], row[label]
    return rows


@property_of
@given(batch=batches, ratio=st.floats(0.001, 0.999), scale=st.sampled_from([0.3, 1.0, 4.0]))
def test_swaps_rows_whose_label_has_enough_of_the_largest_probability(batch, ratio, scale):
    seed, rows, classes = batch
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(scale=scale, size=(rows, classes)), rng.integers(0, classes, rows)
    found = plausible(torch.tensor(logits), torch.tensor(labels), ratio=ratio)
    assert found.tolist() == by_hand(logits.tolist(), labels.tolist(), ratio)


@property_of
@given(batch=batches)
def test_lies_between_no_rectification_and_the_swap(batch):
    seed, rows, classes = batch
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-3, 4, (rows, classes), generator=generator).double()  # with ties
    labels = torch.randint(classes, (rows,), generator=generator)
    assert torch.equal(plausible(logits, labels, ratio=0), swap(logits, labels))
    assert torch.equal(plausible(logits, labels, ratio=1), logits)
    after = plausible(logits, labels)
    swapped = (after == swap(logits, labels)).all(dim=1)
    assert (swapped | (after == logits).all(dim=1)).all()


def test_what_a_row_adds_to_all_its_logits_changes_nothing():
    logits, labels = torch.tensor([[4.0, 2.0, 0.0], [4.0, 0.5, 0.0]]), torch.tensor([1, 1])
    assert plausible(logits, labels).tolist() == [[2.0, 4.0, 0.0], [4.0, 0.5, 0.0]]
    assert plausible(logits + 1000, labels).tolist() == [[1002.0, 1004.0, 1000.0], [1004.0, 1000.5, 1000.0]]


def test_gradients_go_with_the_logits_that_were_swapped_and_no_others():
    """Plausible, implausible, right, tied and ignored."""
    rows = [[3.0, 1.0, 0.0], [9.0, 1.0, 0.0], [3.0, 1.0, 0.0], [3.0, 3.0, 0.0], [3.0, 1.0, 0.0]]
    logits = torch.tensor(rows, requires_grad=True)
    weights = torch.tensor([10.0, 1.0, 5.0])
    (plausible(logits, torch.tensor([1, 1, 0, 1, -100])) * weights).sum().backward()
    assert logits.grad.tolist() == [[1.0, 10.0, 5.0], *[[10.0, 1.0, 5.0]] * 4]


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_is_a_fraction(ratio):
    with pytest.raises(InputError, match="ratio"):
        plausible(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), ratio=ratio)


@pytest.mark.parametrize("name", ["plausible:2", "plausible:", "plausible:x", "drop:0.5"])
def test_names_without_a_meaning_are_refused(name):
    with pytest.raises(InputError, match=f"unknown rectifier '{name}'; choose swap, plausible, plausible:RATIO"):
        rectifier_of(name)


LOGITS, LABELS = torch.tensor([[3.0, 1, 2], [9, 5, 1], [4, 2, 1], [1, 2, 0]]), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("rectifier", "ratio"),
    [("plausible", PLAUSIBLE), ("plausible:0.01", 0.01), (partial(plausible, ratio=0.3), 0.3), (plausible, PLAUSIBLE)],
)
def test_a_target_is_rectified_and_counts_the_rows(rectifier, ratio):
    target = drkd.Rectified(drkd.Frozen(lambda inputs: inputs), rectifier)
    output = target(drkd.StudentBatch(torch.zeros(4, 3), LABELS, inputs=LOGITS))
    expected = by_hand(LOGITS.tolist(), LABELS.tolist(), ratio)
    assert output.logits.tolist() == expected
    assert output.changed.tolist() == [
        row != list(before) for row, before in zip(expected, LOGITS.tolist(), strict=True)
    ]
    ignored, _ = ask(target, torch.zeros(4, 3), LABELS.where(LABELS != 2, -100), LOGITS)
    assert ignored[2].tolist() == LOGITS[2].tolist()


@pytest.mark.parametrize(
    "method",
    [
        lambda student: drkd.dr_kd(student, rectify="plausible"),
        lambda student: drkd.online_dr_kd(rectify="plausible:0.5", source="memory"),
        lambda student: drkd.online_dr_kd(rectify="plausible", source="ema", student=student),
    ],
)
def test_every_source_of_targets_takes_it(method):
    data = drkd.load_data("digits", limit_train=60)
    student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    result = drkd.fit(student, method(student), data, epochs=2, batch_size=30)
    assert all(0 <= row["rectified"] <= 1 for row in result.history)


def test_is_known_on_the_command_line():
    settings, _ = drkd.config.resolve(drkd.config.TrainConfig, {"method": "dr_kd", "rectify": "plausible:0.2"})
    assert settings.rectify == "plausible:0.2"
    with pytest.raises(InputError, match=r"rectify.*plausible:RATIO"):
        drkd.config.resolve(drkd.config.TrainConfig, {"method": "dr_kd", "rectify": "plausible:7"})
