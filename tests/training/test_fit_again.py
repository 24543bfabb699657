"""An objective that was used before: a new training forgets what the last one taught, a resumed one does not."""

import copy

import pytest
import torch

import drkd
from drkd import Ema, Objective, OneHot, Term
from drkd.methods.registry import all_methods, create
from drkd.training.step import Stepper
from drkd.utils.links import pointed_by

SMALL = {"epochs": 3, "batch_size": 25, "lr": 0.05}
METHODS = [name for name in all_methods() if name not in ("cross_entropy", "label_smoothing", "tf_kd_reg")]


def network(seed=0):
    torch.manual_seed(seed)
    return drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)


@pytest.fixture(scope="module")
def two():
    return drkd.load_data("digits", limit_train=80, seed=1), drkd.load_data("digits", limit_train=60, seed=2)


@pytest.mark.parametrize("name", METHODS)
def test_an_objective_is_not_taught_by_the_data_of_the_training_before(name, two):
    first, second = two
    used, fresh = (create(name, {}, teacher=network(7), epochs=3) for _ in range(2))
    drkd.fit(network(), used, first, **SMALL)
    found = drkd.fit(network(), used, second, **SMALL)
    assert found.history == drkd.fit(network(), fresh, second, **SMALL).history


def test_a_running_average_begins_with_the_student_as_it_is(two):
    first, second = two
    student = network()
    initial = copy.deepcopy(student.state_dict())
    objective = drkd.online_dr_kd(source=Ema(student))
    drkd.fit(student, objective, first, **SMALL)
    student.load_state_dict(initial)
    found = drkd.fit(student, objective, second, **SMALL)
    student.load_state_dict(initial)
    expected = drkd.fit(student, drkd.online_dr_kd(source=Ema(student)), second, **SMALL)
    assert found.history == expected.history


@pytest.mark.parametrize("name", ["ps_kd", "ols", "dlb", "dr_kd_clean_view"])
def test_a_resumed_training_knows_what_it_was_taught(name, two, tmp_path):
    first, second = two

    def make():
        return create(name, {}, teacher=network(7), epochs=3)

    def stop(row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    objective = make()
    with pytest.raises(KeyboardInterrupt):
        drkd.fit(network(), objective, second, out=str(tmp_path), on_epoch=stop, **SMALL)
    drkd.fit(network(), objective, first, **SMALL)
    found = drkd.fit(network(), objective, second, out=str(tmp_path), resume=True, **SMALL)
    assert found.history == drkd.fit(network(), make(), second, **SMALL).history


@pytest.mark.parametrize("skipped", [4, 6])
@pytest.mark.parametrize("name", ["max_sup", "ols", "dlb"])
def test_a_training_resumes_to_the_bit_after_a_skipped_step(name, skipped, two, tmp_path, monkeypatch):
    """Within an epoch of 3 steps, and at its end; where its step was skipped, the schedules and epochs go on."""
    step = Stepper.step
    skips = lambda stepper, batch: step(stepper, batch) and stepper.state.result.step != skipped - 1
    monkeypatch.setattr(Stepper, "step", skips)
    data, options = two[1], {**SMALL, "select": "last", "out": tmp_path, "checkpoint_every": skipped}
    whole, resumed, stopping = network(), network(), create(name, {}, epochs=3)
    expected = drkd.fit(whole, create(name, {}, epochs=3), data, **{**options, "out": None})
    update = stopping.update

    def stop(**now):
        update(**now)
        if now["progress"] > skipped / 9:
            raise KeyboardInterrupt

    stopping.update = stop
    with pytest.raises(KeyboardInterrupt):
        drkd.fit(resumed, stopping, data, **options)
    assert pointed_by(tmp_path / "checkpoints" / "last").name == f"step-{skipped}"
    found = drkd.fit(resumed, create(name, {}, epochs=3), data, resume=True, **options)
    assert found.history == expected.history
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())


def test_a_detector_begins_anew():
    pytest.importorskip("torchvision")
    from drkd.tasks.detection import DetectionData, DetectionSplit, create_detector

    box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    split = DetectionSplit.of([torch.zeros(3, 48, 64, dtype=torch.uint8)] * 4, [box] * 4)
    data = DetectionData("made up", ("cell",), 64, train=split, val=split, test=split)
    used = drkd.ps_kd()
    histories = []
    for objective in (used, used, drkd.ps_kd()):
        torch.manual_seed(0)
        student = create_detector("small_ssd", num_classes=1, image_size=64)
        histories.append(drkd.fit(student, objective, data, epochs=2, batch_size=2).history)
    assert histories[0] == histories[1] == histories[2]


def test_reset_puts_the_schedules_at_their_start():
    objective = Objective("mine", [Term(OneHot(), name="ce")])
    objective.update(progress=0.5, epoch=3)
    objective.reset()
    assert (objective.progress, objective.epoch) == (0.0, 0)
