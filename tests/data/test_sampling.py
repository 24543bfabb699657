"""Balanced sampling: each class equally often, by (seed, epoch) alone, and no harm done by what comes twice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
from coded import make, shown
from drkd import Memory
from drkd.data.augment import Augmentation, augment
from drkd.data.loader import PARTNER, VIEWS
from drkd.data.sampling import balanced_order, repetitions
from drkd.targets import StudentBatch
from drkd.targets.memory import last_visits

RARE = [0] * 40 + [1] * 9 + [2] * 3 + [-100] * 5
BALANCED = frozenset({"balanced"})


def balanced(batch_size=10, **options):
    return make(len(RARE), batch_size, labels=RARE, needs=BALANCED, **options)


def joined(loader, epoch=0):
    return torch.cat([batch.index for batch in loader.batches(epoch)])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([-100, 0, 1, 2, 5]), min_size=1, max_size=80), st.integers(0, 99))
def test_classes_and_their_samples_come_equally_often(labels, seed):
    labels = np.array(labels)
    if (labels == -100).all():
        with pytest.raises(drkd.InputError, match="samples with labels, got none"):
            balanced_order(labels, np.random.default_rng(seed))
        return
    order = balanced_order(labels, np.random.default_rng(seed))
    assert len(order) == len(labels)
    classes, counts = np.unique(labels[order], return_counts=True)
    assert counts.max() - counts.min() <= 1 or len(counts) < len(np.unique(labels[labels >= 0]))
    assert set(classes) <= set(labels[labels >= 0])
    for each in classes:
        times = np.bincount(order, minlength=len(labels))[labels == each]
        assert times.max() - times.min() <= 1


def test_which_classes_come_once_more_is_chance():
    labels = np.array([0, 1, 2, 0])
    extra = [np.bincount(labels[balanced_order(labels, np.random.default_rng(seed))]).argmax() for seed in range(60)]
    assert set(extra) == {0, 1, 2}


def test_the_order_is_a_function_of_seed_and_epoch():
    assert torch.equal(joined(balanced(seed=3), 2), joined(balanced(batch_size=7, seed=3), 2))
    assert not torch.equal(joined(balanced(seed=3), 2), joined(balanced(seed=3), 1))
    assert not torch.equal(joined(balanced(seed=3), 2), joined(balanced(seed=4), 2))


def test_an_epoch_is_as_long_as_ever_and_the_index_is_the_samples_own():
    loader = balanced()
    batches = list(loader.batches())
    assert [len(batch.labels) for batch in batches] == [len(b.labels) for b in make(len(RARE), 10).batches()]
    for batch in batches:
        assert torch.equal(shown(batch.inputs), batch.index)
        assert torch.equal(batch.labels, torch.tensor(RARE)[batch.index])
    assert torch.bincount(torch.tensor(RARE)[joined(loader)]).tolist() == [19, 19, 19]


def test_ranks_share_and_a_late_start_skips():
    whole = list(balanced(augmentation=Augmentation(pad=1)).batches(1))
    late = list(balanced(augmentation=Augmentation(pad=1)).batches(1, start=3))
    ranks = [list(balanced(augmentation=Augmentation(pad=1), rank=r, world_size=2).batches(1)) for r in (0, 1)]
    for ours, theirs in zip(late, whole[3:], strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)
    for rank in (0, 1):
        for ours, theirs in zip(ranks[rank], whole, strict=True):
            assert torch.equal(ours.index, theirs.index[rank::2])
            assert torch.equal(ours.inputs, theirs.inputs[rank::2])


def test_a_sample_that_comes_again_is_augmented_anew():
    loader = balanced(augmentation=Augmentation(pad=1, flip=True), seed=8)
    order, inputs = joined(loader, 4), torch.cat([batch.inputs for batch in loader.batches(4)])
    again = repetitions(order.numpy())
    assert again.max() >= 5
    pixels = loader.split.inputs[order]
    plain = augment(pixels, order, loader.augmentation, seed=8, epoch=4, view=VIEWS * again)
    assert torch.equal(inputs, plain.float().div(255).sub(loader.mean).div(loader.std))


def test_the_partner_of_a_sample_that_comes_again_is_augmented_anew():
    """The same partner, in a view that is not the sample's own nor that of an earlier time."""
    loader = make(len(RARE), 10, labels=RARE, needs=BALANCED | {"pairs"}, augmentation=Augmentation(pad=1), seed=8)
    own, partner, inputs = [], [], []
    for batch in loader.batches(4):
        (ours, theirs), (_, shown_partner) = batch.index.chunk(2), batch.inputs.chunk(2)
        assert (batch.labels.chunk(2)[1] == -100).all()
        own, partner, inputs = [*own, ours], [*partner, theirs], [*inputs, shown_partner]
    order, rows = torch.cat(own), torch.cat(partner)
    again = repetitions(order.numpy())
    assert again.max() >= 5
    plain = augment(loader.split.inputs[rows], rows, loader.augmentation, seed=8, epoch=4, view=PARTNER + VIEWS * again)
    assert torch.equal(torch.cat(inputs), plain.float().div(255).sub(loader.mean).div(loader.std))


@pytest.mark.parametrize("needs", [{"replay"}, {"pairs"}, {"replay", "pairs"}])
def test_replay_and_pairs_go_with_it(needs):
    last = None
    for batch in make(len(RARE), 10, labels=RARE, needs=BALANCED | needs).batches():
        half = len(batch.index) // 2 if "pairs" in needs else len(batch.index)
        if "pairs" in needs:
            assert torch.equal(torch.tensor(RARE)[batch.index[:half]], torch.tensor(RARE)[batch.index[half:]])
            assert (batch.labels[half:] == -100).all()
        if "replay" in needs and last is not None:
            assert torch.equal(batch.index[: len(last)], last)
        last = batch.index[:half] if last is None or "replay" not in needs else batch.index[len(last) : half]


def test_other_splits_are_served_as_they_are():
    assert joined(balanced(training=False)).tolist() == list(range(len(RARE)))


def test_a_memory_keeps_the_last_of_what_comes_twice():
    logits = torch.arange(10.0).view(5, 2)
    for keep in ("full", "half", 1):
        memory = Memory(keep=keep)
        memory(StudentBatch(logits, torch.zeros(5, dtype=torch.long), index=torch.tensor([3, 1, 3, 0, 3])))
        memory.update()
        assert memory.table[3].tolist() == logits[4, -memory.table.shape[1] :].tolist()
        assert memory.seen.tolist()[:4] == [True, True, False, True]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12))
def test_last_visits_are_those_of_a_loop(visits):
    """The last that counts; of a sample whose visits all do not, the last."""
    of_sample = lambda each: [(counts, row) for row, (other, counts) in enumerate(visits) if other == each]
    expected = [max(of_sample(each))[1] for each, _ in visits]
    index, counts = torch.tensor(visits, dtype=torch.long).view(-1, 2).unbind(1)
    assert last_visits(index, counts.bool()).tolist() == expected
