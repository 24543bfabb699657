"""A folded teacher is the teacher: networks that share layers, and timm's."""

import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from drkd import Frozen, InputError
from drkd.targets.folding import fold_batch_norms

BATCH_NORM = nn.modules.batchnorm._BatchNorm


def trained(network):
    """`network` in eval mode with norms unlike the initial ones."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, BATCH_NORM):
            part.running_mean.normal_(0, 0.5, generator=generator)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(part.bias, 0, 0.5, generator=generator)
    return network.eval()


def norms(network):
    return sum(isinstance(part, BATCH_NORM) for part in network.modules())


class Shared(nn.Module):
    """One convolution, two norms, and another pair that may be folded."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.stem, self.stem_norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv, self.norm, self.other = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.again = self.conv  # the same module under another name

    def forward(self, inputs):
        x = F.relu(self.stem_norm(self.stem(inputs)))
        return WAYS[self.way](self, x).mean(dim=(2, 3))


def twice(first, second):
    return lambda net, x: second(net, F.relu(first(net, x)))


def pair(net, x):
    return net.norm(net.conv(x))


def beside(second):
    def both(net, x):
        y = net.conv(x)
        return net.norm(y) + second(net, y)

    return both


WAYS = {
    "convolution called twice": twice(pair, lambda net, x: net.other(net.conv(x))),
    "convolution under two names": twice(pair, lambda net, x: net.other(net.again(x))),
    "block called twice": twice(pair, pair),
    "with and without its norm": twice(pair, lambda net, x: net.conv(x)),
    "norm called twice": lambda net, x: net.norm(pair(net, x)),
    "two norms after it": beside(lambda net, y: net.other(y)),
    "its output used beside the norm": beside(lambda net, y: y),
    "its weight used elsewhere": lambda net, x: F.conv2d(pair(net, x), net.conv.weight, padding=1),
    "its weight tied": lambda net, x: F.conv2d(pair(net, x), net.tied, padding=1),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_called_more_than_once_stays_as_it_is(way):
    network = Shared(way)
    network.tied = network.conv.weight
    trained(network)
    inputs = torch.randn(4, 3, 6, 6)
    target = Frozen(network)
    assert target.folded
    assert norms(target.network) == 2  # of three; the stem's is folded
    assert torch.allclose(target.answer(inputs), network(inputs), atol=1e-5)
    assert target.folded


def test_two_layers_that_share_a_weight_are_folded_each():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Flatten())
    network[2].weight = network[0].weight
    target = Frozen(trained(network))
    inputs = torch.randn(4, 3, 2, 2)
    assert norms(target.network) == 0
    assert torch.allclose(target.answer(inputs), network(inputs), atol=1e-5)


def test_hooks_subclasses_and_norms_without_statistics_stay():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten())
    network[0].register_forward_hook(lambda module, given, made: 2 * made)
    assert fold_batch_norms(trained(network)) is None
    scaled = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1))
    assert fold_batch_norms(trained(nn.Sequential(scaled, nn.BatchNorm2d(4)))) is None
    assert fold_batch_norms(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))) is None


def test_hooks_of_the_whole_network_still_run():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten()))
    network.register_forward_hook(lambda module, given, made: 2 * made)
    inputs = torch.randn(4, 3, 2, 2)
    target = Frozen(network)
    assert torch.allclose(target.answer(inputs), network(inputs), atol=1e-5)
    assert target.folded


class Deceiving(nn.Module):
    """Its code is another one while it is traced."""

    def __init__(self, broken):
        super().__init__()
        self.conv, self.norm, self.broken = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), broken

    def forward(self, inputs):
        if isinstance(inputs, torch.Tensor):
            return self.conv(inputs).mean((2, 3)) * (self.norm.eps if self.broken else 1)
        return self.norm(self.conv(inputs))


@pytest.mark.parametrize(("broken", "message"), [(False, "of the largest logit"), (True, "no attribute 'eps'")])
def test_a_folded_copy_that_differs_is_dropped_at_the_first_call(caplog, broken, message):
    network = trained(Deceiving(broken))
    target, inputs = Frozen(network), torch.randn(4, 3, 2, 2)
    assert target.folded
    assert torch.equal(target.answer(inputs), network(inputs))
    assert not target.folded
    assert "batch norms of the teacher Deceiving are not folded" in caplog.text
    assert message in caplog.text


def test_a_norm_over_another_dimension_is_found_out():
    """After a linear layer on (B, L, F) the norm is over L, which no trace shows."""
    network = trained(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Flatten()))
    target, inputs = Frozen(network), torch.randn(3, 4, 5)
    assert torch.equal(target.answer(inputs), network(inputs))
    assert not target.folded


def test_one_network_is_left_after_the_first_call():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten()))
    target = Frozen(network)
    assert len(target._outside) == 2
    target.to(torch.float64).answer(torch.randn(4, 3, 2, 2, dtype=torch.float64))
    assert [norms(left) for left in target._outside] == [0]
    assert pickle.loads(pickle.dumps(target)).folded


def test_a_batch_without_rows_decides_nothing():
    target = Frozen(trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten())))
    assert target.answer(torch.randn(0, 3, 2, 2)).shape == (0, 16)
    assert len(target._outside) == 2
    target.answer(torch.randn(1, 3, 2, 2))
    assert len(target._outside) == 1
    assert target.folded


def test_comparing_leaves_the_precision_as_it_was():
    operations = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [operation.fp32_precision for operation in operations]
    Frozen(trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))).answer(torch.randn(4, 3, 2, 2))
    assert [operation.fp32_precision for operation in operations] == before
    assert torch.backends.cudnn.allow_tf32 is not None  # the older interface still reads


def test_autocast_does_not_make_the_copy_differ():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten()))
    target = Frozen(network)
    with torch.autocast("cpu", torch.bfloat16):
        target.answer(torch.randn(4, 3, 2, 2))
    assert target.folded


def test_a_teacher_that_returns_no_tensor_is_refused():
    class Wrapped(nn.Module):
        def forward(self, inputs):
            return {"logits": inputs}

    for teacher in (Wrapped(), lambda inputs: {"logits": inputs}):
        with pytest.raises(InputError, match="must return a tensor of logits, got dict; use the logits in its output"):
            Frozen(teacher).answer(torch.zeros(1, 2))


FOLDED = [
    *("resnet18", "resnet10t", "resnest14d", "skresnet18", "legacy_seresnet18", "ghostnet_050", "dla46_c"),
    *("hrnet_w18_small", "levit_128s", "fasternet_t0", "starnet_s1"),
]
"""Small networks of timm's families. `python benchmarks/folding.py` has 33."""

LEFT = ["lcnet_050", "efficientvit_b0"]
"""Those whose batch norms are of a subclass of the usual one."""


@pytest.mark.parametrize("name", [*FOLDED, *LEFT])
def test_timm_networks_answer_as_they_are(name):
    network = trained(timm.create_model(name, num_classes=10))
    inputs = torch.randn(2, 3, *([224] * 2 if name.startswith("levit") else [64] * 2))
    target = Frozen(network)
    with torch.no_grad():
        expected = network(inputs)
    difference = (target.answer(inputs) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-4
    assert target.folded == (name in FOLDED)  # the comparison found nothing to complain of
