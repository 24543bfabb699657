"""Weights under whatever names and wrappers: what is taken, what is new, and that it is said."""

import argparse
import warnings

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from drkd import InputError, create_model
from drkd.models.renaming import match_by_shape

RENAMED = {  # the network's own names are conv1.0.weight, bn1.weight, layer1.0.conv1.weight, ..., fc.weight
    "wrapped": lambda names: {name: f"module.{name}" for name in names},
    "compiled and wrapped": lambda names: {name: f"_orig_mod.module.{name}" for name in names},
    "compiled inside": lambda names: {name: f"model._orig_mod.{name}" for name in names},
    "a backbone": lambda names: {name: f"backbone.{name}" for name in names},
    "deep in a system": lambda names: {name: f"system.student.net.{name}" for name in names},
    "other modules": lambda names: {
        name: name.replace("layer", "stage").replace("conv1.", "first.").replace("fc", "head") for name in names
    },
    "numbers": lambda names: {name: f"t{row}" for row, name in enumerate(names)},
    "layers": lambda names: {name: f"layers.{row}.value" for row, name in enumerate(names)},
    "another library": lambda names: {
        name: name.replace("layer", "block")
        .replace("bn1.weight", "bn1.gamma")
        .replace("bn1.bias", "bn1.beta")
        .replace("running_mean", "moving_mean")
        .replace("running_var", "moving_var")
        for name in names
    },
}
WRAPPED = {
    "model": lambda tensors: {"model": tensors, "epoch": 3},
    "state_dict": lambda tensors: {"state_dict": tensors, "arch": "test_resnet", "args": argparse.Namespace(lr=0.1)},
    "model_state_dict": lambda tensors: {"model_state_dict": tensors, "optimizer_state_dict": {"state": {}}},
    "state_dict_ema": lambda tensors: {"state_dict": zeros(tensors), "state_dict_ema": tensors},
    "model_ema": lambda tensors: {"model": zeros(tensors), "model_ema": tensors},
    "model.state_dict": lambda tensors: {"model": {"state_dict": tensors, "step": 1}},
}


def zeros(tensors):
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def build(name="timm:test_resnet", num_classes=7, channels=3, image_size=32, seed=0, **options):
    """A network, and what was said of its weights."""
    torch.manual_seed(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = create_model(name, num_classes=num_classes, image_size=image_size, channels=channels, **options)
    return model, " ".join(str(warning.message) for warning in caught)


@pytest.fixture(scope="module")
def original():
    """A network of 1000 classes whose every tensor is its own."""
    model, _ = build(num_classes=1000, seed=1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor))
    return model.state_dict()


def written(tensors, path):
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def backbone_equal(model, original):
    own = model.state_dict()
    names = [name for name in own if not name.startswith("fc.") and own[name].is_floating_point()]
    return len(names) > 40 and all(torch.equal(own[name], original[name]) for name in names)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("form", RENAMED)
def test_weights_under_other_names_are_the_same_weights(original, tmp_path, form, suffix):
    names = RENAMED[form](list(original))
    assert len(set(names.values())) == len(original)
    path = written({names[name]: tensor for name, tensor in original.items()}, tmp_path / f"other{suffix}")
    model, said = build(weights=path)
    assert backbone_equal(model, original)
    random, _ = build()
    assert torch.equal(model.fc.weight, random.fc.weight)  # the new classifier is drawn as it always is
    assert "2 are new (fc.weight, fc.bias)" in said
    by_shape = form in ("other modules", "numbers", "layers", "another library")
    assert ("by order and shape" in said) == by_shape
    assert ("its classifier of 1000 classes is dropped" in said) == (not by_shape)


@pytest.mark.parametrize("form", WRAPPED)
def test_a_checkpoints_tensors_are_found_in_it(original, tmp_path, form):
    path = written(WRAPPED[form](original), tmp_path / "checkpoint.pth.tar")
    model, said = build(weights=path)
    assert backbone_equal(model, original)
    assert f"checkpoint.pth.tar ({form})" in said


def test_a_classifier_for_the_same_classes_is_taken_along(original, tmp_path):
    for form in ("wrapped", "numbers"):
        names = RENAMED[form](list(original))
        path = written({names[name]: tensor for name, tensor in original.items()}, tmp_path / "same.safetensors")
        model, said = build(num_classes=1000, weights=path)
        assert torch.equal(model.fc.weight, original["fc.weight"])
        assert torch.equal(model.fc.bias, original["fc.bias"])
        assert "none is new" in said


