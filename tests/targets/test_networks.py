import copy

import pytest
import torch
from torch import nn

import asking
from drkd import Ema, Frozen
from drkd.targets import state_hash

INPUTS = torch.randn(6, 3, 8, 8)


def convnet():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 5)
    )
    net(torch.randn(16, 3, 8, 8))  # batch-norm statistics unlike the initial ones
    return net


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = convnet()

    def forward(self, inputs):
        return self.net(inputs) if inputs.sum() > -1e9 else inputs


def ask(target, inputs=INPUTS):
    return asking.ask(target, torch.zeros(len(inputs), 5), torch.zeros(len(inputs), dtype=torch.long), inputs)


@pytest.mark.parametrize("fold", [False, True])
def test_frozen_answers_like_the_module_in_eval_mode(fold):
    net = convnet()
    target = Frozen(net.train(), fold=fold)
    logits, valid = ask(target)
    assert valid is None
    assert not logits.requires_grad
    assert target.folded is fold
    assert torch.allclose(logits, net.eval()(INPUTS), atol=1e-5)


def test_frozen_leaves_the_module_alone_and_does_not_follow_it():
    net = convnet()
    state = copy.deepcopy(net.state_dict())
    target = Frozen(net)
    before, _ = ask(target)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    nn.init.zeros_(net[-1].weight)
    assert torch.equal(ask(target)[0], before)


def test_frozen_stays_in_eval_mode_and_out_of_the_state():
    target = Frozen(convnet())
    target.train()
    assert torch.equal(ask(target)[0], ask(target)[0])
    assert not target.state_dict()
    assert not list(target.parameters())


def test_what_is_watched_can_be_seen_and_is_no_submodule():
    net = nn.Linear(2, 2)
    frozen, average = Frozen(net), Ema(net)
    assert not frozen.network.training
    assert average.student is net
    assert [name for target in (frozen, average) for name, _ in target.named_children()] == ["average"]


def test_frozen_moves_with_to():
    assert ask(Frozen(convnet()).to(torch.float64), INPUTS.double())[0].dtype is torch.float64


def test_what_cannot_be_traced_stays_unfolded_and_says_so(caplog):
    net = Untraceable()
    with caplog.at_level("INFO"):
        target = Frozen(net)
    assert not target.folded
    assert "are not folded" in caplog.text
    assert torch.equal(ask(target)[0], net.eval()(INPUTS))


def test_identity_is_that_of_the_original_state():
    net = convnet()
    target = Frozen(net)
    assert target.folded
    assert target.identity == state_hash(net)
    assert Frozen(lambda inputs: inputs).identity is None


def test_hash_sees_one_changed_bit_and_a_renamed_tensor():
    net = nn.Linear(2, 2)
    before = state_hash(net)
    assert state_hash(copy.deepcopy(net)) == before
    assert state_hash(nn.Sequential(net)) != before
    with torch.no_grad():
        net.weight[0, 0] = torch.nextafter(net.weight[0, 0], torch.tensor(9.0))
    assert state_hash(net) != before


def test_callable_is_called_without_gradients():
    weight = torch.ones(1, requires_grad=True)
    assert not ask(Frozen(lambda inputs: inputs.flatten(1)[:, :5] * weight))[0].requires_grad


def test_ema_by_hand():
    student = nn.Linear(1, 1, bias=False)
    student.weight.data.fill_(1.0)
    target = Ema(student, decay=0.75)
    expected = 1.0
    for step, value in enumerate([2.0, 3.0, 5.0, 7.0, 11.0], start=1):
        student.weight.data.fill_(value)
        decay = min(1 - 1 / (step + 1), 0.75)
        expected = decay * expected + (1 - decay) * value
        target.update()
        assert target.average.weight.item() == pytest.approx(expected)


def test_ema_averages_batch_norm_statistics_and_stays_in_eval_mode():
    student = convnet()
    target = Ema(student, decay=0.9).train()
    student(5 + torch.randn(16, 3, 8, 8))
    before = target.average[1].running_mean.clone()
    target.update()
    assert not torch.equal(target.average[1].running_mean, before)
    assert not target.average.training


def test_ema_watches_the_student_without_owning_it():
    student = nn.Linear(2, 2)
    target = Ema(student)
    assert set(target.state_dict()) == {"updates", "average.weight", "average.bias"}
    assert not any(parameter.requires_grad for parameter in target.parameters())


def test_ema_state_restores_the_average():
    student = nn.Linear(2, 2)
    target, other = Ema(student), Ema(nn.Linear(2, 2))
    student.weight.data.add_(1)
    target.update()
    other.load_state_dict(target.state_dict())
    assert torch.equal(other.average.weight, target.average.weight)
    assert other.updates == 1
