from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asking import ask
from drkd import InputError, Memory, MixedLabels, StudentBatch, online_dr_kd, ps_kd

LABELS = torch.zeros(2, dtype=torch.long)


def visit(memory, logits, index):
    return ask(memory, logits, torch.zeros(len(index), dtype=torch.long), None, torch.tensor(index))


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


@pytest.mark.parametrize("keep", ["full", "half", 3])
@pytest.mark.parametrize("weights", [[1.0, 0.5, 1.0], [0.5, 1.0, 1.0]])
def test_a_sample_that_comes_alone_and_mixed_is_remembered(keep, weights):
    """Of rows 0 and 1, both of sample 4, one is a mixture; sample 2 has a row that is finite and one that is not."""
    memory, logits = Memory(keep=keep), torch.tensor([[5.0, 1.0, 0.0], [0.0, 4.0, 1.0], [1.0, 2.0, 3.0]])
    mixed = MixedLabels(torch.eye(3), torch.tensor(weights), torch.tensor([1, 2, 4]))
    memory(StudentBatch(logits, torch.tensor([0, 1, 2]), index=torch.tensor([4, 4, 2]), mixed=mixed))
    visit(memory, torch.tensor([[7.0, 8.0, 9.0], [torch.inf, 0.0, 0.0]]), [2, 2])
    memory.update()
    assert memory.seen.nonzero().flatten().tolist() == [2, 4]
    remembered, _ = visit(memory, logits[:2], [4, 2])
    plain = logits[weights.index(1.0)]
    assert torch.allclose(remembered.softmax(1), torch.stack([plain, torch.tensor([7.0, 8.0, 9.0])]).softmax(1))


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
    ask(memory, logits, labels, None, torch.tensor([0, 1]))
    memory.update()
    remembered, valid = ask(memory, torch.zeros(2, 3, 4), labels, None, torch.tensor([1, 9]))
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
        ask(Memory(), torch.zeros(2, 3), LABELS)


@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(0.01, 1000))
def test_half_errs_by_its_rounding_only(seed, classes, size):
    logits = size * torch.randn(2, classes, generator=torch.Generator().manual_seed(seed))
    memory = Memory(keep="half")
    visit(memory, logits, [0, 1])
    memory.update()
    remembered, _ = visit(memory, logits, [0, 1])
    assert memory.table.dtype == torch.float16
    assert remembered.dtype == torch.float32
    assert ((remembered - logits).abs() <= logits.abs() * 2.0**-11 + 2.0**-25).all()


def test_half_stays_finite_beyond_its_range():
    memory = Memory(keep="half")
    visit(memory, torch.tensor([[1e6, -1e6]]), [0])
    memory.update()
    assert visit(memory, torch.zeros(1, 2), [0])[0].tolist() == [[65504.0, -65504.0]]


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 12), st.booleans())
def test_the_largest_are_exact_and_the_rest_keep_their_sum(seed, classes, k, dense):
    shape = (2, classes, 3) if dense else (2, classes)
    logits = 5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    memory, labels = Memory(keep=k), torch.zeros(2, *shape[2:], dtype=torch.long)
    ask(memory, logits, labels, None, torch.tensor([3, 0]))
    memory.update()
    remembered, valid = ask(memory, logits, labels, None, torch.tensor([3, 0]))
    assert valid.all()
    assert remembered.isfinite().all()
    assert sum(table[0].numel() * table.element_size() for table in (memory.table, memory.topk_index, memory.rest)) <= (
        (8 * min(k, classes) + 4) * (3 if dense else 1)
    )
    true, kept = logits.softmax(1), remembered.softmax(1)
    top = logits.topk(min(k, classes), dim=1).indices
    assert torch.allclose(kept.gather(1, top), true.gather(1, top), rtol=1e-4, atol=1e-6)
    assert torch.equal(remembered.argmax(1), logits.argmax(1))
    rest = 1 - true.gather(1, top).sum(1)
    assert ((kept - true).abs().sum(1) / 2 <= rest + 1e-5).all()  # total variation


@pytest.mark.parametrize("keep", ["half", 2])
def test_what_is_kept_of_logits_grows_and_restores(keep):
    memory, other = Memory(keep=keep), Memory(keep=keep)
    first = torch.randn(1, 5)
    visit(memory, first, [0])
    memory.update()
    before, _ = visit(memory, first, [0])
    memory.discard()
    visit(memory, torch.randn(1, 5), [50])
    memory.update()
    other.load_state_dict(memory.state_dict())
    assert torch.equal(visit(memory, first, [0])[0], before)
    assert torch.equal(visit(other, first, [0])[0], before)


def test_fit_tells_the_number_of_samples():
    memory = Memory()
    memory.prepare(SimpleNamespace(split=range(7)))
    visit(memory, torch.randn(1, 3), [0])
    assert len(memory.seen) == 7


@pytest.mark.parametrize("keep", ["quarter", 0, -3])
def test_what_to_keep_is_checked(keep):
    with pytest.raises(InputError, match="full, half or a number of logits above 0"):
        Memory(keep=keep)


@pytest.mark.parametrize("make", [ps_kd, lambda: online_dr_kd(0.5, alpha_schedule="rising"), lambda: online_dr_kd(0.0)])
def test_a_batch_on_which_the_weight_is_0_is_remembered_too(make):
    objective, logits = make(), torch.randn(2, 3, requires_grad=True)
    objective(logits, LABELS, index=torch.tensor([0, 1]))["loss"].backward()
    objective.update(progress=0.5, epoch=1)
    (memory,) = (part for part in objective.modules() if isinstance(part, Memory))
    assert memory.seen[:2].all()
    assert torch.equal(memory.table[:2], logits.detach())
    assert torch.allclose(logits.grad, (logits.detach().softmax(1) - torch.eye(3)[LABELS]) / 2)
