"""Trackers are told what `metrics.csv` has, once, whatever interrupts a training; a run's own files are as without."""

import json
import sys
import types
from pathlib import Path

import pytest
import torch

import drkd
from drkd.config import TrainConfig, resolve
from drkd.runs.training import train
from drkd.training import trackers
from drkd.utils.errors import InputError

QUICK = {"limit_train": 60, "epochs": 3, "method": "cross_entropy"}
COLUMNS = {"train/lr", "train/loss", "train/ce", "train/accuracy", "val/accuracy", "val/nll"}


class StopError(Exception):
    """A training that is cut."""


def stop_after(epoch):
    def stop(row):
        if row["epoch"] == epoch:
            raise StopError

    return stop


def fit(out, log, **options):
    torch.manual_seed(0)
    student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    data = drkd.load_data("digits", limit_train=60)
    return drkd.fit(student, drkd.cross_entropy(), data, epochs=3, out=out, resume=True, log=log, **options)


def cut_and_resumed(out, log):
    """A training that was cut after its second epoch was reported, before a checkpoint had it."""
    with pytest.raises(StopError):
        fit(out, log, on_epoch=stop_after(1))
    return fit(out, log).history


def scalars(folder):
    """What an event folder of TensorBoard holds: values by tag and step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own
def test_tensorboard_has_every_epoch_once(tmp_path):
    history = cut_and_resumed(tmp_path, ["tensorboard"])
    found = scalars(tmp_path / "tensorboard")
    assert set(found) == COLUMNS
    assert [step for step, _ in found["val/nll"]] == [0, 1, 2]
    assert [value for _, value in found["val/nll"]] == pytest.approx([row["val_nll"] for row in history])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_is_bitwise_the_same_and_its_test_metrics_are_told(tmp_path):
    plain = train(*resolve(TrainConfig, QUICK), tmp_path / "plain")
    train(*resolve(TrainConfig, {**QUICK, "log": "tensorboard"}), tmp_path / "told", name="mine")
    for name in ("model.safetensors", "metrics.csv", "data.json"):
        assert (tmp_path / "told" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    found = scalars(tmp_path / "told" / "tensorboard")
    assert found["test/accuracy"][-1][1] == pytest.approx(plain.test.accuracy)
    assert {"test/nll", "test/ece", "test/aurc"} <= set(found)


class FakeMlflow:
    """What drkd calls of MLflow."""

    def __init__(self):
        self.runs, self.experiments = {}, {}

    def get_experiment_by_name(self, name):
        return self.experiments.get(name)

    def create_experiment(self, name):
        self.experiments[name] = types.SimpleNamespace(experiment_id=name)
        return name

    def create_run(self, experiment, tags):
        number = f"run-{len(self.runs)}"
        self.runs[number] = {"experiment": experiment, "tags": tags, "params": {}, "metrics": [], "status": None}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=number))

    def set_tag(self, number, key, value):
        self.runs[number]["tags"][key] = value

    def log_batch(self, number, metrics=(), params=()):
        self.runs[number]["params"].update(params)
        self.runs[number]["metrics"] += [(key, value, step) for key, value, _, step in metrics]

    def set_terminated(self, number, status):
        self.runs[number]["status"] = status


@pytest.fixture
def mlflow(monkeypatch):
    client = FakeMlflow()
    entities = types.SimpleNamespace(Metric=lambda *values: values, Param=lambda *pair: pair)
    for name, module in {
        "mlflow": types.SimpleNamespace(),
        "mlflow.entities": entities,
        "mlflow.tracking": types.SimpleNamespace(MlflowClient=lambda: client),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return client


def test_mlflow_continues_the_same_run(mlflow, tmp_path):
    history = cut_and_resumed(tmp_path, ["mlflow"])
    (found,) = mlflow.runs.values()
    assert [(value, step) for key, value, step in found["metrics"] if key == "train/loss"] == [
        (row["loss"], epoch) for epoch, row in enumerate(history)
    ]
    assert found["params"]["epochs"] == "3"
    assert (found["experiment"], found["status"]) == ("drkd", "FINISHED")


def test_a_run_that_fails_is_closed_as_such(mlflow, tmp_path):
    with pytest.raises(StopError):
        fit(tmp_path, ["mlflow"], on_epoch=stop_after(0))
    assert [run["status"] for run in mlflow.runs.values()] == ["KILLED"]


def test_a_comparison_is_a_run_for_each_training(mlflow, tmp_path):
    options = {"methods": ["ps_kd"], "label_noise": [0], "seeds": 1, "epochs": 1, "jobs": 1, "limit_train": 60}
    drkd.compare(**options, log=["mlflow"], out=tmp_path / "mine")
    assert [run["tags"]["mlflow.runName"] for run in mlflow.runs.values()] == [
        f"clean labels, seed 0, {method}" for method in ("cross_entropy", "ps_kd")
    ]
    assert {run["tags"]["drkd.group"] for run in mlflow.runs.values()} == {"mine"}
    assert all("test/accuracy" in {key for key, *_ in run["metrics"]} for run in mlflow.runs.values())


@pytest.fixture
def wandb(monkeypatch):
    """The calls of wandb.init, each with what its run was told."""
    calls = []

    def init(**how):
        told = {"how": how, "log": [], "summary": {}, "exit": []}
        calls.append(told)
        return types.SimpleNamespace(
            id=how["id"] or "new",
            log=lambda values, step: told["log"].append((step, values)),
            summary=told["summary"],
            finish=lambda **how: told["exit"].append(how),
        )

    module = types.SimpleNamespace(init=init, Settings=dict, api=types.SimpleNamespace(api_key=None))
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return calls


def test_wandb_continues_the_same_run(wandb, tmp_path):
    cut_and_resumed(tmp_path, ["wandb"])
    first, second = wandb
    assert (first["how"]["id"], second["how"]["id"], second["how"]["resume"]) == (None, "new", "allow")
    assert [step for told in wandb for step, _ in told["log"]] == [0, 1, 2]
    assert (first["exit"], second["exit"]) == ([{"exit_code": 1}], [{"exit_code": 0}])
    assert set(first["log"][0][1]) == COLUMNS


def test_wandb_without_a_login_is_refused(wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(InputError, match="--log wandb needs a login; run `wandb login`, or set WANDB_MODE=offline"):
        trackers.check_trackers(["wandb"])


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_tracker_is_named_before_anything_is_written(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"--log {name} needs {name} .*; install drkd\[{name}\]"):
        train(*resolve(TrainConfig, {**QUICK, "log": name}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_only_known_trackers_are_taken():
    with pytest.raises(InputError, match="--log should be 'tensorboard', 'mlflow' or 'wandb', got 'neptune'"):
        resolve(TrainConfig, {"log": "tensorboard,neptune"})


def test_without_a_tracker_nothing_is_imported_or_written(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers.importlib, "import_module", pytest.fail)
    fit(tmp_path, [])
    assert not (tmp_path / trackers.FILE).exists()


def test_the_record_says_how_far_each_is(mlflow, tmp_path):
    fit(tmp_path, ["mlflow"])
    assert json.loads(Path(tmp_path / trackers.FILE).read_text()) == {"mlflow": {"epoch": 2, "id": "run-0"}}
