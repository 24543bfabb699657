"""Seeds that train together get the numbers that they get alone."""

import copy
import signal

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError, NonFiniteLossError
from drkd.factory import create
from drkd.stacked import StackedNetwork, obstacle
from drkd.together import fit_together

SEEDS = (0, 3, 5)
SMALL = {"epochs": 3, "batch_size": 40}


class Doubled(nn.Module):
    """A network in float64, whatever it is fed with: what rounding there is stays small."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, inputs):
        return self.network(inputs.double())


@pytest.fixture(scope="module")
def data():
    return [drkd.load_data("digits", limit_train=120, seed=seed) for seed in SEEDS]


def networks(name, first=0):
    made = []
    for seed in SEEDS:
        torch.manual_seed(first + seed)
        made.append(Doubled(drkd.create_model(name, num_classes=10, image_size=8, channels=1)))
    return made


def together(name, data, method, settings, **options):
    students = networks(name)
    stacked = StackedNetwork(students)
    objective = create(method, settings, teacher=StackedNetwork(networks(name, 100)), student=stacked, epochs=3)
    objective.reduction = "none"
    done = fit_together(stacked, objective, data, seeds=SEEDS, **{**SMALL, **options})
    stacked.copy_to(students)
    return students, done


def weights(network):
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


METHODS = {
    "cross_entropy": {},
    "label_smoothing": {},
    "kd": {"temperature": 4.0},
    "tf_kd_self": {},
    "tf_kd_reg": {"convention": "reference", "multiplier": 10.0},
    "dr_kd": {"rectify": "drop"},
    "ps_kd": {},
    "online_dr_kd": {"source": "ema"},
    "max_sup": {"initial_weight": 0.0},
}


@pytest.mark.parametrize(
    ("network", "method", "settings"),
    [
        *(("mlp", method, settings) for method, settings in METHODS.items()),
        *(("mlp", method, {}) for method in ("dr_kd", "online_dr_kd")),
        *(("small_cnn", method, METHODS[method]) for method in ("cross_entropy", "online_dr_kd")),
        ("small_cnn", "dr_kd", {}),
    ],
)
def test_lanes_get_the_numbers_of_their_own_trainings(data, network, method, settings):
    students, done = together(network, data, method, settings)
    teachers = networks(network, 100)
    for lane, alone in enumerate(networks(network)):
        objective = create(method, settings, teacher=teachers[lane], student=alone, epochs=3)
        expected = drkd.fit(alone, objective, data[lane], seed=SEEDS[lane], **SMALL)
        assert len(done[lane].history) == 3
        for ours, theirs in zip(done[lane].history, expected.history, strict=True):
            assert list(ours) == list(theirs)
            assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-8)
        assert torch.allclose(weights(students[lane]), weights(alone), atol=1e-8)
        assert (done[lane].best_epoch, done[lane].step) == (expected.best_epoch, expected.step)


def test_the_other_settings_of_fit_mean_the_same(data):
    options = {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine", "warmup_epochs": 1.0, "weight_decay": 0.1}
    students, _ = together("mlp", data, "cross_entropy", {}, **options)
    for lane, alone in enumerate(networks("mlp")):
        drkd.fit(alone, drkd.cross_entropy(), data[lane], seed=SEEDS[lane], **SMALL, **options)
        assert torch.allclose(weights(students[lane]), weights(alone), atol=1e-8)


def test_without_validation_the_last_epoch_is_kept():
    data = [drkd.load_data("digits", limit_train=120, seed=seed, validation=0) for seed in SEEDS]
    students, done = together("mlp", data, "cross_entropy", {})
    assert [lane.best_epoch for lane in done] == [2, 2, 2]
    alone = networks("mlp")[1]
    drkd.fit(alone, drkd.cross_entropy(), data[1], seed=SEEDS[1], **SMALL)
    assert torch.allclose(weights(students[1]), weights(alone), atol=1e-8)


def test_the_last_epoch_is_kept_where_it_is_asked_for(data):
    options = {"select": "last", "lr": 0.5, "epochs": 6, "schedule": "constant"}
    students, done = together("mlp", data, "cross_entropy", {}, **options)
    assert [lane.best_epoch for lane in done] == [5, 5, 5]
    assert min(lane.history[5]["val_accuracy"] - max(r["val_accuracy"] for r in lane.history) for lane in done) < 0
    for lane, alone in enumerate(networks("mlp")):
        drkd.fit(alone, drkd.cross_entropy(), data[lane], seed=SEEDS[lane], **{**SMALL, **options})
        assert torch.allclose(weights(students[lane]), weights(alone), atol=1e-8)


@pytest.mark.parametrize("every", ["epoch", 2])
@pytest.mark.parametrize("method", ["dr_kd", "online_dr_kd"])
def test_a_group_goes_on_where_it_was_cut_to_the_bit(data, tmp_path, method, every):
    class PowerCutError(Exception):
        pass

    def cut(lane, row):
        if row["epoch"] == 1:
            raise PowerCutError

    outs = [tmp_path / str(seed) for seed in SEEDS]
    for out in outs:
        out.mkdir()
    options = {"checkpoint_every": every, "outs": outs}
    whole = together("small_cnn", data, method, {}, checkpoints=tmp_path / "whole", **options)
    rows = [(out / "metrics.csv").read_bytes() for out in outs]
    with pytest.raises(PowerCutError):
        together("small_cnn", data, method, {}, checkpoints=tmp_path / "cut", on_epoch=cut, **options)
    resumed = together("small_cnn", data, method, {}, checkpoints=tmp_path / "cut", **options)
    assert [lane.history for lane in resumed[1]] == [lane.history for lane in whole[1]]
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(resumed[0], whole[0], strict=True))
    assert [(out / "metrics.csv").read_bytes() for out in outs] == rows


def test_ctrl_c_waits_for_a_checkpoint_of_all_lanes(data, tmp_path):
    def press(lane, row):
        if (lane, row["epoch"]) == (1, 0):
            signal.raise_signal(signal.SIGINT)

    seldom = {"checkpoint_every": 1000, "checkpoints": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        together("mlp", data, "online_dr_kd", {}, on_epoch=press, **seldom)
    resumed, done = together("mlp", data, "online_dr_kd", {}, **seldom)
    whole, expected = together("mlp", data, "online_dr_kd", {})
    assert [lane.history for lane in done] == [lane.history for lane in expected]
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(resumed, whole, strict=True))


def test_a_divergence_stops_all_lanes(data):
    with pytest.raises(NonFiniteLossError, match=r"step \d+: the loss of `cross_entropy` is NaN or infinite"):
        together("mlp", data, "cross_entropy", {}, lr=1e200)


def test_objectives_that_cannot_be_shared_are_refused(data):
    for objective in (drkd.cross_entropy(), drkd.ols(reduction="none")):
        with pytest.raises(InputError, match="cannot be shared by lanes"):
            fit_together(StackedNetwork(networks("mlp")), objective, data, seeds=SEEDS)


@pytest.mark.parametrize("method", ["ols", "cs_kd", "dlb"])
def test_methods_whose_samples_teach_each_other_have_no_independent_rows(method):
    assert not create(method, {}).independent_rows
    assert create("online_dr_kd", {}).independent_rows


def test_a_stacked_network_is_its_networks_one_by_one():
    alone = [drkd.create_model("small_cnn", num_classes=4, image_size=8, channels=2) for _ in range(3)]
    stacked = StackedNetwork(alone)
    inputs = torch.randn(3, 6, 2, 8, 8)
    for training in (True, True, False):
        stacked.train(training)
        logits = stacked(inputs.flatten(0, 1))
        expected = torch.cat([network.train(training)(part) for network, part in zip(alone, inputs, strict=True)])
        assert torch.allclose(logits, expected, atol=1e-5)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in stacked.network.named_parameters():
        gradients = torch.stack([network.get_parameter(name).grad for network in alone])
        assert torch.allclose(parameter.grad, gradients, atol=1e-4)
    back = copy.deepcopy(alone)
    stacked.copy_to(back)
    for ours, theirs in zip(back, alone, strict=True):
        for name, value in theirs.state_dict().items():  # batch norm's statistics and count too
            assert torch.allclose(ours.state_dict()[name].double(), value.double(), atol=1e-6), name


def test_networks_of_other_shapes_do_not_stack():
    with pytest.raises(InputError, match="one architecture"):
        StackedNetwork([nn.Linear(2, 3), nn.Linear(2, 4)])


class ByValue(nn.Module):
    """Looks at a number before it goes on, which no stack of networks can."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1) if inputs.sum() >= 0 else -inputs.flatten(1))


def test_an_obstacle_is_named():
    layers = [nn.Flatten(), nn.Linear(16, 3)]
    assert obstacle(nn.Sequential(*layers), (1, 4, 4)) is None
    assert obstacle(nn.Sequential(*layers, nn.Dropout(0.0)), (1, 4, 4)) is None
    assert "random numbers" in obstacle(nn.Sequential(*layers, nn.Dropout(0.1)), (1, 4, 4))
    assert "cannot be stacked" in obstacle(ByValue(), (1, 4, 4))
