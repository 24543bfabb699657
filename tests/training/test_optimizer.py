"""Parameter groups: each parameter's own learning rate and weight decay, against timm's and by hand."""

import sys

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

import drkd
from drkd.config import FitSettings
from drkd.models.parts import blocks_of, classifier_of
from drkd.training.optimizer import make_optimizer, parameter_groups, without_compiler


def by_parameter(network, groups):
    """Learning rate's factor and weight decay by the name of the parameter."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    found = [(names[each], group["lr_scale"], group["weight_decay"]) for group in groups for each in group["params"]]
    assert len(found) == len(names)
    return {name: (pytest.approx(scale, rel=1e-12), decay) for name, scale, decay in found}


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_groups_are_timms_own(name):
    network = timm.create_model(name, num_classes=5)
    settings = FitSettings(layer_decay=0.7, no_norm_decay=True, weight_decay=0.03)
    listed = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    theirs = param_groups_layer_decay(network, 0.03, listed, layer_decay=0.7)
    assert by_parameter(network, parameter_groups(network, settings)) == by_parameter(network, theirs)
    assert len({group["lr_scale"] for group in theirs}) > 3


def test_a_step_by_hand():
    """SGD without momentum: each parameter moves by its own rate times (gradient + its own decay times itself)."""
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    data = drkd.from_tensors((rows, labels), (rows, labels), validation=0.0)
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 5), nn.Linear(5, 3)).double()
    data = drkd.from_tensors((rows.double(), labels), (rows.double(), labels), validation=0.0)
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    nn.functional.cross_entropy(student(rows.double()), labels).backward()
    rates = {"0": 0.1 * 0.5**2, "1": 0.1 * 0.5**2, "2": 0.1 * 0.5, "3": 0.4}
    expected = {}
    for name, parameter in student.named_parameters():
        decay = 0.2 if name.endswith("weight") and name != "1.weight" else 0.0
        expected[name] = before[name] - rates[name[0]] * (parameter.grad + decay * before[name])
    drkd.fit(
        student,
        drkd.cross_entropy(),
        data,
        **{"epochs": 1, "batch_size": 6, "lr": 0.1, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.2},
        layer_decay=0.5,
        head_lr=0.4,
        no_norm_decay=True,
    )
    for name, parameter in student.named_parameters():
        assert torch.allclose(parameter, expected[name], rtol=1e-9, atol=1e-12), name


def test_without_options_there_is_one_group_of_all_in_their_order():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    (group,) = make_optimizer(network, FitSettings()).param_groups
    assert group["lr_scale"] == 1.0
    assert all(ours is theirs for ours, theirs in zip(group["params"], network.parameters(), strict=True))
    assert group["fused"]


@pytest.mark.parametrize(
    ("name", "first", "count"),
    [("resnet18", "stem.0.weight", 10), ("mlp", "1.weight", 3), ("wrn16_2", "stem.weight", 8)],
)
def test_blocks_of_our_networks(name, first, count):
    network = drkd.create_model(name, num_classes=7, image_size=16)
    blocks = blocks_of(network)
    assert blocks[0][0] == first
    assert len(blocks) == count
    assert [each for block in blocks for each in block] == [each for each, _ in network.named_parameters()]
    prefix, classifier = classifier_of(network)
    assert classifier.out_features == 7
    assert {f"{prefix}.weight", f"{prefix}.bias"} == set(blocks[-1])


@pytest.mark.parametrize(
    ("kind", "options"),
    [(torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}), (torch.optim.AdamW, {"weight_decay": 0.1})],
)
def test_without_the_compiler_the_arithmetic_is_torchs_own(kind, options):
    """Bitwise, with hooks, and across a state that is saved and loaded."""
    students = []
    for maker in (kind, without_compiler(kind)):
        generator = torch.Generator().manual_seed(0)
        student = nn.Linear(4, 3)
        nn.init.normal_(student.weight, generator=generator)
        nn.init.zeros_(student.bias)
        optimizer = maker(student.parameters(), lr=0.1, fused=True, **options)
        seen = []
        optimizer.register_step_post_hook(lambda *_, seen=seen: seen.append(torch.is_grad_enabled()))
        for number in range(4):
            if number == 2:
                kept = optimizer.state_dict()
                optimizer = maker(student.parameters(), lr=0.5, fused=True, **options)
                optimizer.load_state_dict(kept)
            student(torch.randn(5, 4, generator=generator)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert seen == [True, True]
        assert student.weight.grad is None
        students.append(student)
    first, second = students
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("overflows", [(), (0,), (0, 1), (2,)])
def test_a_step_that_a_gradient_scaler_skips_leaves_weights_and_momentum_alone(momentum, overflows):
    """The weights are those of torch's plain SGD, which is not called for the skipped steps."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(8, 3, 3, 3, generator=generator)
    ours, theirs = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(3, 8, 3, bias=False)
    for network in (ours, theirs):
        network.weight.data = start.clone().contiguous(memory_format=torch.channels_last)
    optimizer = make_optimizer(ours, FitSettings(lr=0.1, momentum=momentum, weight_decay=0.01))
    plain = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=momentum, weight_decay=0.01, foreach=False)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(1))
    for step in range(4):
        gradient = torch.randn(8, 3, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last)
        theirs.weight.grad = gradient
        ours.weight.grad = scaler.get_scale() * gradient
        if step in overflows:
            ours.weight.grad[0, 0, 0, 0] = torch.inf
        else:
            plain.step()
        before = ours.weight.detach().clone()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(ours.weight, before) == (step in overflows)
        assert torch.allclose(ours.weight, theirs.weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_training_does_not_import_the_compiler(name, monkeypatch, tmp_path):
    """It takes longer than the rest of the start; an import of `None` fails."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    data = drkd.load_data("digits", limit_train=40)
    student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    drkd.fit(student, drkd.cross_entropy(), data, epochs=1, optimizer=name, lr=0.01, out=str(tmp_path / "run"))
    with pytest.raises(ImportError):
        torch.optim.SGD(student.parameters(), lr=0.1).step()
