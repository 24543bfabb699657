"""Batches as a method wants them: partners of the same class behind, the batch before again in front."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
from coded import MEAN, STD, make, shown
from drkd.data.augment import Augmentation, augment
from drkd.data.loader import PARTNER, REPLAY

PAIRS, PLAY, BOTH = frozenset({"pairs"}), frozenset({"replay"}), frozenset({"pairs", "replay"})
WILD = Augmentation(pad=2, flip=True, degrees=90.0)

property_of = settings(max_examples=40, deadline=None, derandomize=True)
counts, batch_sizes, worlds = st.integers(2, 60), st.integers(4, 12), st.integers(1, 4)
seeds, epochs = st.integers(0, 10**6), st.integers(0, 300)


def halves(batch):
    """A batch of pairs as its two halves of (inputs, labels, index)."""
    half, odd = divmod(len(batch.index), 2)
    assert odd == 0
    parts = batch.inputs, batch.labels, batch.index
    return [part[:half] for part in parts], [part[half:] for part in parts]


def partners(loader, epoch=0, start=0):
    """Each sample's partner."""
    found = {}
    for batch in loader.batches(epoch, start):
        (_, _, ours), (_, _, theirs) = halves(batch)
        found.update(zip(ours.tolist(), theirs.tolist(), strict=True))
    return found


def views(index, augmentation, view, epoch, seed=0):
    """The images of some samples as a view shows them, from the augmentation's own definition."""
    values = torch.stack([2 * index, 2 * index + 1], dim=1)[:, :, None, None].expand(-1, 2, 4, 4) / 255
    seen = augment(values, index, augmentation, seed=seed, epoch=epoch, view=view)
    return (seen - torch.tensor(MEAN).view(2, 1, 1)) / torch.tensor(STD).view(2, 1, 1)


@property_of
@given(counts, batch_sizes, worlds, seeds, epochs)
def test_partners_are_others_of_the_same_class_and_teach_only(count, batch_size, world_size, seed, epoch):
    """Over all ranks every sample has one; it is itself only where it is alone in its class."""
    found = {}
    for rank in range(world_size):
        loader = make(count, batch_size, needs=PAIRS, seed=seed, rank=rank, world_size=world_size)
        plain = make(count, batch_size, seed=seed, rank=rank, world_size=world_size)
        for batch, without in zip(loader.batches(epoch), plain.batches(epoch), strict=True):
            (inputs, labels, index), (theirs, ignored, partner) = halves(batch)
            assert torch.equal(inputs, without.inputs)
            assert torch.equal(labels, without.labels)
            assert torch.equal(index, without.index)
            assert ignored.tolist() == [-100] * len(partner)
            assert torch.equal(partner % 7, index % 7)
            assert torch.equal(shown(theirs), partner)
            found.update(zip(index.tolist(), partner.tolist(), strict=True))
    assert sorted(found) == list(range(count))
    for sample, partner in found.items():
        alone = sample - 7 < 0 and sample + 7 >= count
        assert (partner == sample) is alone


@property_of
@given(st.integers(10, 60), st.integers(4, 20), worlds, st.integers(0, 2), seeds, epochs)
def test_a_partner_is_a_function_of_seed_epoch_and_index(count, batch_size, world_size, start, seed, epoch):
    expected = partners(make(count, count, needs=PAIRS, seed=seed), epoch)
    for rank in range(world_size):
        cut = make(count, batch_size, needs=BOTH if start else PAIRS, seed=seed, rank=rank, world_size=world_size)
        assert partners(cut, epoch, start).items() <= expected.items()


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_another_seed_or_epoch_gives_other_partners(seed, epoch):
    first = partners(make(60, needs=PAIRS))
    other = partners(make(60, needs=PAIRS, seed=seed), epoch)
    assert sum(first[sample] != other[sample] for sample in first) > 30


def test_partners_are_drawn_evenly():
    """600 epochs with classes of 5 and 3: each other one 150 and 300 times, give or take four standard deviations."""
    labels = [0, 1, 0, 0, 1, 0, 1, 0]
    loader = make(8, 8, needs=PAIRS, labels=labels)
    times = torch.zeros(8, 8)
    for epoch in range(600):
        for sample, partner in partners(loader, epoch).items():
            times[sample, partner] += 1
    for sample, label in enumerate(labels):
        others = [other for other, theirs in enumerate(labels) if theirs == label and other != sample]
        expected, spread = 600 / len(others), (600 / len(others) * (1 - 1 / len(others))) ** 0.5
        assert times[sample].sum() == 600
        for other in others:
            assert abs(times[sample, other] - expected) < 4 * spread


def test_two_samples_do_not_choose_alike():
    """Each draws its own number: over the epochs the choices of two samples coincide by chance only."""
    loader = make(10, 10, needs=PAIRS, labels=[0] * 10)
    drawn = [partners(loader, epoch) for epoch in range(200)]
    alike = sum(found[8] == found[9] for found in drawn if found[8] != 9 and found[9] != 8)
    assert alike < 60


