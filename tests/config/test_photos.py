"""Defaults of a start from trained weights, and of folders of photos where such weights are at hand."""

import pytest
from huggingface_hub import constants
from PIL import Image

from drkd.config import CompareConfig, TrainConfig, TuneConfig, photos, resolve
from drkd.models.starts import find_start


def write_images(folder, size):
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", size, (40 * number, 0, 0)).save(folder / name / f"{number}.jpg")
    return str(folder)


@pytest.fixture
def weights_at_hand(tmp_path, monkeypatch):
    """The cache of the Hub with an empty file where the weights would be."""
    commit = tmp_path / "hub" / f"models--{photos.REPOSITORY.replace('/', '--')}"
    (commit / "snapshots" / "abc").mkdir(parents=True)
    (commit / "refs").mkdir()
    (commit / "refs" / "main").write_text("abc")
    (commit / "snapshots" / "abc" / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize("kind", [TrainConfig, CompareConfig, TuneConfig])
def test_photos_are_fine_tuned_where_weights_are_at_hand(weights_at_hand, kind):
    data = write_images(weights_at_hand / "photos", (160, 120))
    config, origins = resolve(kind, {"data": data, "epochs": 3})
    assert (config.model, config.pretrained, config.optimizer) == (photos.NETWORK, True, "adamw")
    assert (config.epochs, origins["epochs"], origins["model"]) == (3, "command line", "default for photos")
    assert photos.describe_start(data, config.model, origins).startswith(
        f"Photos: {photos.NETWORK} starts from pretrained"
    )


def test_it_is_the_file_that_a_start_would_take(weights_at_hand):
    start = find_start(photos.NETWORK, pretrained=True)
    assert start.file.parent.name == "abc"
    assert photos.weights_are_here()


@pytest.mark.parametrize(
    ("size", "options"), [((32, 32), {}), ((160, 120), {"model": "resnet18"}), ((160, 120), {"task": "multilabel"})]
)
def test_others_are_not(weights_at_hand, size, options):
    data = write_images(weights_at_hand / "images", size)
    config, origins = resolve(TrainConfig, {"data": data, **options})
    assert not config.pretrained
    assert origins["optimizer"] == "default"


def test_without_weights_at_hand_photos_start_from_random_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    data = write_images(tmp_path / "photos", (160, 120))
    config, origins = resolve(TrainConfig, {"data": data})
    assert (config.model, config.pretrained) == ("small_cnn", False)
    assert (config.batch_size, config.schedule, config.warmup_epochs) == (32, "cosine", 1)
    assert (config.epochs, config.optimizer, config.lr) == (30, "sgd", 0.1)
    assert (origins["batch_size"], origins["lr"], origins["model"]) == ("default for photos", "default", "default")
    assert f"--model {photos.NETWORK} --pretrained" in photos.describe_start(data, config.model, origins)


@pytest.mark.parametrize("options", [{"model": "small_cnn"}, {"weights": "a.pt"}, {"task": "multilabel"}])
def test_nothing_is_said_of_a_start_that_was_chosen(tmp_path, options):
    data = write_images(tmp_path / "photos", (160, 120))
    config, origins = resolve(TrainConfig, {"data": data, **options})
    assert photos.describe_start(data, config.model, origins) == ""


def test_nothing_is_said_of_small_images_or_of_digits(tmp_path):
    for data in (write_images(tmp_path / "icons", (32, 32)), "digits", "cifar10"):
        config, origins = resolve(TrainConfig, {"data": data})
        assert photos.describe_start(data, config.model, origins) == ""


def test_any_trained_weights_are_fine_tuned():
    given = {"data": "cifar10", "model": "resnet18", "weights": "a.safetensors"}
    config, origins = resolve(TrainConfig, given)
    assert (config.lr, origins["lr"]) == (photos.FINE_TUNING["lr"], "default for pretrained weights")
    frozen, _ = resolve(TrainConfig, {**given, "freeze": "backbone"})
    assert (frozen.lr, frozen.augment) == (photos.FROZEN["lr"], "none")
    assert resolve(TrainConfig, {**given, "lr": 0.5})[0].lr == 0.5


def test_a_damaged_first_image_is_no_photo(tmp_path):
    data = write_images(tmp_path / "photos", (160, 120))
    (tmp_path / "photos" / "cat" / "0.jpg").write_bytes(b"no image")
    assert not photos.holds_photos(tmp_path / "photos")
    assert photos.holds_photos(tmp_path / "photos" / "dog")
    assert data
