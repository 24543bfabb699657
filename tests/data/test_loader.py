"""A loader has no state: its batches are a function of (seed, epoch), cut alike for any number of ranks."""

import sys
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coded import MEAN, STD, coded_split, make, shown
from drkd.data.augment import Augmentation, augment
from drkd.data.datasets import Split
from drkd.data.images import LazyImages, in_threads
from drkd.data.problems import Problem
from drkd.utils.errors import InputError


def indices(loader, **where):
    return [batch.index.tolist() for batch in loader.batches(**where)]


def joined(batches):
    return [i for batch in batches for i in batch]


def test_the_order_is_the_same_for_the_same_seed_and_epoch():
    assert indices(make(seed=3), epoch=2) == indices(make(seed=3), epoch=2)


def test_a_loader_keeps_no_state_between_epochs():
    loader = make()
    first = indices(loader, epoch=4)
    indices(loader, epoch=5)
    next(loader.batches(epoch=4))
    assert indices(loader, epoch=4) == first


@pytest.mark.parametrize(("options", "epoch"), [({"seed": 1}, 0), ({"seed": 0}, 1)])
def test_another_seed_or_epoch_gives_another_order(options, epoch):
    assert indices(make(**options), epoch=epoch) != indices(make(seed=0), epoch=0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 1000), st.integers(0, 300))
def test_an_epoch_visits_every_sample_once(count, batch_size, seed, epoch):
    loader = make(count, batch_size, seed=seed)
    batches = indices(loader, epoch=epoch)
    assert sorted(joined(batches)) == list(range(count))
    assert len(batches) == len(loader)


def test_the_order_does_not_depend_on_the_batch_size():
    assert joined(indices(make(batch_size=4))) == joined(indices(make(batch_size=9)))


@pytest.mark.parametrize("start", range(6))
def test_start_skips_batches_exactly(start):
    loader = make(augmentation=Augmentation(pad=1, flip=True))
    whole = list(loader.batches(epoch=1))
    late = list(loader.batches(epoch=1, start=start))
    assert len(late) == len(whole) - start
    for ours, theirs in zip(late, whole[start:], strict=True):
        assert torch.equal(ours.index, theirs.index)
        assert torch.equal(ours.inputs, theirs.inputs)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(21, 5, [5, 5, 5, 6]), (20, 5, [5, 5, 5, 5]), (22, 5, [5, 5, 5, 5, 2]), (3, 2, [3]), (1, 5, [1]), (2, 1, [1, 1])],
)
def test_a_last_batch_of_one_joins_the_one_before(count, batch_size, sizes):
    assert [len(batch) for batch in indices(make(count, batch_size))] == sizes


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(4, 12), st.integers(1, 4))
def test_ranks_partition_every_batch(count, batch_size, world_size):
    order = joined(indices(make(count, batch_size)))
    ranks = [indices(make(count, batch_size, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for parts in zip(*ranks, strict=True):
        ours, order = order[: sum(map(len, parts))], order[sum(map(len, parts)) :]
        assert sorted(joined(parts)) == sorted(ours)
        assert len(ours) == batch_size or not order
    assert not order


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(8, 60), st.integers(8, 12), st.integers(1, 4))
def test_every_rank_has_two_samples_at_least(count, batch_size, world_size):
    for rank in range(world_size):
        assert min(map(len, indices(make(count, batch_size, rank=rank, world_size=world_size)))) >= 2


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 40), st.integers(4, 12), st.integers(1, 4))
def test_loss_scale_makes_the_mean_over_ranks_the_mean_over_the_batch(count, batch_size, world_size):
    ranks = [list(make(count, batch_size, rank=rank, world_size=world_size).batches()) for rank in range(world_size)]
    for parts in zip(*ranks, strict=True):
        value = torch.cat([part.index for part in parts]).double().mean()
        means = [part.index.double().mean() if len(part.index) else torch.tensor(0.0) for part in parts]
        weighted = sum(part.loss_scale * mean for part, mean in zip(parts, means, strict=True)) / world_size
        assert sum(part.loss_scale for part in parts) / world_size == pytest.approx(1)
        assert float(weighted) == pytest.approx(float(value))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 40), st.integers(4, 12), st.integers(1, 4), st.integers(0, 10**6))
def test_loss_scale_is_by_the_rows_that_count(count, batch_size, world_size, seed):
    labels = torch.where(torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.4, -100, 1)
    ranks = []
    for rank in range(world_size):
        loader = make(count, batch_size, rank=rank, world_size=world_size)
        loader.split.labels.copy_(labels)
        ranks.append(list(loader.batches()))
    for parts in zip(*ranks, strict=True):
        counts = [int((part.labels != -100).sum()) for part in parts]
        expected = [n * world_size / sum(counts) if sum(counts) else 1.0 for n in counts]
        assert [part.loss_scale for part in parts] == pytest.approx(expected)


def test_loss_scale_is_one_without_ranks():
    assert {batch.loss_scale for batch in make(22, 5).batches()} == {1.0}


def test_a_rank_without_samples_gets_an_empty_batch_with_loss_scale_0():
    only = next(make(2, 4, rank=3, world_size=4, augmentation=Augmentation(pad=1)).batches())
    assert (len(only.inputs), len(only.labels), only.loss_scale) == (0, 0, 0)


