"""The networks of the papers: published counts, every image size, gradients, folding, other libraries' results.

Shapes and counts are taken on the meta device, where nothing is computed; real numbers at the smallest size.
"""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.fx import symbolic_trace
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm

from drkd import InputError, create_model
from drkd.models import MODELS
from drkd.models.counting import count_macs
from drkd.models.shufflenetv2 import shuffle
from models.published import PUBLISHED

DEEPER = {"resnet34", "resnet101", "resnext29_8x64d", "wrn40_2", "wrn28_10"}
"""Networks with the same blocks as a smaller one, only more or wider."""
WITHOUT_DEEPER = pytest.mark.parametrize("name", sorted(set(MODELS) - DEEPER), indirect=True, scope="module")
SMALLEST = {"alexnet": 32, "vgg19_bn": 32, "densenet121": 8, "cnn": 8}
"""Networks with a smallest size; the others take any."""
CLASSES = 5


def smallest(name):
    return SMALLEST.get(name, 8)


@functools.cache
def shapes(name, num_classes=100, image_size=32, channels=3):
    """The network without numbers."""
    with torch.device("meta"):
        return create_model(name, num_classes=num_classes, image_size=image_size, channels=channels).eval()


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(scope="module", params=sorted(MODELS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    """A real network whose batch norms have seen something, made once for its two tests."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES, image_size=smallest(name), channels=1)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def images(name):
    return torch.rand(2, 1, smallest(name), smallest(name), generator=torch.Generator().manual_seed(1))


@WITHOUT_DEEPER
def test_gradients_in_training_move_every_layer(name, network):
    model = copy.deepcopy(network).train()
    torch.manual_seed(1)
    logits = model(torch.rand(3, 1, smallest(name), smallest(name)))
    F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert parameter.ndim == 1 or parameter.grad.abs().max() > 0, key  # a bias before a batch norm moves nothing


@torch.no_grad()
def test_folding_batch_norms_changes_nothing(network, images):
    before, parameters = network(images), count(network)
    assert before.shape == (2, CLASSES)
    assert before.isfinite().all()
    assert not torch.equal(before[0], before[1])
    folded = fuse(network, inplace=True)  # the last test of this network; a copy would only take time
    torch.testing.assert_close(folded(images), before, rtol=1e-4, atol=1e-5)
    assert (count(folded) < parameters) == any(isinstance(module, _BatchNorm) for module in network.modules())


@pytest.mark.parametrize("name", sorted(PUBLISHED), scope="function")
def test_counts_are_the_published_ones(name):
    published = PUBLISHED[name]
    assert count(shapes(name)) == published.parameters
    assert round(count_macs(shapes(name), (3, 32, 32)) / 1e6, 1) == published.macs32
    if published.macs64 is not None:
        large = shapes(name, num_classes=200, image_size=64)
        assert round(count_macs(large, (3, 64, 64)) / 1e6, 1) == published.macs64


def test_vgg19_counts_by_hand():
    """Configuration E: 2, 2, 4, 4, 4 convolutions of 3x3, at 32, 16, 8, 4, 2 pixels a side."""
    pairs = 3 * 64 + 64 * 64, 64 * 128 + 128 * 128, 128 * 256 + 3 * 256**2, 256 * 512 + 3 * 512**2, 4 * 512**2
    weights = 9 * sum(pairs)
    features = 2 * 64 + 2 * 128 + 4 * 256 + 8 * 512
    assert count(shapes("vgg19_bn")) == weights + 3 * features + (512 * 100 + 100)  # bias, and batch norm's two
    assert count(shapes("vgg19_bn")) == 20_086_692
    macs = 9 * sum(pair * side**2 for pair, side in zip(pairs, (32, 16, 8, 4, 2), strict=True)) + 512 * 100
    assert count_macs(shapes("vgg19_bn"), (3, 32, 32)) == macs


@pytest.mark.parametrize(
    ("name", "classes", "size", "channels", "parameters"),
    [("resnet18", 200, 64, 3, 11_271_432), ("mlp", 10, 8, 1, 26_122), ("small_cnn", 10, 32, 3, 24_346)],
)
def test_other_parameter_counts(name, classes, size, channels, parameters):
    assert count(shapes(name, classes, size, channels)) == parameters


def test_multiply_adds_by_hand():
    model = nn.Sequential(nn.Conv2d(6, 4, 3, stride=2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 3 * 4, 5))
    assert count_macs(model, (6, 7, 9)) == (3 * 4) * 4 * (3 * 9) + 48 * 5


def test_counting_leaves_the_network_as_it_is():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = copy.deepcopy(model.state_dict())
    count_macs(model, (1, 3, 3))
    assert model[1].training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_an_odd_size_gives_logits(name):
    model = shapes(name, image_size=45 if name == "mlp" else 32)  # the others are the same whatever they are made for
    with torch.no_grad():
        assert model(torch.empty(2, 3, 45, 45, device="meta")).shape == (2, 100)


@pytest.mark.parametrize("name", sorted(DEEPER), scope="function")
def test_gradients_reach_every_parameter_of_the_deeper_ones(name):
    model = shapes(name)
    logits = model(torch.empty(2, 3, 8, 8, device="meta"))
    torch.autograd.grad(logits.sum(), list(model.parameters()))  # raises for a parameter that is not reached


@WITHOUT_DEEPER
def test_larger_images_give_as_many_rows(name):
    model = shapes(name, image_size=64 if name == "mlp" else 32)
    with torch.no_grad():
        assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 100)


@pytest.mark.parametrize("name", sorted(SMALLEST), scope="function")
def test_a_image_below_the_smallest_size_is_an_error(name):
    least = SMALLEST[name]
    with pytest.raises(InputError, match=f"{name} needs images of {least}x{least} or more, got {least - 1}x"):
        shapes(name, image_size=least - 1)


@WITHOUT_DEEPER
def test_another_number_of_classes_changes_one_layer(name):
    few, many = (shapes(name, classes).state_dict() for classes in (CLASSES, 100))
    assert list(few) == list(many)
    changed = {key.rpartition(".")[0] for key in few if few[key].shape != many[key].shape}
    assert len(changed) == 1
    assert all(few[key].shape[1:] == many[key].shape[1:] for key in few)


def test_resnet18_keeps_the_names_of_saved_weights():
    names = set(shapes("resnet18").state_dict())
    assert {"stem.0.weight", "stages.0.1.body.4.running_var", "stages.3.0.shortcut.1.bias", "head.2.weight"} <= names


THEIRS = torchvision.models


def _their_resnet(make):
    model = make(num_classes=CLASSES)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def _their_resnext():
    model = THEIRS.ResNet(THEIRS.resnet.Bottleneck, [3, 3, 3, 1], CLASSES, groups=8, width_per_group=64)
    model.conv1, model.maxpool, model.layer4 = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity(), nn.Identity()
    model.fc = nn.Linear(1024, CLASSES)
    return model


def _their_densenet():
    model = THEIRS.densenet121(num_classes=CLASSES)
    model.features.conv0 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.features.norm0 = model.features.relu0 = model.features.pool0 = nn.Identity()
    return model


def _their_vgg():
    features = THEIRS.vgg.make_layers(THEIRS.vgg.cfgs["E"], batch_norm=True)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("resnet18", lambda: _their_resnet(THEIRS.resnet18)),
        ("resnet50", lambda: _their_resnet(THEIRS.resnet50)),
        ("resnext29_8x64d", _their_resnext),
        ("densenet121", _their_densenet),
        ("vgg19_bn", _their_vgg),
    ],
    scope="function",
)
def test_ours_computes_what_torchvisions_does(name, make):
    torch.manual_seed(0)
    ours = copy.deepcopy(shapes(name, CLASSES))
    with torch.device("meta"):
        theirs = make()
    theirs.to_empty(device="cpu").apply(lambda layer: getattr(layer, "reset_parameters", int)())
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)  # the same layers in the same order
    ours.load_state_dict(dict(weights), assign=True)
    images = torch.rand(3, 3, smallest(name), smallest(name))
    for training in (True, False) if name == "resnet18" else (False,):
        with torch.no_grad():
            torch.testing.assert_close(ours.train(training)(images), theirs.train(training)(images))


def test_shuffling_is_pytorchs_over_two_groups():
    one, other = torch.rand(2, 2, 3, 4, 5)
    torch.testing.assert_close(shuffle(one, other), F.channel_shuffle(torch.cat((one, other), dim=1), 2))


def followers(model):
    """For every batch norm, the kinds of layers that read it."""
    graph = symbolic_trace(model)
    layers = dict(graph.named_modules())
    norms = [n for n in graph.graph.nodes if n.op == "call_module" and isinstance(layers[n.target], _BatchNorm)]
    return [{type(layers[user.target]) if user.op == "call_module" else None for user in n.users} for n in norms]


@pytest.mark.parametrize("name", ["googlenet", "densenet121", "vgg19_bn", "wrn16_2", "cnn"], scope="function")
def test_a_relu_follows_every_batch_norm(name):
    assert all(kinds == {nn.ReLU} for kinds in followers(shapes(name)))


def test_mobilenetv2s_bottlenecks_are_linear():
    kinds = followers(shapes("mobilenetv2"))
    assert sum(kind != {nn.ReLU6} for kind in kinds) == 17
    assert len(kinds) == 2 + 3 * 17


def test_shufflenetv2s_convolutions_per_channel_are_linear():
    kinds = followers(shapes("shufflenetv2"))
    assert sum(kind != {nn.ReLU} for kind in kinds) == 16 + 3  # a unit has one, a halving unit two


def test_every_batch_norm_has_the_usual_epsilon(name):
    assert all(m.eps == 1e-5 for m in shapes(name).modules() if isinstance(m, _BatchNorm))
