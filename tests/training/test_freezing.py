"""Parts of a network that do not learn, for a while or at all: not a bit of them changes, and nothing is forgotten."""

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError
from drkd.config import FitSettings
from drkd.training.freezing import Freezing

QUICK = {"epochs": 3, "batch_size": 20, "lr": 0.05, "schedule": "constant", "select": "last", "weight_decay": 0.1}


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=60)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 10)),
    )


def state(student):
    return {name: tensor.clone() for name, tensor in student.state_dict().items()}


def trained(data, **options):
    """What changed in the training: names of tensors, after each epoch and at the end; the student."""
    student, after = network(), []
    done = drkd.fit(
        student, drkd.cross_entropy(), data, on_epoch=lambda _: after.append(state(student)), **{**QUICK, **options}
    )
    assert all(parameter.requires_grad for parameter in student.parameters())
    return student, after, done.history


def changed(before, after):
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("freeze", "learned"),
    [(None, "01348"), (1, "348"), (2, "8"), ("backbone", "8")],
    ids=["none", "1", "2", "backbone"],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_is_frozen_stays_to_the_bit_with_its_statistics(data, freeze, learned, optimizer):
    student, _, _ = trained(data, freeze=freeze, optimizer=optimizer)
    assert changed(state(network()), state(student)) == set(learned)


def test_the_classifier_learns_first_and_then_all(data):
    _, (first, second, _), _ = trained(data, head_epochs=1)
    alone, (same, *_), _ = trained(data, freeze="backbone")
    assert changed(state(network()), first) == {"8"}
    assert changed(first, second) == set("01348")
    assert changed(first, same) == set()
    assert changed(first, state(alone)) == {"8"}


def test_frozen_dropout_drops_nothing(data):
    with_dropout, without = network(), network()
    with_dropout.insert(8, nn.Dropout(0.9))
    rows = [
        drkd.fit(student, drkd.cross_entropy(), data, freeze="backbone", **QUICK).history
        for student in (with_dropout, without)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("options", "stop_at"),
    [
        ({"head_epochs": 1, "optimizer": "adamw", "layer_decay": 0.5, "head_lr": 0.2, "no_norm_decay": True}, 2),
        ({"head_epochs": 1, "layer_decay": 0.5, "head_lr": 0.2, "no_norm_decay": True}, 7),
        ({"freeze": 1, "head_epochs": 1}, 4),
    ],
    ids=["the classifier's epochs", "all layers' epochs", "a block frozen"],
)
def test_it_resumes_to_the_bit(data, tmp_path, options, stop_at):
    whole, _, history = trained(data, **options)

    stopping = drkd.cross_entropy()

    def update(**now):
        if round(9 * now["progress"]) == stop_at:
            raise KeyboardInterrupt

    stopping.update = update
    options = {**QUICK, **options, "out": tmp_path, "checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        drkd.fit(network(), stopping, data, **options)
    student = network()
    resumed = drkd.fit(student, drkd.cross_entropy(), data, resume=True, **options)
    assert resumed.history == history
    assert changed(state(whole), state(student)) == set()


def test_what_the_caller_froze_stays_frozen(data):
    student = network()
    student[3].requires_grad_(False)
    drkd.fit(student, drkd.cross_entropy(), data, **{**QUICK, "head_epochs": 1})
    assert changed(state(network()), state(student)) == set("0148")
    assert [parameter.requires_grad for parameter in student[3].parameters()] == [False, False]


def test_a_failed_training_leaves_no_parameter_frozen(data):
    student = network()
    with pytest.raises(drkd.NonFiniteLossError):
        drkd.fit(student, drkd.cross_entropy(), data, **{**QUICK, "freeze": 1, "lr": 1e30})
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_a_module_without_parameters_goes_with_the_one_before_it():
    student = nn.Sequential(
        *(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Dropout()),
        *(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(2, 2)),
    )
    Freezing(student, FitSettings(freeze=1)).begin(0)
    assert [part.training for part in student] == [False] * 3 + [True] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"freeze": 3},
            r"^--freeze 3 leaves nothing to train: .* 3 blocks with its classifier; choose 1 to 2, or backb",
        ),
        ({"freeze": "head"}, "^freeze should be backbone, or a number of blocks from 1 on, got 'head'$"),
        ({"freeze": 0}, "^freeze should be backbone, or a number of blocks from 1 on, got 0$"),
        ({"freeze": True}, "^freeze should be a number or a name, not yes or no, got True$"),
        (
            {"head_epochs": 3},
            r"^--head-epochs 3 leaves none of the 3 epochs for the other layers; choose fewer, or --fr",
        ),
    ],
)
def test_what_cannot_be_is_refused(data, options, message):
    with pytest.raises(InputError, match=message):
        trained(data, **options)


@pytest.mark.parametrize("options", [{"freeze": "backbone"}, {"head_epochs": 1}, {"head_lr": 0.1}])
def test_a_network_without_a_linear_classifier_is_refused(data, options):
    student = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    with pytest.raises(InputError, match=r"^the network Sequential has no linear layer as its classifier, which"):
        drkd.fit(student, drkd.cross_entropy(), data, **{**QUICK, **options})
