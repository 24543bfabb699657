"""The temperature of a run: fitted on its validation split, kept with its weights, used wherever probabilities are."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

import drkd
from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.models.files import write_model
from drkd.runs.directory import kept_epoch
from drkd.runs.evaluating import evaluate_run
from drkd.runs.summary import RunSummary
from drkd.runs.training import train
from drkd.tasks.detection.task import Detection
from image_files import run_cli

OPTIONS = {"epochs": 3, "limit_train": 300, "method": "cross_entropy", "lr": 0.05, "keep_epochs": [0]}


def trained(out, **options):
    return train(*resolve(TrainConfig, OPTIONS | options), out)


@pytest.fixture(scope="module", params=[None, "ema:0.9"])
def finished(request, tmp_path_factory):
    """A run, plain or averaged."""
    out = tmp_path_factory.mktemp("calibrated") / "run"
    return out, trained(out, average=request.param), request.param


def logits_of(source, split):
    """What the network in a file answers, without the code that measures."""
    network, info = drkd.load_model(source)
    data = getattr(drkd.load_data("digits", limit_train=300), split)
    with torch.no_grad():
        return network((data.inputs.float() / 255 - info.mean[0]) / info.std[0]).double(), data.labels, info


def test_it_has_the_least_nll_on_the_validation_split_of_the_network_that_is_kept(finished):
    out, summary, _ = finished
    for source in (out, kept_epoch(out, 0)):
        logits, labels, info = logits_of(source, "val")
        grid = np.exp(np.linspace(np.log(0.02), np.log(5), 4001))
        best = grid[np.argmin([F.cross_entropy(logits / t, labels).item() for t in grid])]
        assert info.temperature == pytest.approx(best, rel=2e-3)
        assert info.temperature != 1
    assert summary.test.temperature == drkd.load_model(out)[1].temperature
    assert summary.kept_epochs["0"].temperature == drkd.load_model(kept_epoch(out, 0))[1].temperature


def test_the_summary_and_evaluate_have_both_calibration_errors(finished, capsys):
    out, summary, _ = finished
    logits, labels, info = logits_of(out, "test")
    plain, scaled = (drkd.training.metrics.measure(each, labels) for each in (logits, logits / info.temperature))
    for found in (RunSummary.read(out).test, evaluate_run(out, data=None, split="test").metrics):
        assert found.ece == pytest.approx(plain.ece, abs=1e-5)
        assert found.calibrated_ece == pytest.approx(scaled.ece, abs=1e-5)
        assert found.calibrated_nll == pytest.approx(scaled.nll, abs=1e-5)
        assert found.accuracy == plain.accuracy == scaled.accuracy == summary.test.accuracy
    assert run_cli("report", out) == 0
    said = f"probabilities at temperature {info.temperature:.3g}: NLL {scaled.nll:.4f}, ECE {100 * scaled.ece:.2f}%"
    assert said in capsys.readouterr().out


def test_a_second_training_has_the_same_and_the_file_one_key(finished, tmp_path):
    out, _, average = finished
    again = tmp_path / "again"
    trained(again, average=average)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    with safe_open(again / "model.safetensors", "pt") as file:
        assert list(file.metadata()) == ["drkd"]


def test_without_a_validation_split_there_is_none(tmp_path, capsys):
    summary = trained(tmp_path, validation=0, keep_epochs=[])
    assert summary.test.temperature is None
    assert drkd.load_model(tmp_path)[1].temperature == 1
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "temperature" not in json.loads(file.metadata()["drkd"])
    assert evaluate_run(tmp_path, data=None, split="test").metrics.calibrated_ece is None
    assert run_cli("report", tmp_path) == 0
    assert "probabilities are not calibrated, because there is no validation split" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), "2"])
def test_a_file_with_a_temperature_that_is_none_is_refused(tmp_path, wrong):
    network = drkd.create_model("mlp", num_classes=2, image_size=4, channels=1)
    info = drkd.ModelInfo("mlp", ("a", "b"), 4, 1, (0.5,), (0.25,), temperature=wrong)
    write_model(tmp_path / "model.safetensors", network.state_dict(), info)
    with pytest.raises(InputError, match="temperature as a positive number"):
        drkd.load_model(tmp_path)


def test_detectors_have_none():
    assert Detection().calibrate(torch.nn.Identity(), None) is None
