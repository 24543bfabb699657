"""The time that trainings will take is told before the first epoch; the trainings do not notice."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from drkd.config import TrainConfig, resolve
from drkd.methods.registry import create_from
from drkd.runs import estimating
from drkd.runs.building import build_student
from drkd.runs.estimating import Planned, announce, estimate_trainings, with_self_teacher
from drkd.runs.events import EpochDone, Estimate, Estimated, Progressed
from drkd.runs.measuring import Cost, measure
from drkd.runs.training import train
from drkd.tasks import get_task
from drkd.utils import progress

COST = Cost(
    step=2.0, steps=10, head_step=0.0, head_epochs=0, epoch=5.0, once=7.0, features=0.0, save=0.5, image=0.1, pass_=0.1,
    images=1000, image_size=224,
)  # fmt: skip
"""Of which an epoch takes 25 seconds."""


def config_of(**options):
    return resolve(TrainConfig, {"limit_train": 60, "epochs": 2, "method": "cross_entropy", **options})[0]


@pytest.mark.parametrize(
    ("changes", "every", "seconds"),
    [
        ({}, "epoch", 4 * 25 + 7 + 4 * 0.5),
        ({}, "20", 4 * 25 + 7 + 2 * 0.5),
        ({}, "10s", 4 * 25 + 7 + 11 * 0.5),
        ({"features": 30.0}, "epoch", 4 * 25 + 7 + 4 * 0.5 + 30),
        ({"head_epochs": 3, "head_step": 1.0}, "epoch", 3 * 15 + 25 + 7 + 4 * 0.5),
    ],
)
def test_a_cost_is_steps_epochs_checkpoints_and_what_comes_once(changes, every, seconds):
    assert replace(COST, **changes).seconds(4, every) == pytest.approx(seconds)


def test_features_that_are_there_cost_nothing():
    cost = replace(COST, features=30.0)
    assert cost.seconds(4, "epoch") - cost.seconds(4, "epoch", has_features=True) == 30


def planned(monkeypatch, costs, *, processes=1, **options):
    """The estimate of trainings whose methods cost so much, without a measurement; how often each was asked."""
    asked = []

    def pretend(config, *_, **__):
        asked.append(config.method)
        return costs[config.method]

    monkeypatch.setattr(estimating, "measure", pretend)
    monkeypatch.setattr(estimating.time, "perf_counter", lambda: 0.0)  # reading digits takes no time
    names = list(costs)
    trainings = [
        Planned(config_of(method=name, seed=seed, **options), Path(f"{seed}/{name}"), Path(f"{seed}/{names[0]}"))
        for seed in range(2)
        for name in names
    ]
    trainings = [replace(each, after=None if each.after == each.out else each.after) for each in trainings]
    return estimate_trainings(trainings, processes=processes), asked


def test_methods_are_measured_once_for_all_seeds(monkeypatch):
    found, asked = planned(monkeypatch, {"cross_entropy": COST, "dr_kd": replace(COST, step=3.0)})
    assert asked == ["cross_entropy", "dr_kd"]
    assert (found.trainings, found.epochs) == (4, 2)
    assert found.seconds == pytest.approx(2 * (58 + 78))


def test_processes_share_the_work_but_a_student_waits_for_its_teacher(monkeypatch):
    costs = {"cross_entropy": COST, "dr_kd": replace(COST, step=3.0)}
    assert planned(monkeypatch, costs, processes=2)[0].seconds == pytest.approx(58 + 78)
    assert planned(monkeypatch, costs, processes=8)[0].seconds == pytest.approx(58 + 78)


def test_a_teacher_is_asked_once_where_its_answers_are_kept(monkeypatch):
    costs = {name: replace(COST, step=3.0) for name in ("tf_kd_self", "dr_kd")}
    plain = {"cross_entropy": COST}
    kept, _ = planned(monkeypatch, {**plain, **costs}, cache_size="1GB", teacher=None)
    assert kept.seconds == pytest.approx(2 * (58 + 78 + 58))


def test_what_is_done_already_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setattr(estimating, "measure", lambda *_, **__: COST)
    monkeypatch.setattr(estimating.time, "perf_counter", lambda: 0.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.csv").write_text("epoch,loss\n0,1\n")
    config = config_of()
    assert estimate_trainings([Planned(config, tmp_path / "a")], processes=1).seconds == pytest.approx(32.5)
    (tmp_path / "a" / "summary.json").write_text("{}")
    assert estimate_trainings([Planned(config, tmp_path / "a")], processes=1) is None


def test_of_long_ones_it_says_what_takes_less():
    starts = config_of(epochs=100, data="photos", weights="w.safetensors", augment="imagenet")
    runs = [Planned(starts.model_copy(update={"seed": seed}), Path(str(seed))) for seed in range(5)]
    found = estimating._estimate(runs, [COST] * 5, processes=1)
    hours = 5 * (2500 + 7 + 50) / 3600
    assert found.seconds == pytest.approx(3600 * hours)
    assert found.cheaper == (
        "--freeze backbone --augment none: about 2 minutes, and seconds for each training",
        f"--seeds 3: about {3 / 5 * hours:.1f} hours",
        f"--epochs 50: about {hours / 2:.1f} hours",
        f"--image-size 160: about {hours * (160 / 224) ** 2:.1f} hours",
    )
    assert not estimating._estimate(runs[:1], [COST], processes=1).cheaper


@pytest.mark.parametrize("options", [{"method": "dr_kd"}, {"method": "ps_kd", "average": "ema"}, {"head_epochs": 1}])
def test_a_measurement_changes_nothing(options):
    config = config_of(**options)
    data = get_task().load(config)
    student = build_student(config, data)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    state = torch.get_rng_state()
    cost = measure(config, data, student)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    assert student.training
    assert min(cost.step, cost.image, cost.save) > 0
    assert (cost.steps, cost.images, cost.image_size) == (2, 60 + 144 + 360, 8)


def test_a_training_that_is_watched_is_the_same_bitwise(tmp_path, monkeypatch):
    config, source = resolve(TrainConfig, {"limit_train": 100, "epochs": 2, "batch_size": 20, "method": "dr_kd"})
    train(config, source, tmp_path / "alone")
    events = []
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    train(config, source, tmp_path / "watched", on_event=events.append)
    for name in ("model.safetensors", "metrics.csv", "teacher/metrics.csv"):
        assert (tmp_path / "watched" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    first = next(number for number, event in enumerate(events) if isinstance(event, EpochDone))
    (told,) = [number for number, event in enumerate(events) if isinstance(event, Estimated)]
    assert told < first
    steps = [
        e.progress for e in events if isinstance(e, Progressed) and e.run == "dr_kd" and e.progress.unit == "steps"
    ]
    assert [(step.what, step.done, step.total) for step in steps] == [
        (f"epoch {epoch}", done, 5) for epoch in (0, 1) for done in (1, 2, 3, 4, 5)
    ]
    rows = [event.row for event in events if isinstance(event, EpochDone) and event.run == "dr_kd"]
    assert [steps[4].loss, steps[9].loss] == pytest.approx([row["loss"] for row in rows])


def test_a_self_teacher_to_come_has_none_of_its_student_s_settings():
    options = {"method": "dr_kd", "alpha": 0.5, "temperature": 2.0, "rectify": "drop", "average": "ema"}
    first, second = with_self_teacher(config_of(**options), Path("run"))
    assert create_from(first.config, teacher=None, student=torch.nn.Identity()).name == "cross_entropy"
    assert (second.config.alpha, second.after) == (0.5, first.out)


def test_an_estimate_that_fails_stops_nothing():
    told = []

    def fail():
        raise RuntimeError("out of memory")

    announce("run", fail, told.append)
    announce("run", lambda: None, told.append)
    assert told == []
    announce("run", lambda: Estimate(1.0, 1, 1), told.append)
    assert told == [Estimated("run", Estimate(1.0, 1, 1))]


def test_where_nobody_listens_nothing_is_measured():
    announce("run", lambda: pytest.fail("measured"), estimating.ignore_event)
