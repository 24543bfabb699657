"""Mixup and cutmix of the loader: by loops written by hand, replayable, the same on any number of ranks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta

import drkd
from drkd.data.augment import random_numbers
from drkd.data.loader import Loader
from drkd.data.mixing import VIEW, Mixing, cut_boxes, draw
from drkd.utils.checks import IGNORED

BOTH = Mixing(mixup=0.4, cutmix=1.0, prob=0.8)


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=90, augment="shift")


def served(data, mixing, *, epoch=1, start=0, batch_size=20, **others):
    loader = Loader(data, data.train, batch_size=batch_size, training=True, seed=5, **others)
    loader.mixing = mixing
    return list(loader.batches(epoch, start))


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4, prob=0.7), Mixing(cutmix=1.0), BOTH])
def test_every_image_is_mixed_with_the_next_one_as_its_numbers_say(data, mixing):
    plain, mixed = served(data, Mixing()), served(data, mixing)
    kinds = set()
    for before, after in zip(plain, mixed, strict=True):
        assert torch.equal(after.index, before.index)
        assert torch.equal(after.labels.partner_index, before.index.roll(-1))
        for row, sample in enumerate(before.index.tolist()):
            other = (row + 1) % len(before.index)
            whether, which, amount, across, down = random_numbers(5, 1, VIEW, np.array([sample]), count=5)[0]
            expected, weight = before.inputs[row].clone(), 1.0
            if whether < mixing.prob and mixing.mixup and (which < 0.5 or not mixing.cutmix):
                kinds.add("mixup")
                weight = beta.ppf(amount, mixing.mixup, mixing.mixup)
                expected = weight * expected + (1 - weight) * before.inputs[other]
            elif whether < mixing.prob:
                kinds.add("cutmix")
                half = int(8 * (1 - amount) ** 0.5 / 2)  # Beta(1, 1) is uniform
                x, y = int(8 * across), int(8 * down)
                inside = 0
                for i in range(max(y - half, 0), min(y + half, 8)):
                    for j in range(max(x - half, 0), min(x + half, 8)):
                        expected[:, i, j] = before.inputs[other][:, i, j]
                        inside += 1
                weight = 1 - inside / 64
            else:
                kinds.add("plain")
            assert torch.allclose(after.inputs[row], expected, atol=1e-6)
            assert after.labels.weight[row].item() == pytest.approx(weight, abs=1e-6)
            probs = torch.zeros(10)
            probs[before.labels[row]] += weight
            probs[before.labels[other]] += 1 - weight
            assert torch.allclose(after.labels.probs[row], probs, atol=1e-6)
    assert kinds == {"plain", *(["mixup"] if mixing.mixup else []), *(["cutmix"] if mixing.cutmix else [])}


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.index, other.index)
        for name in ("probs", "weight", "partner_index"):
            assert torch.equal(getattr(one.labels, name), getattr(other.labels, name))


def test_batches_are_replayed_to_the_bit_from_any_one_on_and_differ_by_epoch(data, monkeypatch):
    whole = served(data, BOTH)
    assert_same(served(data, BOTH, start=2), whole[2:])
    monkeypatch.setattr("drkd.data.loader.BLOCK_BYTES", 1)  # each batch by itself
    assert_same(served(data, BOTH), whole)
    assert not torch.equal(served(data, BOTH, epoch=2)[0].labels.weight, whole[0].labels.weight)


def test_any_number_of_ranks_sees_the_same_images(data):
    whole = served(data, BOTH)
    for rank in range(3):
        for ours, all_rows in zip(served(data, BOTH, rank=rank, world_size=3), whole, strict=True):
            assert torch.equal(ours.inputs, all_rows.inputs[rank::3])
            assert torch.equal(ours.labels.probs, all_rows.labels.probs[rank::3])
            assert torch.equal(ours.labels.partner_index, all_rows.labels.partner_index[rank::3])
            assert torch.equal(ours.index, all_rows.index[rank::3])


def test_rows_that_do_not_count_are_mixed_with_none(data):
    labels = data.train.labels.clone()
    labels[::3] = IGNORED
    some = replace(data, train=replace(data.train, labels=labels))
    for batch in served(some, Mixing(mixup=1.0, prob=1.0)):
        ignored = labels[batch.index] == IGNORED
        assert torch.equal(batch.labels.heaviest == IGNORED, ignored)
        alone = ignored | ignored.roll(-1)
        assert torch.equal(batch.labels.weight == 1, alone)


def test_fractions_and_weights_are_as_asked_for():
    many = np.arange(20_000)
    numbers = draw(0, 0, many, np.ones(len(many), dtype=bool))
    assert abs((numbers[:, 0] < 0.3).mean() - 0.3) < 0.01
    assert (draw(0, 0, many, many % 2 == 0)[1::2, 0] == 1).all()
    assert np.corrcoef(numbers.T)[np.triu_indices(5, 1)].max() < 0.03


def test_boxes_are_clipped_at_the_borders():
    boxes = cut_boxes(np.array([0.0, 0.75, 1.0]), np.array([[0.5, 0.5], [0.99, 0.0], [0.3, 0.3]]), 6, 10)
    assert boxes.tolist() == [[0, 0, 10, 6], [7, 0, 10, 1], [3, 1, 3, 1]]


def test_tables_are_mixed_by_mixup_alone():
    table = drkd.from_tensors(
        (torch.randn(40, 3), torch.arange(40) % 2), (torch.randn(8, 3), torch.arange(8) % 2), validation=0
    )
    batch = served(table, Mixing(mixup=1.0, prob=1.0), batch_size=40)[0]
    weight = batch.labels.weight[:, None]
    plain = served(table, Mixing(), batch_size=40)[0].inputs
    assert torch.allclose(batch.inputs, weight * plain + (1 - weight) * plain.roll(-1, 0))
    network = torch.nn.Linear(3, 2)
    with pytest.raises(drkd.InputError, match=r"cutmix needs images \(N, C, H, W\), got inputs \(40, 3\)"):
        drkd.fit(network, drkd.cross_entropy(), table, epochs=1, cutmix=1.0)
    words = drkd.from_tensors(
        (torch.ones(4, 3, dtype=torch.int64), torch.arange(4) % 2),
        (torch.ones(2, 3).long(), torch.arange(2)),
        validation=0,
    )
    with pytest.raises(drkd.InputError, match=r"need images or floats, got torch\.int64 inputs"):
        drkd.fit(network, drkd.cross_entropy(), words, epochs=1, mixup=1.0)
