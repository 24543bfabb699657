import copy

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError
from drkd.models.counting import count_macs
from drkd.training import compilation
from drkd.training.compilation import Compiled, choose_memory_format, has_compiler, should_compile

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=120)


def network(seed=0):
    torch.manual_seed(seed)
    return drkd.create_model("small_cnn", num_classes=10, image_size=8, channels=1)


def outcome(data, **options):
    student = network()
    done = drkd.fit(student, drkd.dr_kd(network(seed=1)), data, epochs=2, batch_size=30, lr=0.01, **options)
    return done.history, nn.utils.parameters_to_vector(student.parameters()).detach()


def equal(ours, theirs):
    assert torch.allclose(ours[1], theirs[1], rtol=1e-3, atol=1e-5)
    for row, other in zip(ours[0], theirs[0], strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_channels_last_gives_the_same_numbers_to_float_tolerance(data):
    """And by itself where the network convolves; to the bit it is another path."""
    last, chosen = outcome(data, memory_format="channels_last"), outcome(data)
    plain = outcome(data, memory_format="contiguous")
    equal(last, plain)
    assert torch.equal(last[1], chosen[1])
    assert not torch.equal(last[1], plain[1])


def test_student_and_teacher_lie_alike_while_training_and_as_usual_afterwards(data):
    student, teacher = network(), network(seed=1)
    objective, seen = drkd.dr_kd(teacher), []

    def look(row):
        for module in (student, objective.terms[1].target.target.network):
            convolution = next(
                layer for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.in_channels > 1
            )
            seen.append(convolution.weight.is_contiguous(memory_format=torch.channels_last))

    drkd.fit(student, objective, data, epochs=1, on_epoch=look)
    assert seen == [True, True]
    assert all(tensor.is_contiguous() for tensor in (*student.parameters(), *teacher.parameters()))


def test_auto_lays_out_by_the_network():
    assert choose_memory_format("auto", nn.Sequential(nn.Flatten(), nn.Linear(3, 2))) == torch.contiguous_format
    assert choose_memory_format("auto", network()) == torch.channels_last
    assert choose_memory_format("contiguous", network()) == torch.contiguous_format


def test_compiling_gives_the_same_numbers_to_float_tolerance(data):
    if not has_compiler():
        with pytest.raises(InputError, match="needs a C\\+\\+ compiler"):
            outcome(data, compile="on")
        return
    equal(outcome(data, compile="on"), outcome(data))


def test_full_batches_are_compiled_and_others_are_not(monkeypatch):
    compiled = []

    def compiler(function, dynamic):
        assert not dynamic
        return lambda inputs: compiled.append(len(inputs)) or function(inputs)

    monkeypatch.setattr(torch, "compile", compiler)
    network = Compiled(nn.Linear(2, 3), 4, required=False)
    for size in (4, 3, 4):
        assert network(torch.ones(size, 2)).shape == (size, 3)
    assert compiled == [4, 4]


@pytest.mark.parametrize("required", [False, True])
def test_a_network_that_cannot_be_compiled(monkeypatch, required):
    def compiler(function, dynamic):
        def fails(inputs):
            raise RuntimeError("unsupported\nand much more")

        return fails

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(compilation, "has_compiler", lambda: True)
    network = Compiled(nn.Linear(2, 3), 4, required=required)
    if required:
        with pytest.raises(InputError, match=r"cannot be compiled \(RuntimeError: unsupported\); use --compile off"):
            network(torch.ones(4, 2))
    else:
        with pytest.warns(UserWarning, match="cannot be compiled .* training runs uncompiled"):
            assert network(torch.ones(4, 2)).shape == (4, 3)
        assert network(torch.ones(4, 2)).shape == (4, 3)  # warned of once


def test_only_long_trainings_are_compiled_by_themselves(monkeypatch):
    """resnet18 on 50,000 images of CIFAR-10: 555,422,720 multiply-adds forward, three times that in all."""
    resnet = drkd.create_model("resnet18", num_classes=10, image_size=32)
    limit = compilation.COMPILE_FROM / (3 * 555_422_720)

    def auto(images, device=CPU, model=resnet):
        return should_compile("auto", model, (3, 32, 32), images=images, device=device)

    monkeypatch.setattr(compilation, "has_compiler", lambda: True)
    assert (auto(int(limit)), auto(int(limit) + 1)) == (False, True)
    assert not auto(10**9, device=torch.device("meta"))
    assert not auto(10**9, model=OnlyNumbers())
    monkeypatch.setattr(compilation, "has_compiler", lambda: False)
    assert not auto(10**9)
    assert should_compile("on", resnet, (3, 32, 32), images=1, device=CPU)
    assert not should_compile("off", resnet, (3, 32, 32), images=10**9, device=CPU)


def test_a_short_training_is_not_counted(monkeypatch):
    """The bound holds for a network that scales its images up fourfold, in whose layers weights count most often."""
    scales_up = nn.Sequential(nn.Upsample(scale_factor=4), nn.Conv2d(3, 8, 3, padding=1))
    weights = sum(weight.numel() for weight in scales_up.parameters())
    assert count_macs(scales_up, (3, 8, 8)) <= compilation.USES_OF_A_WEIGHT * weights * 3 * 8 * 8
    counted = []
    monkeypatch.setattr(compilation, "has_compiler", lambda: True)
    monkeypatch.setattr(compilation, "count_macs", lambda *_: counted.append(1) or 1)
    images = compilation.COMPILE_FROM / (3 * compilation.USES_OF_A_WEIGHT * weights * 3 * 8 * 8)
    for number in (int(images), int(images) + 1):
        assert not should_compile("auto", scales_up, (3, 8, 8), images=number, device=CPU)
    assert counted == [1]


class OnlyNumbers(nn.Module):
    """A network that looks at values and so cannot run on shapes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 2)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1)) * (1 if float(inputs.sum()) > 0 else 2)


def test_without_a_compiler_compiling_is_refused(monkeypatch):
    monkeypatch.setattr(compilation, "has_compiler", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(
        InputError, match=r"needs a C\+\+ compiler, and there is none; install g\+\+, or use --compile off"
    ):
        Compiled(nn.Linear(2, 3), 4, required=True)


@pytest.mark.parametrize("option", [{"memory_format": "diagonal"}, {"compile": "maybe"}])
def test_unknown_choices_are_refused(data, option):
    with pytest.raises(InputError, match=f"{next(iter(option))} should be 'auto', "):
        drkd.fit(copy.deepcopy(network()), drkd.cross_entropy(), data, **option)
