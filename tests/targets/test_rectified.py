import pytest
import torch

from drkd import Frozen, InputError, Memory, OneHot, Rectified, Uniform, swap

LOGITS, LABELS = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])


def test_default_rectifier_is_the_swap():
    after, valid = Rectified(Frozen(lambda inputs: inputs))(torch.zeros(4, 3), LABELS, LOGITS)
    assert valid is None
    assert torch.equal(after, swap(LOGITS, LABELS))


def test_a_rectifier_may_take_rows_out():
    drop = lambda logits, labels: (logits, logits.argmax(1) == labels)
    _, valid = Rectified(Frozen(lambda inputs: inputs), drop)(torch.zeros(4, 3), LABELS, LOGITS)
    assert torch.equal(valid, LOGITS.argmax(1) == LABELS)


def test_rows_are_valid_only_where_both_say_so():
    memory = Memory()
    memory(LOGITS, LABELS, None, torch.arange(4))
    memory.update()
    drop_first = lambda logits, labels: (logits, torch.tensor([False, True, True, True]))
    _, valid = Rectified(memory, drop_first)(LOGITS, LABELS, None, torch.tensor([0, 1, 2, 9]))
    assert valid.tolist() == [False, True, True, False]


def test_needs_and_updates_are_those_of_the_source():
    target = Rectified(Memory())
    assert target.needs == {"index"}
    target(LOGITS, LABELS, None, torch.arange(4))
    target.update()
    assert target.target.seen.all()


@pytest.mark.parametrize("target", [OneHot(), Rectified(Uniform())])
def test_targets_without_logits_of_their_own_are_refused(target):
    with pytest.raises(InputError, match="needs a target with finite logits"):
        Rectified(target)
