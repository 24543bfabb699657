"""Networks by name: ours and timm's, weights in and out; what each of ours computes is in test_networks.py.

What is said of weights, and weights under other names, is in test_weights.py.
"""

import os
import pickle
import warnings

import pytest
import timm
import torch

from drkd import InputError, create_model
from drkd.utils.files import write_tensors

pytestmark = pytest.mark.filterwarnings("ignore:.*has no checksum")  # of weights that drkd has not written

CLASSIFIERS = {"mlp": "5", "small_cnn": "13", "mobilenetv2": "head.1", "wrn16_2": "head.2", "cnn": "18"}
LIGHT = sorted(CLASSIFIERS)
"""Enough to see weights come and go, with a linear classifier or a convolution; the others would only take longer."""


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def make(name="small_cnn", seed=0, num_classes=10, image_size=8, channels=1, **options):
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what was taken from weights
        return create_model(name, num_classes=num_classes, image_size=image_size, channels=channels, **options)


def output(model, size, channels, batch=2):
    with torch.no_grad():
        return model.eval()(torch.rand(batch, channels, size, size))


def equal(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def save(model, path):
    if path.suffix == ".safetensors":
        write_tensors(path, model.state_dict())
    else:
        torch.save(model.state_dict(), path)
    return path


class Harmful:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", [*LIGHT, "timm:test_vit"])
def test_the_same_seed_gives_the_same_weights(name):
    assert equal(make(name, seed=3, image_size=32), make(name, seed=3, image_size=32))
    assert not equal(make(name, seed=3, image_size=32), make(name, seed=4, image_size=32))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_of_convolutions_from_timm(channels):
    model = make("timm:resnet10t", image_size=32, channels=channels)
    assert output(model, 32, channels).shape == (2, 10)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_vision_transformer_from_timm_is_made_for_the_image_size(channels):
    model = make("timm:test_vit", image_size=32, channels=channels)
    assert output(model, 32, channels).shape == (2, 10)
    assert model.patch_embed.grid_size == (2, 2)


def test_a_network_of_timm_is_timms():
    theirs = timm.create_model("test_vit", num_classes=10, in_chans=1, img_size=32)
    assert parameters(make("timm:test_vit", image_size=32)) == parameters(theirs)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet81", r"'resnet81'; did you mean resnet18\?.*timm:NAME"),
        ("vgg19", r"did you mean vgg19_bn\?"),
        ("mobilenet_v2", r"did you mean mobilenetv2\?"),
        ("small-cnn", r"did you mean small_cnn\?"),
        ("perceptron", "see `drkd list models`"),
        ("timm:resnet18x", r"'resnet18x'; did you mean timm:resnet18\w?\?"),
        ("timm:@@@@", "timm has no network '@@@@'$"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_hint(name, hint):
    with pytest.raises(InputError, match=hint):
        make(name)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("name", [*LIGHT, "timm:test_vit"])
def test_weights_come_back_as_they_were_saved(tmp_path, name, suffix):
    saved = make(name, seed=1, image_size=32)
    path = save(saved, tmp_path / f"model{suffix}")
    assert equal(make(name, seed=2, image_size=32, weights=path), saved)


def test_weights_under_state_dict_are_found(tmp_path):
    saved = make(seed=1)
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "model.pt")
    assert equal(make(seed=2, weights=tmp_path / "model.pt"), saved)


def test_running_statistics_are_weights_too(tmp_path):
    saved = make(seed=1)
    saved(torch.rand(8, 1, 8, 8))
    loaded = make(seed=2, weights=save(saved, tmp_path / "model.safetensors"))
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded.eval()(images), saved.eval()(images))


@pytest.mark.parametrize(("name", "classifier"), [*CLASSIFIERS.items(), ("timm:test_vit", "head")])
def test_a_head_for_other_classes_is_replaced_and_nothing_else(tmp_path, name, classifier):
    saved = make(name, seed=1, num_classes=10, image_size=32)
    path = save(saved, tmp_path / "model.safetensors")
    loaded = make(name, seed=2, num_classes=4, image_size=32, weights=path).state_dict()
    fresh = make(name, seed=2, num_classes=4, image_size=32).state_dict()
    for key, value in loaded.items():
        source = fresh if key.rpartition(".")[0] == classifier else saved.state_dict()
        assert torch.equal(value, source[key]), key


@pytest.mark.parametrize("name", ["mlp", "resnet18", "timm:test_vit"])
def test_weights_of_another_architecture_are_an_error(tmp_path, name):
    path = save(make("small_cnn"), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors do not fit the model.*name the model"):
        make(name, image_size=32, weights=path)


def test_weights_for_another_image_size_are_an_error(tmp_path):
    path = save(make("mlp", image_size=16), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"1 of another shape.*1\.weight"):
        make("mlp", image_size=8, weights=path)


def test_weights_for_other_channels_are_an_error_without_a_convolution_to_adapt(tmp_path):
    path = save(make("mlp", channels=3), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="1 of another shape"):
        make("mlp", channels=1, weights=path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_missing_weights_are_an_error_that_names_them(tmp_path, suffix):
    with pytest.raises(InputError, match=f"no file .*gone{suffix}"):
        make(weights=tmp_path / f"gone{suffix}")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"damaged", b"\x80\x02"])
def test_damaged_weights_are_an_error_that_names_them(tmp_path, suffix, content):
    (tmp_path / f"bad{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=f"bad{suffix}"):
        make(weights=tmp_path / f"bad{suffix}")


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    torch.save({"weight": Harmful(tmp_path / "made")}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="holds more than tensors and is not loaded"):
        make(weights=tmp_path / "model.pt")
    assert not (tmp_path / "made").exists()


def test_a_bare_pickle_with_code_is_refused_and_not_run(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Harmful(tmp_path / "made"), protocol=2))
    with pytest.raises(InputError, match=r"model\.pt"):
        make(weights=tmp_path / "model.pt")
    assert not (tmp_path / "made").exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(make(), tmp_path / "model.pt")
    with pytest.raises(InputError, match="holds more than tensors"):
        make(weights=tmp_path / "model.pt")


@pytest.mark.parametrize("value", [[torch.zeros(2)], {"epoch": 3}])
def test_a_file_of_something_else_is_an_error(tmp_path, value):
    torch.save(value, tmp_path / "model.pt")
    with pytest.raises(InputError, match="needs to be a dictionary of tensors"):
        make(weights=tmp_path / "model.pt")
