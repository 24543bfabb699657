"""A loader for several trainings at once serves each of them what its own loader would, to the bit."""

from dataclasses import replace

import pytest
import torch

import drkd
from drkd.data import lanes
from drkd.data.augment import AUGMENTATIONS, Augmentation
from drkd.data.lanes import LanesLoader, misfit
from drkd.data.loader import Loader
from drkd.errors import InputError

SEEDS = (3, 0, 7)


def random_data(augmentation, count=23):
    """Data sets that differ in pictures, labels and statistics, as splits of other seeds do."""
    data = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        pictures = torch.randint(256, (count, 3, 6, 6), dtype=torch.uint8, generator=generator)
        split = drkd.Split(pictures, torch.randint(4, (count,), generator=generator))
        mean, std = ((0.4 + seed / 50, 0.5, 0.6), (0.2, 0.3 - seed / 100, 0.25))
        data.append(drkd.Data("random", tuple("abcd"), split, split, split, AUGMENTATIONS[augmentation], mean, std))
    return data


def both(data, **options):
    """The loader of all lanes, and each lane's own."""
    together = LanesLoader(data, [lane.train for lane in data], seeds=SEEDS, **options)
    return together, [Loader(lane, lane.train, seed=seed, **options) for lane, seed in zip(data, SEEDS, strict=True)]


def assert_same(together, alone, count, **where):
    batches = zip(together.batches(**where), *(loader.batches(**where) for loader in alone), strict=True)
    for batch, *own in batches:
        assert torch.equal(batch.inputs, torch.cat([part.inputs for part in own]))
        assert torch.equal(batch.labels, torch.cat([part.labels for part in own]))
        assert torch.equal(batch.index, torch.cat([part.index + i * count for i, part in enumerate(own)]))
        assert batch.share == 1 / len(own[0].labels)


@pytest.mark.parametrize("augmentation", ["none", "shift", "cifar"])
@pytest.mark.parametrize("batch_size", [5, 11, 64])
def test_lanes_get_the_pictures_of_their_own_loaders_to_the_bit(augmentation, batch_size):
    together, alone = both(random_data(augmentation), batch_size=batch_size, training=True)
    assert len(together) == len(alone[0])
    for epoch in range(3):
        assert_same(together, alone, 23, epoch=epoch)


def test_digits_too_with_statistics_of_each_seed():
    data = [drkd.load_data("digits", seed=seed, limit_train=150) for seed in SEEDS]
    assert len({lane.mean for lane in data}) > 1
    assert_same(*both(data, batch_size=50, training=True), 150, epoch=1)


def test_how_many_batches_are_made_ready_at_once_changes_nothing(monkeypatch):
    monkeypatch.setattr(lanes, "FLOATS_AT_ONCE", 2 * 3 * 5 * 3 * 36)
    assert_same(*both(random_data("cifar"), batch_size=5, training=True), 23, epoch=1)


def test_an_epoch_can_be_entered_anywhere():
    together, alone = both(random_data("shift"), batch_size=5, training=True)
    assert_same(together, alone, 23, epoch=2, start=3)


def test_without_training_they_come_in_order_and_as_they_are():
    together, alone = both(random_data("cifar"), batch_size=8, training=False)
    assert_same(together, alone, 23)


def test_what_cannot_be_served_together_is_refused_with_the_reason():
    data = random_data("none")
    splits = [lane.train for lane in data]
    assert misfit(data, splits) is None
    shorter = [splits[0].select(torch.arange(20)), *splits[1:]]
    unlabelled = [drkd.Split(splits[0].inputs, splits[0].labels.where(splits[0].labels > 0, -100)), *splits[1:]]
    other = [replace(data[0], augmentation=Augmentation(flip=True)), *data[1:]]
    cropped = random_data("imagenet")
    for lane_data, lane_splits, reason in (
        (data, shorter, "differ in length"),
        (data, unlabelled, "do not count"),
        (other, splits, "augmentations differ"),
        (cropped, splits, "resized crops"),
    ):
        assert reason in misfit(lane_data, lane_splits)
    with pytest.raises(InputError, match="cannot be served together: the splits differ"):
        LanesLoader(data, shorter, batch_size=5, training=True, seeds=SEEDS)