def test_a_new_classifier_starts_from_small_logits(tmp_path):
    random, _ = build("timm:test_efficientnet", num_classes=1000)
    weights = written(random.state_dict(), tmp_path / "a.safetensors")
    started, said = build("timm:test_efficientnet", num_classes=3, weights=weights)
    assert "2 are new (classifier.weight, classifier.bias)" in said
    widest = random.classifier.in_features**-0.5
    assert 0.8 * widest < started.classifier.weight.abs().max() <= widest  # torch's own range
    assert build("timm:test_efficientnet", num_classes=3)[0].classifier.weight.abs().max() > 3 * widest  # timm's
    kept, _ = build("timm:test_efficientnet", num_classes=1000, weights=weights)
    assert torch.equal(kept.classifier.weight, random.classifier.weight)


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3)])
def test_a_first_convolution_answers_grey_images_as_before(tmp_path, theirs, ours):
    """An image of three equal channels is a grey one."""
    saved, _ = build("small_cnn", num_classes=5, channels=theirs, image_size=16, seed=1)
    path = written(saved.state_dict(), tmp_path / "model.pt")
    model, said = build("small_cnn", num_classes=5, channels=ours, image_size=16, weights=path)
    assert f"0.weight is adapted from {theirs} to {ours} channels" in said
    images = torch.rand(2, 1, 16, 16)
    as_before, now = (
        network.eval()(images.expand(-1, channels, -1, -1)) for network, channels in ((saved, theirs), (model, ours))
    )
    assert torch.allclose(as_before, now, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"13.bias": None}, "13 of 17 tensors .*; 1 are new (13.bias)"),
        ({"extra": torch.zeros(1)}, "none is new; 1 in the file are not used (extra)"),
    ],
)
def test_a_tensor_too_few_or_too_many_is_said(tmp_path, change, said):
    saved, _ = build("small_cnn", image_size=8)
    tensors = {name: tensor for name, tensor in (saved.state_dict() | change).items() if tensor is not None}
    found = build("small_cnn", image_size=8, weights=written(tensors, tmp_path / "model.pt"))[1]
    assert said.rpartition("; ")[2] in found


def test_half_a_network_is_refused(original, tmp_path):
    few = dict(list(original.items())[: len(original) // 3])
    with pytest.raises(InputError, match=r"do not fit the model.*missing.*name the model that they were saved from"):
        build(weights=written(few, tmp_path / "few.pt"))


@pytest.mark.parametrize("name", ["resnet18", "timm:test_vit"])
def test_another_architecture_is_refused(original, tmp_path, name):
    with pytest.raises(InputError, match="do not fit the model"):
        build(name, weights=written(dict(original), tmp_path / "other.safetensors"))


def test_names_that_do_not_tell_which_is_which_are_refused():
    """The scale and the shift of a norm have the same shape; these names, sorted, exchange them."""
    own = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).state_dict()
    renamed = {"0.weight": "in.w", "0.bias": "in.b", "1.weight": "norm.stretch", "1.bias": "norm.move"}
    saved = {renamed.get(name, name): tensor for name, tensor in own.items()}
    assert match_by_shape(own, saved, ["2.weight", "2.bias"], in_order=False) is None
    found = match_by_shape(own, saved, ["2.weight", "2.bias"], in_order=True)
    assert found is not None
    assert found["1.weight"] == "norm.stretch"


def test_variances_below_zero_show_that_the_order_is_another():
    own = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).state_dict()
    saved = {f"t{row}": -1 - torch.rand_like(tensor.float()) for row, tensor in enumerate(own.values())}
    assert match_by_shape(own, saved, ["1.weight", "1.bias"], in_order=True) is None


def test_timms_own_conversion_is_used(tmp_path):
    """A transformer for images of another size: timm resizes its position embedding."""
    saved, _ = build("timm:test_vit", image_size=64, seed=1)
    path = written(saved.state_dict(), tmp_path / "vit.safetensors")
    model, said = build("timm:test_vit", image_size=32, weights=path)
    assert "none is new" in said
    assert model.pos_embed.shape[1] < saved.pos_embed.shape[1]
    assert torch.equal(model.blocks[0].attn.qkv.weight, saved.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_torchvisions_weights_give_timms_network_torchvisions_answers(tmp_path, suffix):
    theirs = torchvision.models.mobilenet_v2(num_classes=7).eval()
    path = written(theirs.state_dict(), tmp_path / f"other{suffix}")
    ours, said = build("timm:mobilenetv2_100", weights=path)
    assert "none is new" in said
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(ours.eval()(images), theirs(images), atol=1e-5)