def test_partners_are_seen_in_a_view_of_their_own():
    loader = make(40, 8, needs=PAIRS, augmentation=WILD, seed=3)
    differ = 0
    for batch in loader.batches(epoch=2):
        (inputs, _, index), (theirs, _, partner) = halves(batch)
        torch.testing.assert_close(inputs, views(index, WILD, 0, 2, seed=3))
        torch.testing.assert_close(theirs, views(partner, WILD, PARTNER, 2, seed=3))
        differ += int((theirs != views(partner, WILD, 0, 2, seed=3)).flatten(1).any(dim=1).sum())
    assert differ > 30


def test_samples_without_a_label_have_partners_among_themselves():
    """Nothing depends on which, because neither counts."""
    labels = [0, -100, 1, -100, 0, 1, -100, 3]
    found = partners(make(8, 4, needs=PAIRS, labels=labels))
    assert [labels[found[sample]] for sample in range(8)] == labels
    assert found[7] == 7
    assert all(found[sample] != sample for sample in range(7))


@property_of
@given(st.integers(2, 60), batch_sizes, worlds, st.sampled_from([PLAY, BOTH]), epochs)
def test_a_batch_begins_with_the_one_before_in_another_view(count, batch_size, world_size, needs, epoch):
    for rank in range(world_size):
        ranks = {"rank": rank, "world_size": world_size}
        plain = list(make(count, batch_size, augmentation=WILD, **ranks).batches(epoch))
        batches = list(make(count, batch_size, augmentation=WILD, needs=needs, **ranks).batches(epoch))
        for number, (batch, new) in enumerate(zip(batches, plain, strict=True)):
            before = plain[number - 1] if number else None
            inputs, labels, index = halves(batch)[0] if needs is BOTH else (batch.inputs, batch.labels, batch.index)
            again = len(before.index) if before else 0
            assert torch.equal(index, torch.cat([before.index, new.index]) if before else new.index)
            assert torch.equal(labels, torch.cat([before.labels, new.labels]) if before else new.labels)
            assert torch.equal(inputs[again:], new.inputs)
            if before and again:
                torch.testing.assert_close(inputs[:again], views(before.index, WILD, REPLAY, epoch))


def test_the_other_view_is_another_one():
    plain = list(make(40, 8, augmentation=WILD).batches())
    replayed = list(make(40, 8, augmentation=WILD, needs=PLAY).batches())
    changed = [
        int((batch.inputs[:8] != before.inputs).flatten(1).any(dim=1).sum())
        for before, batch in zip(plain[:-1], replayed[1:], strict=True)
    ]
    assert sum(changed) > 24


@pytest.mark.parametrize("needs", [PLAY, PAIRS, BOTH])
@pytest.mark.parametrize("start", range(6))
def test_start_skips_batches_exactly(needs, start):
    loader = make(augmentation=WILD, needs=needs)
    whole, late = list(loader.batches(epoch=1)), list(loader.batches(epoch=1, start=start))
    assert len(late) == len(whole) - start
    for ours, theirs in zip(late, whole[start:], strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.index, theirs.index)
        assert ours.loss_scale == theirs.loss_scale


@property_of
@given(counts, batch_sizes, worlds, st.sampled_from([PLAY, PAIRS, BOTH]))
def test_loss_scale_makes_the_mean_over_ranks_the_mean_over_the_rows_that_count(count, batch_size, world_size, needs):
    ranks = [
        list(make(count, batch_size, needs=needs, rank=rank, world_size=world_size).batches())
        for rank in range(world_size)
    ]
    for parts in zip(*ranks, strict=True):
        counted = [part.index[part.labels != -100].double() for part in parts]
        means = [index.mean() if len(index) else torch.tensor(0.0) for index in counted]
        weighted = sum(part.loss_scale * mean for part, mean in zip(parts, means, strict=True)) / world_size
        assert sum(part.loss_scale for part in parts) / world_size == pytest.approx(1)
        assert float(weighted) == pytest.approx(float(torch.cat(counted).mean()))


def test_evaluation_ignores_both():
    for ours, theirs in zip(make(training=False, needs=BOTH).batches(), make(training=False).batches(), strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.index, theirs.index)


def test_the_loader_gives_dlb_what_it_asks_for():
    """Every replayed row has a target, no new one has, in the first batch of an epoch none."""
    objective = drkd.dlb()
    (target,) = (term.target for term in objective.terms if term.name == "soft")
    loader = make(23, 8, needs=objective.needs)
    for epoch in range(3):
        for number, batch in enumerate(loader.batches(epoch)):
            replayed = 8 if number else 0
            logits = torch.randn(len(batch.index), 7)
            valid = target.eval()(drkd.StudentBatch(logits, batch.labels, index=batch.index)).valid
            assert valid.tolist() == [i < replayed for i in range(len(valid))]
            objective.train()(logits, batch.labels, index=batch.index)
            objective.update(epoch=epoch + (number + 1 == len(loader)))
