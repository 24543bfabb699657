from functools import partial

import pytest
import torch

import drkd
from asking import ask
from drkd import (
    ClassMean,
    Ema,
    Frozen,
    InputError,
    LastBatch,
    Memory,
    OneHot,
    Partner,
    Rectified,
    StudentBatch,
    Target,
    TargetOutput,
    Uniform,
    swap,
)
from drkd.targets.rectify import smooth

LOGITS, LABELS = torch.tensor([[3.0, 1, 2], [0, 5, 1], [4, 2, 1], [1, 2, 0]]), torch.tensor([0, 1, 2, 0])
WRONG = [False, False, True, True]


def rectified(*rectifier):
    return ask(Rectified(Frozen(lambda inputs: inputs), *rectifier), torch.zeros(4, 3), LABELS, LOGITS)


@pytest.mark.parametrize("rectifier", [(), ("swap",), (swap,)])
def test_default_rectifier_is_the_swap(rectifier):
    after, valid = rectified(*rectifier)
    assert valid is None
    assert torch.equal(after, swap(LOGITS, LABELS))


def test_smooth_by_name_writes_wrong_rows_anew():
    after, valid = rectified("smooth")
    assert valid is None
    assert torch.equal(after, smooth(LOGITS, LABELS, correct_prob=0.9))
    assert (after != LOGITS).any(dim=1).tolist() == WRONG


def test_drop_by_name_leaves_wrong_rows_to_the_label():
    after, valid = rectified("drop")
    assert torch.equal(after, LOGITS)
    assert valid.tolist() == [not wrong for wrong in WRONG]


def test_drop_leaves_what_had_no_target_without():
    memory = Memory()
    ask(memory, LOGITS, LABELS, None, torch.arange(4))
    memory.update()
    _, valid = ask(Rectified(memory, "drop"), LOGITS, LABELS, None, torch.tensor([0, 9, 2, 3]))
    assert valid.tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", ["flip", "Swap", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(InputError, match=f"unknown rectifier '{name}'; choose swap, bayes, .*, or pass"):
        Rectified(Uniform(), name)


def test_a_rectifier_may_take_rows_out():
    drop = lambda logits, labels: (logits, logits.argmax(1) == labels)
    _, valid = ask(Rectified(Frozen(lambda inputs: inputs), drop), torch.zeros(4, 3), LABELS, LOGITS)
    assert torch.equal(valid, LOGITS.argmax(1) == LABELS)


def test_rows_are_valid_only_where_both_say_so():
    memory = Memory()
    ask(memory, LOGITS, LABELS, None, torch.arange(4))
    memory.update()
    drop_first = lambda logits, labels: (logits, torch.tensor([False, True, True, True]))
    _, valid = ask(Rectified(memory, drop_first), LOGITS, LABELS, None, torch.tensor([0, 1, 2, 9]))
    assert valid.tolist() == [False, True, True, False]


@pytest.mark.parametrize("source", [Memory(), ClassMean(), Partner(), LastBatch(), Ema(torch.nn.Linear(3, 3))])
def test_needs_are_those_of_the_source(source):
    assert Rectified(source).needs == source.needs


@pytest.mark.parametrize("all_counted", [False, True])
@pytest.mark.parametrize("rectifier", ["swap", "smooth", "drop", partial(swap)])
def test_it_says_which_rows_it_changed(rectifier, all_counted):
    target = Rectified(Frozen(lambda inputs: inputs), rectifier)
    output = target(StudentBatch(torch.zeros(4, 3), LABELS, LOGITS, all_counted=all_counted))
    assert output.changed.tolist() == WRONG


@pytest.mark.parametrize("rectifier", ["swap", "smooth", "drop", partial(swap)])
@pytest.mark.parametrize("keep", ["full", "half", 1, 2])
def test_a_row_without_a_target_is_never_changed(rectifier, keep):
    """What stands in for a sample that was never visited has an argmax, too."""
    memory = Memory(keep=keep)
    ask(memory, LOGITS, LABELS, None, torch.arange(4))
    memory.update()
    target, index = Rectified(memory, rectifier), torch.tensor([0, 1, 12, 13])
    output = target(StudentBatch(LOGITS, LABELS, index=index))
    assert output.changed.tolist() == [*WRONG[:2], False, False]
    labels = torch.tensor([1, 2, 1, 2, 1, 2, 1, 2])
    first = drkd.online_dr_kd(rectify=rectifier, keep=keep)(torch.randn(8, 3), labels, index=torch.arange(8))
    assert first["rectified"] == 0


@pytest.mark.parametrize("rectifier", ["swap", "smooth", "drop"])
def test_an_ignored_row_is_never_changed(rectifier):
    target, labels = Rectified(Frozen(lambda inputs: inputs), rectifier), LABELS.where(torch.arange(4) != 3, -100)
    output = target(StudentBatch(torch.zeros(4, 3), labels, LOGITS))
    assert output.changed.tolist() == [*WRONG[:3], False]
    assert torch.equal(output.logits[3], LOGITS[3])


def test_a_source_without_logits_is_an_error():
    class Mute(Target):
        def forward(self, batch):
            return TargetOutput(None)

    with pytest.raises(InputError, match="Mute gave none"):
        ask(Rectified(Mute()), LOGITS, LABELS)


@pytest.mark.parametrize("target", [OneHot(), Rectified(Uniform())])
def test_targets_without_logits_of_their_own_are_refused(target):
    with pytest.raises(InputError, match="needs a target with finite logits"):
        Rectified(target)
