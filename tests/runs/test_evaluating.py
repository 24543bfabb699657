import shutil
import warnings
from dataclasses import replace

import pytest
import torch
from PIL import Image

from drkd import InputError, load_data
from drkd.config import TrainConfig, resolve
from drkd.models.files import read_model, write_model
from drkd.runs.building import model_info
from drkd.runs.evaluating import evaluate_run
from drkd.runs.training import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "dr_kd"
    return out, train(*resolve(TrainConfig, {"epochs": 3, "limit_train": 100, "method": "dr_kd"}), out)


def test_evaluate_reads_back_what_the_run_measured(finished):
    out, summary = finished
    measured = evaluate_run(out, data=None, split="test")
    assert (measured.data, measured.split, measured.samples, measured.task) == ("digits", "test", 360, "classification")
    assert measured.metrics.per_class == summary.test.per_class
    for name in ("accuracy", "nll", "ece", "aurc", "balanced_accuracy", "macro_f1"):
        assert getattr(measured.metrics, name) == pytest.approx(getattr(summary.test, name)), name
    assert evaluate_run(out, data="digits", split="val").metrics.accuracy == summary.val.accuracy


def test_other_data_is_divided_as_the_runs_and_may_have_bad_images(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (8, 8), (100 * number + i, 0, 0)).save(tmp_path / "pets" / name / f"{i}.png")
    options = {"data": str(tmp_path / "pets"), "model": "mlp", "method": "cross_entropy", "epochs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(*resolve(TrainConfig, {**options, "validation": 0.5, "limit_train": 8}), tmp_path / "run")
        shutil.copytree(tmp_path / "pets", tmp_path / "others")
        (tmp_path / "others" / "cat" / "bad.png").write_bytes(b"")
        found = {
            split: evaluate_run(tmp_path / "run", data=str(tmp_path / "others"), split=split, skip_bad_images=True)
            for split in ("train", "val", "test")
        }
    assert sum(each.samples for each in found.values()) == 40
    assert found["val"].samples > 10
    with pytest.raises(InputError, match=r"bad\.png cannot be read"):
        evaluate_run(tmp_path / "run", data=str(tmp_path / "others"), split="test")


def test_evaluate_refuses_data_of_other_classes(finished, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(InputError, match="other classes"):
        evaluate_run(finished[0], data=str(tmp_path), split="test")


def test_evaluate_of_a_lone_file_needs_data(finished, tmp_path):
    shutil.copy(finished[0] / "model.safetensors", tmp_path)
    with pytest.raises(InputError, match="give --data"):
        evaluate_run(tmp_path / "model.safetensors", data=None, split="test")


def test_a_comparison_is_no_network(tmp_path):
    (tmp_path / "trainings").mkdir()
    with pytest.raises(InputError, match="is a comparison; give one of its trainings"):
        evaluate_run(tmp_path, data=None, split="test")


def test_whole_numbers_as_mean_and_deviation_are_read_back(tmp_path):
    info = model_info(TrainConfig(model="mlp"), replace(load_data("digits"), mean=(0,), std=(1,)))
    write_model(tmp_path / "model.safetensors", {"weight": torch.zeros(1)}, info)
    assert read_model(tmp_path)[1] == info
