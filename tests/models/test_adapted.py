from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

import drkd
from drkd.models.adapted import Adapted, differences
from drkd.models.files import ModelInfo

OWN = ModelInfo("mlp", ("a", "b"), 8, 3, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
GIVEN = ModelInfo("mlp", ("a", "b"), 16, 3, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


def normalised(images, info):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (info.mean, info.std))
    return (images - mean) / std


def test_it_answers_as_the_network_does_on_images_of_its_own():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).eval()
    images = torch.rand(4, 3, 16, 16)
    own = normalised(resize(images, [8, 8], antialias=True), OWN)
    found = Adapted(network, OWN, GIVEN)(normalised(images, GIVEN))
    assert torch.allclose(found, network(own), atol=1e-5)


def test_what_cannot_be_made_up_for_is_said():
    from drkd.tasks import get_task

    teacher = nn.Identity()
    with pytest.warns(UserWarning, match=r"scaled differently from the student's \(margin 1.25 for 1.0\): it gets"):
        assert get_task("classification").adapt_teacher(teacher, replace(OWN, margin=1.25), OWN, "run") is teacher


def test_it_scales_as_its_network_wants_it():
    own, given = (replace(info, interpolation="bicubic") for info in (OWN, GIVEN))
    images = torch.rand(4, 3, 16, 16).round()  # bicubic goes beyond black and white beside such edges
    expected = normalised(resize(images, [8, 8], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1), OWN)
    found = Adapted(nn.Identity(), own, replace(given, interpolation="bilinear"))(normalised(images, GIVEN))
    assert torch.allclose(found, expected, atol=1e-5)


def test_only_what_differs_is_named():
    assert differences(OWN, OWN) == []
    assert [line.split()[0] for line in differences(OWN, GIVEN)] == ["size", "mean", "deviation"]


def test_a_teacher_of_another_size_is_given_what_it_was_trained_on(tmp_path):
    """As a teacher it is as accurate on the training split as it is by itself."""
    from drkd.config import TrainConfig, resolve
    from drkd.runs.training import train

    shared = {"data": "digits", "model": "mlp", "limit_train": 200, "epochs": 8, "schedule": "cosine", "threads": 1}
    small = {**shared, "method": "cross_entropy", "augment": "none"}
    train(*resolve(TrainConfig, small), tmp_path / "teacher")
    alone = drkd.evaluate(drkd.load_model(tmp_path / "teacher")[0], drkd.load_data("digits", limit_train=200), "train")
    taught = {**shared, "image_size": 16, "method": "kd", "teacher": str(tmp_path / "teacher")}
    summary = train(*resolve(TrainConfig, taught), tmp_path / "student")
    assert any("expects different images from the student's (size 8 for 16" in note for note in summary.notes)
    assert abs(summary.teacher_train_accuracy - alone.accuracy) < 0.05  # enlarged and shrunk again
    assert alone.accuracy > 0.8
