import csv
import io
import json
import re
import shutil
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import drkd
from drkd import InputError
from drkd.data.images import LazyImages
from drkd.export.predicting import predict_files
from drkd.models.files import write_model
from image_files import run_cli


def test_images_are_named_as_the_network_sees_them(run, tmp_path):
    data = drkd.load_data("digits", limit_train=600)
    for i in range(20):
        Image.fromarray(data.test.inputs[i, 0].numpy()).save(tmp_path / f"{i:02}.png")
    found = list(predict_files(run, [tmp_path]))
    model, info = drkd.load_model(run)
    inputs = (data.test.inputs[:20].float() / 255 - info.mean[0]) / info.std[0]
    confidence, label = (model(inputs) / info.temperature).softmax(1).max(1)
    assert info.temperature != 1
    files, labels, probabilities, _ = zip(*map(astuple, found), strict=True)
    assert [Path(file).name for file in files] == [f"{i:02}.png" for i in range(20)]
    assert list(labels) == [str(i) for i in label.tolist()]
    assert list(probabilities) == pytest.approx(confidence.tolist(), abs=1e-5)


def test_the_block_of_the_page_runs(run, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(for found in drkd\.predict_files.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "mine", symlinks=True)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "0.png")
    exec(block, {"drkd": drkd})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [Path(file) for file, _, _ in rows] == [Path("photos", "0.png")] * 3
    odds = [float(probability) for *_, probability in rows]
    assert odds == sorted(odds, reverse=True)


def test_what_is_no_image_is_refused(run, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    for path, message in (("notes.png", "cannot be read as an image"), ("none.png", "there is no image")):
        with pytest.raises(InputError, match=message):
            list(predict_files(run, [tmp_path / path]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        predict_files(run, [tmp_path / "empty"])


def test_images_are_cropped_with_the_margin_of_the_network(tmp_path):
    """A file that says so is asked as it was measured: scaled to 1.25 times the size, then cropped."""
    torch.manual_seed(0)
    network = drkd.create_model("mlp", num_classes=2, image_size=16)
    info = drkd.ModelInfo("mlp", ("a", "b"), 16, 3, (0.5,) * 3, (0.25,) * 3, margin=1.25)
    write_model(tmp_path / "model.safetensors", network.state_dict(), info)
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (found,) = predict_files(tmp_path / "model.safetensors", [tmp_path / "noise.png"])
    answers = {}
    for margin in (1.0, 1.25):
        pixels = LazyImages([tmp_path / "noise.png"], 16, 3, margin)[torch.tensor([0])]
        answers[margin] = network.eval()((pixels.float() / 255 - 0.5) / 0.25).softmax(1).max().item()
    assert found.probability == pytest.approx(answers[1.25], abs=1e-6)
    assert found.probability != pytest.approx(answers[1.0], abs=1e-4)


@pytest.fixture
def images(tmp_path):
    """Nine digits and two files that are none, one of them in a folder of its own."""
    data = drkd.load_data("digits", limit_train=600)
    (tmp_path / "images" / "more").mkdir(parents=True)
    for i in range(9):
        Image.fromarray(data.test.inputs[i, 0].numpy()).save(tmp_path / "images" / f"{i}.png")
    for name in ("bad.png", "more/bad.jpg", "more/._1.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    return tmp_path / "images"


def test_bad_images_are_handed_over_and_the_others_predicted_batch_by_batch(run, images, monkeypatch):

    problems = []
    predictions = predict_files(run, [images], on_problem=problems.append, batch_size=4)
    assert next(predictions).file == str(images / "0.png")
    assert problems == []  # the bad ones are in later batches
    assert [Path(each.file).name for each in predictions] == [f"{i}.png" for i in range(1, 9)]
    assert [Path(problem.location).name for problem in problems] == ["bad.png", "bad.jpg"]


def test_the_command_names_bad_images_and_gives_the_rest(run, images, capsys):
    assert run_cli("predict", run, images) == 1
    found = capsys.readouterr()
    assert len(list(csv.DictReader(io.StringIO(found.out)))) == 9
    assert [line.split(" cannot be read")[0] for line in found.err.splitlines()] == [
        f"drkd: {images / 'bad.png'}",
        f"drkd: {images / 'more' / 'bad.jpg'}",
        "drkd: 2 images could not be read",
    ]
    assert run_cli("predict", run, images, "--format", "json") == 1
    assert len(json.loads(capsys.readouterr().out)) == 9
    assert run_cli("predict", run, images / "bad.png") == 2
    assert capsys.readouterr().out == ""


def test_names_of_files_are_text_for_a_spreadsheet(run, images, capsys, monkeypatch):
    monkeypatch.chdir(images)
    Path("=cmd|x.png").write_bytes(Path("0.png").read_bytes())
    Path("a\x1b[31m\nb.png").write_bytes(Path("0.png").read_bytes())
    assert run_cli("predict", run, "=cmd|x.png", "a\x1b[31m\nb.png") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == ["'=cmd|x.png", r"a\x1b[31m\nb.png"]
