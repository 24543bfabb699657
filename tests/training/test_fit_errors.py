"""What `fit` refuses before it trains."""

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError, Objective, OneHot, Target, Term

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


def test_data_of_no_task_is_refused():
    with pytest.raises(InputError, match=r"fit needs data of drkd, got list; use drkd.load_data"):
        drkd.fit(network(), drkd.cross_entropy(), [1, 2], **SMALL)
