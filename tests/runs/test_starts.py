"""What a run starts from decides how its images are prepared, in training and wherever its network is asked."""

import numpy as np
import pytest
import torch
from PIL import Image

import drkd
from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.data.images import decode
from drkd.export.manifest import KEYS, Manifest
from drkd.export.predicting import predict_files
from drkd.models.files import read_model, write_model
from drkd.runs.evaluating import data_of, evaluate_run
from drkd.runs.events import StartNoted
from drkd.runs.training import train

INFO = drkd.ModelInfo(
    "small_cnn", ("a", "b", "c"), 12, 3, (0.25, 0.5, 0.75), (0.5, 0.4, 0.3), margin=1.5, interpolation="bicubic"
)
"""Of the network that is started from."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for row in range(30):
            pixels = rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{row}.png")
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(3)
    network = drkd.create_model("small_cnn", num_classes=3, image_size=12)
    file = tmp_path_factory.mktemp("start") / "model.safetensors"
    write_model(file, network.state_dict(), INFO)
    return file


def options(photos, start, **more):
    given = {"data": str(photos), "model": "small_cnn", "method": "cross_entropy", "epochs": 1, "batch_size": 16}
    return resolve(TrainConfig, {**given, "weights": str(start), "augment": "none", "threads": 1, **more})


@pytest.fixture(scope="module")
def run(photos, start, tmp_path_factory):
    out, events = tmp_path_factory.mktemp("runs") / "run", []
    summary = train(*options(photos, start, lr=1e-9), out, on_event=events.append)
    return out, summary, events


def test_the_weights_preprocessing_is_the_runs(run):
    out, summary, events = run
    tensors, info = read_model(out)
    assert info.preprocessing == INFO.preprocessing
    assert info.classes == ("cat", "dog")
    start = drkd.create_model("small_cnn", num_classes=2, image_size=12).state_dict()
    assert tensors.keys() == start.keys()
    (noted,) = [event for event in events if isinstance(event, StartNoted)]
    assert set(noted.notes) <= set(summary.notes)
    said = " ".join(noted.notes)
    assert "images are scaled to 12 pixels (bicubic, margin 1.5), mean (0.25, 0.5, 0.75)" in said
    assert "its classifier of 3 classes is dropped; 2 are new (13.weight, 13.bias)" in said


def test_it_trains_on_images_prepared_so(run, photos):
    data = data_of(run[0], read_model(run[0])[1])
    assert (data.image_size, data.margin, data.interpolation) == (12, 1.5, "bicubic")
    assert (data.mean, data.std) == (INFO.mean, INFO.std)
    for row, name in enumerate(data.test.names[:3]):
        assert np.array_equal(data.test.inputs[row].numpy(), decode(photos / name, 12, 3, 1.5, interpolation="bicubic"))


def test_it_is_measured_and_asked_the_same_way(run, photos):
    out, summary, _ = run
    assert evaluate_run(out, data=None, split="test").metrics.nll == pytest.approx(summary.test.nll)
    network, info = drkd.load_model(out)
    file = photos / "cat" / "3.png"
    pixels = torch.from_numpy(decode(file, 12, 3, 1.5, interpolation="bicubic").copy()).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (info.mean, info.std))
    with torch.no_grad():
        expected = network(((pixels - mean) / std)[None]).div(info.temperature).softmax(dim=1).max().item()
    (found,) = predict_files(out, [file])
    assert info.temperature != 1
    assert found.probability == pytest.approx(expected, abs=1e-6)


def test_an_option_wins_over_the_weights(photos, start, tmp_path):
    train(*options(photos, start, image_size=16), tmp_path / "run")
    _, info = read_model(tmp_path / "run")
    assert (info.image_size, info.margin, info.interpolation) == (16, 1.5, "bicubic")


def test_grey_data_take_colour_weights(start, tmp_path):
    given = {"data": "digits", "model": "small_cnn", "weights": str(start), "method": "cross_entropy"}
    summary = train(*resolve(TrainConfig, {**given, "epochs": 1, "limit_train": 50}), tmp_path / "run")
    _, info = read_model(tmp_path / "run")
    assert (info.channels, info.image_size, info.mean, info.std) == (1, 12, (0.5,), (pytest.approx(0.4),))
    assert any("adapted from 3 to 1 channels" in note for note in summary.notes)


def test_a_teacher_has_to_be_whole(start, photos, tmp_path):
    torch.save(drkd.create_model("small_cnn", num_classes=3, image_size=12).state_dict(), tmp_path / "three.pt")
    given = {"data": str(photos), "model": "small_cnn", "image_size": 12, "epochs": 1, "method": "kd"}
    with pytest.raises(
        InputError, match=r"a teacher must be complete, including its classifier.*classifier of 3 classes"
    ):
        train(*resolve(TrainConfig, {**given, "teacher": str(tmp_path / "three.pt")}), tmp_path / "run")


def test_the_tag_of_timm_is_not_in_the_model(tmp_path):
    torch.manual_seed(0)
    torch.save(drkd.create_model("timm:test_resnet", num_classes=5, image_size=16).state_dict(), tmp_path / "w.pt")
    given = {"data": "digits", "model": "timm:test_resnet.r160_in1k", "weights": str(tmp_path / "w.pt")}
    more = {"image_size": 16, "epochs": 1, "limit_train": 20, "method": "cross_entropy"}
    train(*resolve(TrainConfig, {**given, **more}), tmp_path / "run")
    network, info = drkd.load_model(tmp_path / "run")
    assert info.model == "timm:test_resnet"
    assert network(torch.zeros(1, 1, 16, 16)).shape == (1, 10)


def test_an_export_says_it_and_older_ones_were_bilinear(tmp_path):
    manifest = Manifest.of(INFO, sha256="", quantize=None)
    content = manifest.to_json()
    assert content["interpolation"] == "bicubic"
    assert Manifest.from_json(content, tmp_path) == manifest
    old = {name: content[name] for name in KEYS if name != "interpolation"}
    assert Manifest.from_json(old, tmp_path).interpolation == "bilinear"
