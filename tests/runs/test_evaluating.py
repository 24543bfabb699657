import shutil
from pathlib import Path

import pytest
from PIL import Image

import drkd
from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.runs.evaluating import evaluate_run, predict_files
from drkd.runs.training import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "dr_kd"
    return out, train(*resolve(TrainConfig, {"epochs": 3, "limit_train": 100, "method": "dr_kd"}), out)


def test_evaluate_reads_back_what_the_run_measured(finished):
    out, summary = finished
    measured = evaluate_run(out, data=None, split="test")
    assert measured["samples"] == 360
    assert {name: measured[name] for name in ("accuracy", "nll", "ece", "aurc")} == pytest.approx(
        {name: summary["test"][name] for name in ("accuracy", "nll", "ece", "aurc")}
    )
    assert evaluate_run(out, data="digits", split="val")["accuracy"] == summary["val"]["accuracy"]


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


def test_predict_names_images_as_the_network_sees_them(finished, tmp_path):
    data = drkd.load_data("digits", limit_train=100)
    for i in range(20):
        Image.fromarray(data.test.inputs[i, 0].numpy()).save(tmp_path / f"{i:02}.png")
    rows = predict_files(finished[0], [tmp_path])
    model, about = drkd.load_model(finished[0])
    inputs = (data.test.inputs[:20].float() / 255 - about["mean"][0]) / about["std"][0]
    confidence, label = model(inputs).softmax(1).max(1)
    assert [row["label"] for row in rows] == [str(i) for i in label.tolist()]
    assert [row["probability"] for row in rows] == pytest.approx(confidence.tolist(), abs=1e-5)
    assert [Path(row["file"]).name for row in rows] == [f"{i:02}.png" for i in range(20)]


def test_predict_refuses_what_is_no_image(finished, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    for path, message in (("notes.png", "cannot be read as an image"), ("none.png", "there is no image")):
        with pytest.raises(InputError, match=message):
            predict_files(finished[0], [tmp_path / path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        predict_files(finished[0], [tmp_path / "empty"])
