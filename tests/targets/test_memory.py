import pytest
import torch

from drkd import InputError, Memory

LABELS = torch.zeros(2, dtype=torch.long)


def visit(memory, logits, index):
    return memory(logits, torch.zeros(len(index), dtype=torch.long), None, torch.tensor(index))


def test_first_visit_has_no_target_the_second_has_the_first():
    memory = Memory()
    first = torch.randn(2, 3)
    _, valid = visit(memory, first, [4, 1])
    assert valid.tolist() == [False, False]
    memory.update()
    remembered, valid = visit(memory, torch.randn(2, 3), [1, 2])
    assert valid.tolist() == [True, False]
    assert torch.equal(remembered[0], first[1])


def test_calling_writes_nothing_before_update():
    memory = Memory()
    visit(memory, torch.randn(1, 3), [0])
    assert visit(memory, torch.randn(1, 3), [0])[1].tolist() == [False]


def test_update_writes_every_queued_call_once():
    memory = Memory()
    a, b = torch.randn(1, 3), torch.randn(1, 3)
    visit(memory, a, [0])
    visit(memory, b, [1])
    memory.update()
    assert torch.equal(visit(memory, a, [0, 1][:1])[0], a)
    assert torch.equal(memory.table[1], b[0])
    memory.discard()
    memory.table.zero_()
    memory.update()
    assert not memory.table.any()


def test_discard_forgets_a_skipped_step():
    memory = Memory()
    visit(memory, torch.randn(1, 3), [0])
    memory.discard()
    memory.update()
    assert not memory.seen.any()


def test_eval_mode_queues_nothing():
    memory = Memory().eval()
    visit(memory, torch.randn(1, 3), [0])
    memory.update()
    assert not memory.seen.any()


def test_rows_that_are_not_finite_are_not_written():
    memory = Memory()
    visit(memory, torch.tensor([[1.0, 2.0], [float("nan"), 2.0]]), [0, 1])
    memory.update()
    assert memory.seen.tolist()[:2] == [True, False]
    assert memory.table.isfinite().all()


def test_grows_without_losing_anything():
    memory = Memory()
    first = torch.randn(1, 3)
    visit(memory, first, [0])
    memory.update()
    visit(memory, torch.randn(1, 3), [1000])
    memory.update()
    assert torch.equal(memory.table[0], first[0])
    assert memory.seen.nonzero().flatten().tolist() == [0, 1000]


def test_state_restores_into_an_empty_memory():
    memory, other = Memory(), Memory()
    visit(memory, torch.randn(2, 3), [5, 7])
    memory.update()
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.table, memory.table)
    assert torch.equal(other.seen, memory.seen)


def test_dense_logits_are_remembered_whole():
    memory = Memory()
    logits, labels = torch.randn(2, 3, 4), torch.zeros(2, 4, dtype=torch.long)
    memory(logits, labels, None, torch.tensor([0, 1]))
    memory.update()
    remembered, valid = memory(torch.zeros(2, 3, 4), labels, None, torch.tensor([1, 9]))
    assert torch.equal(remembered[0], logits[1])
    assert valid.tolist() == [[True] * 4, [False] * 4]


def test_other_number_of_classes_is_an_error():
    memory = Memory()
    visit(memory, torch.randn(1, 3), [0])
    memory.update()
    with pytest.raises(InputError, match=r"holds logits \(3,\) per sample, got \(4,\)"):
        visit(memory, torch.randn(1, 4), [0])


def test_index_is_required():
    with pytest.raises(InputError, match="index"):
        Memory()(torch.zeros(2, 3), LABELS)