def test_ranks_see_the_images_that_one_process_sees():
    options = {"augmentation": Augmentation(pad=1, flip=True, degrees=30.0)}
    whole = {int(i): x for batch in make(**options).batches(3) for i, x in zip(batch.index, batch.inputs, strict=True)}
    for batch in make(rank=1, world_size=2, **options).batches(3):
        for i, image in zip(batch.index.tolist(), batch.inputs, strict=True):
            assert torch.equal(image, whole[i])


def test_inputs_are_normalised_per_channel():
    for batch in make().batches():
        pixel = torch.stack([2 * batch.index, 2 * batch.index + 1], dim=1) / 255
        expected = (pixel - torch.tensor(MEAN)) / torch.tensor(STD)
        torch.testing.assert_close(batch.inputs, expected[:, :, None, None].expand(-1, 2, 4, 4))


def test_index_and_labels_belong_to_the_images():
    for batch in make().batches():
        assert torch.equal(shown(batch.inputs), batch.index)
        assert batch.labels.tolist() == (batch.index % 7).tolist()


def test_images_are_augmented_by_seed_epoch_and_index():
    wild = Augmentation(pad=2, flip=True, degrees=90.0)
    mean, std = (torch.tensor(value).view(1, 2, 1, 1) for value in (MEAN, STD))
    loader = make(augmentation=wild, seed=8)
    for batch in loader.batches(epoch=3):
        plain = loader.split.inputs[batch.index].float() / 255
        expected = (augment(plain, batch.index, wild, seed=8, epoch=3) - mean) / std
        torch.testing.assert_close(batch.inputs, expected)


def test_black_corners_are_black_before_normalisation():
    batch = next(make(augmentation=Augmentation(pad=4)).batches())
    black = (0 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert (batch.inputs == black.view(1, 2, 1, 1)).all(dim=1).any()


def test_batches_have_the_promised_types():
    batch = next(make().batches())
    assert (batch.inputs.dtype, batch.labels.dtype, batch.index.dtype) == (torch.float32, torch.int64, torch.int64)


def test_the_split_is_not_written_to():
    loader = make(augmentation=Augmentation(flip=True))
    list(loader.batches())
    assert torch.equal(loader.split.inputs, coded_split(23).inputs)


def test_evaluation_is_in_order():
    assert joined(indices(make(training=False), epoch=3)) == list(range(23))


def test_evaluation_is_not_augmented():
    wild = make(training=False, augmentation=Augmentation(pad=2, flip=True, degrees=90.0))
    plain = make(training=False)
    for ours, theirs in zip(wild.batches(epoch=1), plain.batches(epoch=0), strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)


@pytest.mark.parametrize(("batch_size", "world_size"), [(0, 1), (-3, 1), (3, 4)])
def test_a_batch_smaller_than_the_ranks_is_an_error(batch_size, world_size):
    with pytest.raises(InputError, match=f"number of ranks, got {batch_size}"):
        make(batch_size=batch_size, world_size=world_size)


@pytest.mark.parametrize("label", [7, -1, 255])
def test_labels_that_name_no_class_are_refused_at_once(label):
    """Before anything is on an accelerator, where nobody looks at them."""
    with pytest.raises(InputError, match=f"labels should lie from 0 to 6 .* got {label}; data.classes"):
        make(3, labels=[0, label, 6])


class Decoded(LazyImages):
    """Images that note when they are asked for."""

    def one_by_one(self, wanted, ahead):
        def one(each):
            asked.append(each[0])
            if each[0] == FAILING:
                return Problem("error", "image", "a broken image", "unreadable image")
            return coded_split(40).inputs[each[0]].numpy()

        return in_threads(one, wanted, self.workers, ahead)


asked: list[int] = []
FAILING = 1000


def lazy_loader(count=20, batch_size=5, **options):
    loader = make(count, batch_size, **options)
    asked.clear()
    loader.split = Split(Decoded([b""] * count, loader.split.inputs.shape[-1], 3), loader.split.labels)
    return loader


def test_images_on_demand_give_the_same_batches():
    for ours, theirs in zip(lazy_loader().batches(epoch=2), make(20, 5).batches(epoch=2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_serves_the_same_batches(workers):
    before = threading.active_count()
    batches = zip(lazy_loader(workers=workers).batches(epoch=2), make(20, 5).batches(epoch=2), strict=True)
    for number, (ours, theirs) in enumerate(batches):
        assert all(torch.equal(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))
        if workers == 0:
            assert threading.active_count() == before
            assert len(asked) == 5 * (number + 1)


def test_the_next_batch_is_made_while_one_is_used():
    """And no more images than one batch beyond it are decoded; leaving in the middle of an epoch ends it."""
    before, batches = threading.active_count(), lazy_loader(count=40).batches()
    next(batches)
    next(batches)
    for _ in range(200):
        if len(asked) == 20 - 1:
            break
        time.sleep(0.01)
    assert len(asked) == 20 - 1
    batches.close()
    assert threading.active_count() == before
    assert len(asked) == 20 - 1


def test_an_error_ahead_is_raised_at_its_batch(monkeypatch):
    order = joined(indices(make(20, 5)))
    monkeypatch.setattr(sys.modules[__name__], "FAILING", order[12])
    served = []
    with pytest.raises(InputError, match="a broken image"):
        served.extend(row for batch in lazy_loader().batches() for row in batch.index.tolist())
    assert served == order[:10]
