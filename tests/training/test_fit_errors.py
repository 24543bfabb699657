"""What `fit` refuses before it trains."""

import re

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError, Objective, OneHot, Target, Term
from drkd.config import FitSettings

SMALL = {"epochs": 3, "batch_size": 50}


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=120)


def network():
    torch.manual_seed(0)
    return drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)


def test_a_need_that_the_loader_cannot_meet_fails_before_the_first_step(data):
    class Psychic(Target):
        needs = frozenset({"tomorrow"})

    objective = Objective("psychic", [Term(OneHot(), name="ce"), Term(Psychic(), name="soft")])
    with pytest.raises(InputError, match="`psychic` needs tomorrow"):
        drkd.fit(network(), objective, data, **SMALL)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs should be greater than or equal to 1, got 0"),
        ({"lr": 0.0}, "lr should be greater than 0, got 0.0"),
        ({"clip_norm": -1.0}, "clip_norm should be greater than 0, got -1.0"),
        ({"optimizer": "adam"}, "optimizer should be 'sgd' or 'adamw', got 'adam'"),
        ({"epoch": 3}, r"unknown option 'epoch'; did you mean epochs\?"),
        ({"checkpoint_every": "often"}, "checkpoint_every must be epoch, a number of steps or seconds"),
    ],
)
def test_bad_settings_are_refused(data, setting, message):
    with pytest.raises(InputError, match=message):
        drkd.fit(network(), drkd.cross_entropy(), data, **{**SMALL, **setting})


def test_a_student_without_parameters_is_refused(data):
    with pytest.raises(InputError, match="no parameters"):
        drkd.fit(nn.Flatten(), drkd.cross_entropy(), data, **SMALL)


class Half(nn.Module):
    """Not all of a protocol."""

    name = "half"
    needs = frozenset()


@pytest.mark.parametrize(
    ("objective", "got"),
    [
        (nn.functional.cross_entropy, "the function cross_entropy"),
        (drkd.dr_kd, "the function dr_kd"),
        (lambda logits, labels: 0, "the function <lambda>"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss, which has no name, needs, reset, prepare, update, discard"),
        (Half(), "Half, which has no reset, prepare, update, discard"),
        ("dr_kd", "'dr_kd'"),
        (None, "NoneType"),
    ],
)
def test_a_plain_loss_is_refused(data, objective, got):
    message = f"expected an objective such as drkd.cross_entropy(), got {got}"
    with pytest.raises(InputError, match=re.escape(message)):
        drkd.fit(network(), objective, data, **SMALL)


def test_a_student_that_is_no_network_is_refused(data):
    with pytest.raises(InputError, match=r"fit needs a network, got str; make one with drkd.create_model"):
        drkd.fit("resnet18", drkd.cross_entropy(), data, **SMALL)
    with pytest.raises(InputError, match="method must be a function from a teacher to an objective"):
        drkd.self_distill(network(), data, "dr_kd", **SMALL)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda logits: {"logits": logits}, "a tensor of logits, got dict"),
        (lambda logits: (logits,), "a tensor of logits, got tuple"),
        (lambda logits: logits.argmax(1), r"float logits, got int64 \(50,\)"),
    ],
)
def test_a_network_that_returns_no_logits_is_refused(data, output, message):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, inputs):
            return output(self.inner(inputs))

    with pytest.raises(InputError, match=f"`cross_entropy` needs {message}"):
        drkd.fit(Wrapped(), drkd.cross_entropy(), data, **SMALL)
    with pytest.raises(InputError, match=f"the teacher Wrapped must return {message}"):
        drkd.fit(network(), drkd.dr_kd(Wrapped()), data, **SMALL)
    with pytest.raises(InputError, match="the network Wrapped must return"):
        drkd.evaluate(Wrapped(), data)


def test_settings_and_options_at_once_are_refused(data):
    with pytest.raises(
        InputError, match="fit takes either settings or options, got both; put epochs, lr into the settings"
    ):
        drkd.fit(network(), drkd.cross_entropy(), data, settings=FitSettings(), epochs=1, lr=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamw", "momentum": 0.9}, "momentum has no effect with optimizer adamw; .* optimizer sgd"),
        ({"schedule": "cosine", "milestones": (0.5,)}, "milestones has no effect with schedule cosine; .* schedule st"),
        ({"schedule": "constant", "gamma": 0.2}, "gamma has no effect with schedule constant; leave it out, or"),
    ],
)
def test_options_without_effect_are_refused(data, options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        drkd.fit(network(), drkd.cross_entropy(), data, **{**SMALL, **options})


def test_an_unknown_split_is_refused(data):
    with pytest.raises(InputError, match="split must be train, val or test, got 'tset'"):
        drkd.evaluate(network(), data, "tset")


def test_data_of_no_task_is_refused():
    with pytest.raises(
        InputError, match=r"the train split cannot be read from int; give \(inputs, labels\) or a data set"
    ):
        drkd.fit(network(), drkd.cross_entropy(), [1, 2], **SMALL)
