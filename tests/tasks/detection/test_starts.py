"""Detectors that start from trained weights: what is taken, what is new, what stays as it is."""

import itertools
import json
import warnings

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v3_large

import drkd
from drkd import InputError
from drkd.config import TrainConfig, resolve
from drkd.models.parts import blocks_of
from drkd.tasks.detection import create_detector, load_detection
from drkd.tasks.detection.starts import PUBLISHED, backbone_of
from shapes import write_voc

LITE = "ssd_efficientnet_lite0"


def start(name, classes, **how):
    """A detector, and the warnings that say where it starts from."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.manual_seed(5)
        made = create_detector(name, num_classes=classes, image_size=64, **how)
    return made, [str(each.message) for each in caught]


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3", "fasterrcnn_mobilenet_v3_320", "retinanet_mobilenet_v3"])
def test_heads_for_other_classes_are_new_and_all_else_is_the_files(name, tmp_path):
    torch.manual_seed(1)
    coco = create_detector(name, num_classes=90, image_size=64)
    torch.save({"model": coco.state_dict()}, tmp_path / "coco.pth")
    made, (said,) = start(name, 2, weights=tmp_path / "coco.pth")
    plain, _ = start(name, 2)
    theirs, random = coco.state_dict(), plain.state_dict()
    replaced = 0
    for key, value in made.state_dict().items():
        fits = theirs[key].shape == value.shape
        replaced += not fits
        assert torch.equal(value, theirs[key] if fits else random[key]), key
    assert 0 < replaced <= 12
    assert (
        f"coco.pth (model); its heads for 91 classes, background among them, are left out; {replaced} are new" in said
    )


@pytest.mark.parametrize("name", ["retinanet_mobilenet_v3", "fasterrcnn_mobilenet_v3_320"])
def test_a_backbone_of_imagenet_gives_the_features_that_it_gives_alone(name, tmp_path):
    torch.manual_seed(1)
    classifier = mobilenet_v3_large(norm_layer=torch.nn.BatchNorm2d).eval()  # as torchvision's detectors have them
    torch.save(classifier.state_dict(), tmp_path / "imagenet.pth")
    made, (said,) = start(name, 2, weights=tmp_path / "imagenet.pth")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = list(backbone_of(made.eval())(images).values())[-1]
        assert torch.equal(ours, classifier.features(images))
    assert "they are its backbone's" in said
    assert "4 in the file are not used (classifier.0.weight" in said


@pytest.fixture(scope="module")
def lite():
    torch.manual_seed(1)
    return timm.create_model("efficientnet_lite0", num_classes=7).eval()


@pytest.mark.parametrize("says", [None, (0.4, 0.25)])
def test_a_lite_backbone_brings_its_preprocessing_along(lite, says, tmp_path):
    save_file(lite.state_dict(), tmp_path / "model.safetensors")
    mean, std = says or (0.5, 0.5)
    if says:
        about = {"pretrained_cfg": {"mean": [mean] * 3, "std": [std] * 3, "input_size": [3, 224, 224]}}
        (tmp_path / "config.json").write_text(json.dumps(about))
    made, said = start(LITE, 2, weights=tmp_path if says else tmp_path / "model.safetensors")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = made.eval().backbone(images)
        inner = lite.forward_intermediates((images - mean) / std, indices=(3, 4), intermediates_only=True)
    assert torch.equal(ours["0"], inner[0])
    assert torch.equal(ours["1"], inner[1])
    assert any(f"mean ({mean}, {mean}, {mean}) and deviation ({std}" in each for each in said)
    again, _ = start(LITE, 2)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.eval().backbone(images)["1"], ours["1"])


def test_a_frozen_backbone_stays_and_the_rest_learns(lite, tmp_path):
    data = load_detection(write_voc(tmp_path / "set", train=2, val=0, test=1), validation=0, image_size=48)
    save_file(lite.state_dict(), tmp_path / "lite.safetensors")
    detector, _ = start(LITE, 2, weights=tmp_path / "lite.safetensors")
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    drkd.fit(detector, drkd.cross_entropy(), data, epochs=1, batch_size=2, warmup_epochs=0, freeze="backbone")
    changed = {key for key, value in detector.state_dict().items() if not torch.equal(value, before[key])}
    assert not any(key.startswith(("backbone.body.", "backbone.mean", "backbone.std")) for key in changed)
    assert {"backbone.extra.0.0.0.weight", "head.classification_head.module_list.0.1.weight"} <= changed
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_the_rest_learns_alone_at_first_and_blocks_are_the_backbones(tmp_path):
    data = load_detection(write_voc(tmp_path / "set", train=2, val=0, test=1), validation=0, image_size=48)
    detector, _ = start("small_ssd", 2)
    states = []

    def keep(row):
        states.append({key: value.clone() for key, value in detector.state_dict().items()})

    keep(None)
    how = {"epochs": 2, "head_epochs": 1, "batch_size": 2, "warmup_epochs": 0, "layer_decay": 0.9, "head_lr": 0.002}
    drkd.fit(detector, drkd.cross_entropy(), data, **how, on_epoch=keep)
    first, second = (
        {key for key, value in before.items() if not torch.equal(value, after[key])}
        for before, after in itertools.pairwise(states)
    )
    assert not any(key.startswith("backbone.") for key in first)
    assert "head.classification_head.module_list.0.weight" in first & second
    assert {"backbone.first.0.0.weight", "backbone.others.2.1.running_mean"} <= second
    blocks = blocks_of(detector, backbone_of(detector))
    assert len(blocks) == 8  # seven convolutions
    assert all(key.startswith("head.") for key in blocks[-1])


def test_published_weights_are_named_where_they_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"expected .*/checkpoints/ssdlite320_mobilenet_v3_large_coco-.*--download"):
        create_detector("ssdlite320_mobilenet_v3", num_classes=2, pretrained=True)
    with pytest.raises(InputError, match="there are no published weights of small_ssd"):
        create_detector("small_ssd", num_classes=2, pretrained=True)
    from torchvision.models import get_weight

    file = tmp_path / "hub" / "checkpoints" / get_weight(PUBLISHED["ssdlite320_mobilenet_v3"]).url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    coco = create_detector("ssdlite320_mobilenet_v3", num_classes=90)
    torch.save(coco.state_dict(), file)
    made, (said,) = start("ssdlite320_mobilenet_v3", 2, pretrained=True)
    assert torch.equal(made.backbone.features[0][0][0].weight, coco.backbone.features[0][0][0].weight)
    assert "torchvision's SSDLite320_MobileNet_V3_Large_Weights.COCO_V1" in said


def test_files_that_do_not_fit_are_refused(tmp_path):
    torch.save(mobilenet_v3_large().state_dict(), tmp_path / "imagenet.pth")
    with pytest.raises(InputError, match=r"neither of ssdlite320_mobilenet_v3 nor of its backbone.*half the channels"):
        create_detector("ssdlite320_mobilenet_v3", num_classes=2, weights=tmp_path / "imagenet.pth")
    torch.save(create_detector("small_ssd", num_classes=2).state_dict(), tmp_path / "small.pth")
    with pytest.raises(InputError, match=r"do not fit ssdlite320_mobilenet_v3: .* name the detector"):
        create_detector("ssdlite320_mobilenet_v3", num_classes=2, weights=tmp_path / "small.pth")
    with pytest.raises(InputError, match="both set the initial weights; use one of them"):
        create_detector("small_ssd", num_classes=2, weights=tmp_path / "small.pth", pretrained=True)


def test_a_trained_start_has_defaults_of_its_own():
    config, origins = resolve(TrainConfig, {"task": "detection", "pretrained": True})
    assert (config.weight_decay, origins["weight_decay"]) == (0.05, "default for trained detectors")
    assert (config.lr, origins["lr"]) == (0.003, "default for trained detectors")
    config, origins = resolve(TrainConfig, {"task": "detection"})
    assert config.lr == 0.001
    assert (config.weight_decay, origins["weight_decay"]) == (5e-4, "default")
