from dataclasses import astuple
from pathlib import Path

import pytest
from PIL import Image

import drkd
from drkd import InputError
from drkd.export.predicting import predict_files


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
