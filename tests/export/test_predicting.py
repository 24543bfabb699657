from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from PIL import Image

import drkd
from drkd import InputError
from drkd.data.images import LazyImages
from drkd.export.predicting import predict_files
from drkd.models.files import write_model


def test_images_are_named_as_the_network_sees_them(run, tmp_path):
    data = drkd.load_data("digits", limit_train=600)
    for i in range(20):
        Image.fromarray(data.test.inputs[i, 0].numpy()).save(tmp_path / f"{i:02}.png")
    found = predict_files(run, [tmp_path])
    model, info = drkd.load_model(run)
    inputs = (data.test.inputs[:20].float() / 255 - info.mean[0]) / info.std[0]
    confidence, label = model(inputs).softmax(1).max(1)
    files, labels, probabilities = zip(*map(astuple, found), strict=True)
    assert [Path(file).name for file in files] == [f"{i:02}.png" for i in range(20)]
    assert list(labels) == [str(i) for i in label.tolist()]
    assert list(probabilities) == pytest.approx(confidence.tolist(), abs=1e-5)


def test_what_is_no_image_is_refused(run, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    for path, message in (("notes.png", "cannot be read as an image"), ("none.png", "there is no image")):
        with pytest.raises(InputError, match=message):
            predict_files(run, [tmp_path / path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        predict_files(run, [tmp_path / "empty"])


def test_images_are_cropped_with_the_margin_of_the_network(tmp_path):
    """A file that says so is asked as it was measured: scaled to 1.25 times the size, then cropped."""
    torch.manual_seed(0)
    network = drkd.create_model("mlp", num_classes=2, image_size=16)
    info = drkd.ModelInfo("mlp", ("a", "b"), 16, 3, (0.5,) * 3, (0.25,) * 3, margin=1.25)
    write_model(tmp_path / "model.safetensors", network.state_dict(), info)
    Image.effect_noise((90, 60), 80).convert("RGB").save(tmp_path / "noise.png")
    (found,) = predict_files(tmp_path / "model.safetensors", [tmp_path / "noise.png"])
    answers = {}
    for margin in (1.0, 1.25):
        pixels = LazyImages([tmp_path / "noise.png"], 16, 3, margin)[torch.tensor([0])]
        answers[margin] = network.eval()((pixels.float() / 255 - 0.5) / 0.25).softmax(1).max().item()
    assert found.probability == pytest.approx(answers[1.25], abs=1e-6)
    assert found.probability != pytest.approx(answers[1.0], abs=1e-4)
