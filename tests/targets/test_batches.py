import pytest
import torch

from asking import ask
from drkd import InputError, LastBatch, Partner

PAIRED = torch.tensor([0, 1, -100, -100])


def test_a_partner_is_half_a_batch_away():
    logits = torch.randn(4, 3)
    said, valid = ask(Partner(), logits, PAIRED)
    assert valid is None
    assert torch.equal(said[:2], logits[2:])


def test_partners_of_dense_logits_keep_their_places():
    logits, labels = torch.randn(2, 3, 4), torch.tensor([[0, 1, -100, 2], [-100] * 4])
    assert torch.equal(ask(Partner(), logits, labels)[0][0], logits[1])


def test_an_empty_batch_has_no_partners():
    assert len(ask(Partner(), torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))[0]) == 0


@pytest.mark.parametrize("labels", [[0, 1, -100], [0, -100, -100], [0, 1, 1, -100], [0, 1, 2, 0], [0]])
def test_a_batch_that_is_not_made_of_pairs_is_refused(labels):
    with pytest.raises(InputError, match=f"needs a batch of pairs, got {len(labels)} rows"):
        ask(Partner(), torch.zeros(len(labels), 3), torch.tensor(labels))


def test_what_they_want_of_the_batches():
    assert (Partner().needs, LastBatch().needs) == ({"pairs"}, {"index", "replay"})


def see(target, logits, index):
    return ask(target, logits, torch.zeros(len(index), dtype=torch.long), None, torch.tensor(index))


def test_the_last_batch_is_found_by_index_in_any_order():
    target = LastBatch()
    first = torch.randn(3, 4)
    assert see(target, first, [5, 3, 8])[1].tolist() == [False] * 3
    target.update()
    said, valid = see(target, torch.randn(4, 4), [8, 0, 5, 1])
    assert valid.tolist() == [True, False, True, False]
    assert torch.equal(said[[0, 2]], first[[2, 0]])
    assert said.isfinite().all()


def test_only_the_last_batch_is_kept():
    target = LastBatch()
    for index in ([0, 1], [1, 2]):
        see(target, torch.randn(2, 4), index)
        target.update()
    assert see(target, torch.randn(3, 4), [0, 1, 2])[1].tolist() == [False, True, True]


def test_an_update_without_a_call_keeps_it():
    target = LastBatch()
    see(target, torch.randn(2, 4), [0, 1])
    target.update()
    target.update()
    assert see(target, torch.randn(1, 4), [1])[1].tolist() == [True]


def test_every_call_since_the_last_update_is_kept():
    target, first, second = LastBatch(), torch.randn(1, 4), torch.randn(1, 4)
    see(target, first, [0])
    see(target, second, [1])
    target.update()
    assert torch.equal(see(target, torch.zeros(2, 4), [1, 0])[0], torch.cat([second, first]))


def test_the_rows_of_all_ranks_are_kept(monkeypatch):
    """A checkpoint of one rank must serve them all."""
    monkeypatch.setattr("drkd.targets.base.gather", lambda rows: [rows, (rows[0] + 10, rows[1] + 1)])
    target, logits = LastBatch(), torch.randn(2, 4)
    see(target, logits, [0, 1])
    target.update()
    said, valid = see(target, torch.zeros(3, 4), [11, 0, 2])
    assert valid.tolist() == [True, True, False]
    assert torch.equal(said[:2], torch.stack([logits[1] + 1, logits[0]]))


def test_an_epochs_end_forgets_it_once():
    target = LastBatch()
    for epoch, known in ((1, False), (1, True), (2, False), (2, True)):
        see(target, torch.randn(2, 4), [0, 1])
        target.update(epoch)
        assert see(target.eval(), torch.randn(1, 4), [0])[1].tolist() == [known]
        target.train()


def test_an_epochs_end_forgets_though_its_last_step_was_skipped():
    target = LastBatch()
    for index, epoch in ((0, None), (1, 1), (2, None)):
        see(target, torch.randn(1, 4), [index])
        if epoch is None:
            target.update()
        else:
            target.discard()
            target.end_epoch(epoch)
    assert see(target, torch.randn(3, 4), [0, 1, 2])[1].tolist() == [False, False, True]


def test_discard_and_eval_mode_queue_nothing():
    target = LastBatch()
    see(target, torch.randn(1, 4), [0])
    target.discard()
    see(target.eval(), torch.randn(1, 4), [0])
    target.train().update()
    assert see(target, torch.randn(1, 4), [0])[1].tolist() == [False]


@pytest.mark.parametrize("epochs", [(0, 0), (3, 3), (2, 3)])
def test_state_restores_into_an_empty_target(epochs):
    """In the middle of an epoch and at its end."""
    target, other = LastBatch(), LastBatch()
    for epoch in epochs:
        see(target, torch.randn(2, 4), [5, 7])
        target.update(epoch)
    other.load_state_dict(target.state_dict())
    for logits in torch.randn(2, 2, 4):
        ours, theirs = (see(both, logits, [7, 5]) for both in (target, other))
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        for both in (target, other):
            both.update(epochs[-1])


def test_dense_logits_are_kept_whole():
    target = LastBatch()
    logits, labels = torch.randn(2, 3, 4), torch.zeros(2, 4, dtype=torch.long)
    ask(target, logits, labels, None, torch.tensor([0, 1]))
    target.update()
    said, valid = ask(target, torch.zeros(2, 3, 4), labels, None, torch.tensor([1, 9]))
    assert torch.equal(said[0], logits[1])
    assert valid.tolist() == [[True] * 4, [False] * 4]


def test_the_student_keeps_its_precision():
    target = LastBatch()
    see(target, torch.randn(1, 4), [0])
    target.update()
    assert see(target, torch.zeros(1, 4, dtype=torch.bfloat16), [0])[0].dtype is torch.bfloat16


def test_index_is_required():
    with pytest.raises(InputError, match="`LastBatch` needs the samples' index"):
        ask(LastBatch(), torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
