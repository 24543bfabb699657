import pytest
import torch

from drkd import InputError, StudentBatch, Target, TargetOutput
from drkd.targets.base import Queue, ask

A, B = torch.randn(2, 2, 3)


def test_a_queue_gives_its_rows_once_in_order():
    queue = Queue()
    queue.add(torch.tensor([1, 2]), A)
    queue.add(torch.tensor([3, 4]), B)
    (first, a), (second, b) = queue.take()
    assert (first.tolist(), second.tolist()) == ([1, 2], [3, 4])
    assert torch.equal(a, A)
    assert torch.equal(b, B)
    assert len(queue) == 0
    assert queue.take() == []


def test_a_queue_gives_the_rows_of_every_rank(monkeypatch):
    monkeypatch.setattr("drkd.targets.base.gather", lambda rows: [rows, (rows[0] + 10, rows[1] + 1)])
    queue = Queue()
    queue.add(torch.tensor([1, 2]), A)
    (ours, _), (theirs, logits) = queue.take()
    assert (ours.tolist(), theirs.tolist()) == ([1, 2], [11, 12])
    assert torch.equal(logits, A + 1)


def test_a_queue_keeps_nothing_in_eval_mode_and_forgets_on_request():
    target = torch.nn.Sequential(Queue())
    target.eval()[0].add(torch.tensor([1, 2]), A)
    target.train()[0].add(torch.tensor([1, 2]), A)
    assert len(target[0]) == 1
    target[0].clear()
    assert target[0].take() == []
    assert not target.state_dict()


def test_a_target_is_abstract_and_its_shape_is_checked():
    class Narrow(Target):
        def forward(self, batch):
            return TargetOutput(batch.logits[:, :2])

    batch = StudentBatch(A, torch.tensor([0, 1]))
    with pytest.raises(NotImplementedError):
        ask(Target(), batch)
    with pytest.raises(InputError, match=r"Narrow gives logits \(2, 2\) for a student's \(2, 3\)"):
        ask(Narrow(), batch)


def test_a_boolean_per_sample_becomes_one_per_label():
    flags, dense = torch.tensor([True, False]), torch.zeros(2, 4, 5, dtype=torch.long)
    assert StudentBatch(A, torch.tensor([0, 1])).per_row(flags) is flags
    assert StudentBatch(torch.zeros(2, 3, 4, 5), dense).per_row(flags).flatten(1).all(dim=1).tolist() == [True, False]
