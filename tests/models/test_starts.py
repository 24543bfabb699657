"""Pretrained weights of timm and of repositories, without a network: from the cache, or one clear error."""

import json
import re
import warnings

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from drkd import InputError, create_model
from drkd.data.preprocessing import Preprocessing
from drkd.models.files import ModelInfo, write_model
from drkd.models.starts import find_start

NAME = "resnet10t"
OF_TIMM = Preprocessing(176, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 0.875, "bicubic")
"""What timm says of its first weights for that network."""


@pytest.fixture(scope="module")
def published():
    """What stands for the weights on the Hub."""
    torch.manual_seed(5)
    return timm.create_model(NAME).state_dict()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Folders of the Hub and of torch with nothing in them."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


def in_cache(folder, repository, tensors, **files):
    """As huggingface_hub keeps a repository."""
    home = folder / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0123abc")
    save_file(tensors, snapshot / "model.safetensors")
    for name, content in files.items():
        (snapshot / f"{name}.json").write_text(json.dumps(content))
    return snapshot


def build(name=f"timm:{NAME}", channels=3, num_classes=4, seed=0, **options):
    torch.manual_seed(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = create_model(name, num_classes=num_classes, image_size=64, channels=channels, **options)
    return model, " ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("name", [f"timm:{NAME}", f"timm:{NAME}.c3_in1k"])
def test_timms_weights_are_loaded_from_the_cache(cache, published, name):
    in_cache(cache, f"timm/{NAME}.c3_in1k", published)
    model, said = build(name, pretrained=True)
    own = model.state_dict()
    assert all(torch.equal(own[key], published[key]) for key in own if not key.startswith("fc."))
    assert said == (
        f"{len(own) - 2} of {len(own)} tensors of the network come from timm's {NAME}.c3_in1k; "
        "2 are new (fc.weight, fc.bias)"
    )
    assert torch.equal(model.fc.weight, build()[0].fc.weight)  # as with random weights of that seed
    assert find_start(name, pretrained=True).preprocessing == OF_TIMM


def test_timm_adapts_its_weights_to_grey_images(cache, published):
    in_cache(cache, f"timm/{NAME}.c3_in1k", published)
    model, said = build(pretrained=True, channels=1, num_classes=1000)
    assert torch.allclose(model.conv1[0].weight, published["conv1.0.weight"].sum(dim=1, keepdim=True))
    assert said.endswith("none is new")


def test_torchs_cache_is_looked_into_too(cache, published):
    (cache / "torch" / "checkpoints").mkdir(parents=True)
    torch.save(published, cache / "torch" / "checkpoints" / "resnet10t_176_c3-f3215ab1.pth")
    assert torch.equal(build(pretrained=True)[0].bn1.weight, published["bn1.weight"])


def test_a_damaged_file_of_the_cache_is_named(cache, published):
    snapshot = in_cache(cache, f"timm/{NAME}.c3_in1k", published)
    (snapshot / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"timm's resnet10t\.c3_in1k cannot be loaded from .*model\.safetensors"):
        build(pretrained=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            f"timm:{NAME}.c3_in1k",
            {},
            "by its tag, but the weights would be random; add --pretrained, or .*timm:resnet10t$",
        ),
        (f"timm:{NAME}.nope", {"pretrained": True}, "no weights 'nope' for resnet10t; it has c3_in1k"),
        (f"timm:{NAME}.nope", {}, "by its tag"),
        ("timm:resnet18x", {"pretrained": True}, "no network 'resnet18x'; did you mean"),
        ("timm:botnet50ts_256", {"pretrained": True}, "timm has no pretrained weights for botnet50ts_256"),
        ("resnet18", {"pretrained": True}, "for timm networks, got resnet18"),
        (f"timm:{NAME}", {"pretrained": True, "weights": "a.pt"}, "use one of them"),
        (f"timm:{NAME}", {"weights": "hf_hub:no such/repo sitory"}, "a repository is OWNER/NAME"),
        (f"timm:{NAME}", {"weights": "gone.pt"}, "there is no file gone.pt"),
    ],
)
def test_what_cannot_be_meant_is_refused(cache, name, options, message):
    with pytest.raises(InputError, match=message):
        build(name, **options)


@pytest.mark.parametrize("options", [{"pretrained": True}, {"weights": f"hf_hub:timm/{NAME}.c3_in1k"}])
def test_without_a_network_it_is_said_which_file_is_expected_where(cache, options):
    expected = cache / "hub" / f"models--timm--{NAME}.c3_in1k" / "snapshots" / "REVISION" / "model.safetensors"
    with pytest.raises(InputError, match=f"{re.escape(str(expected))}; run again with --download"):
        build(**options)


@pytest.mark.parametrize("reached", [False, True])
def test_nothing_is_fetched_unless_it_is_asked_for_and_the_hub_is_reached(cache, monkeypatch, reached):
    asked = []

    def fetch(repository, name, revision=None):
        asked.append((repository, name, revision))
        raise ConnectionError("connection lost")

    class Session:
        def head(self, address, timeout):
            asked.append(address)
            if not reached:
                raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    with pytest.raises(InputError, match="--download was not given"):
        build(pretrained=True)
    with pytest.raises(InputError, match="connection lost" if reached else "no route to host"):
        build(pretrained=True, download=True)
    hub, *fetched = asked
    assert hub == huggingface_hub.constants.ENDPOINT
    assert fetched == reached * [(f"timm/{NAME}.c3_in1k", "model.safetensors", None)]


def test_a_repository_says_how_it_wants_images(cache, published):
    config = {"mean": [0.25, 0.5, 0.75], "std": [0.5, 0.5, 0.5], "crop_pct": 0.8, "input_size": [3, 96, 96]}
    content = {"architecture": NAME, "pretrained_cfg": {**config, "interpolation": "bilinear"}}
    in_cache(cache, "me/birds", published, config=content)
    start = find_start(f"timm:{NAME}", weights="hf_hub:me/birds")
    assert start.preprocessing == Preprocessing(96, (0.25, 0.5, 0.75), (0.5, 0.5, 0.5), 1.25, "bilinear")
    assert torch.equal(build(weights="hf_hub:me/birds")[0].bn1.weight, published["bn1.weight"])


def test_a_file_that_says_nothing_is_fed_as_timm_says_of_the_network(tmp_path, published):
    torch.save(published, tmp_path / "plain.pt")
    start = find_start(f"timm:{NAME}", weights=tmp_path / "plain.pt")
    assert start.preprocessing == OF_TIMM
    assert "does not describe it; timm's resnet10t.c3_in1k does" in start.says
    tagged = find_start("timm:resnet18.fb_swsl_ig1b_ft_in1k", weights=tmp_path / "plain.pt")
    assert tagged.preprocessing.interpolation == "bilinear"  # a tag says whose preprocessing it is
    assert find_start("small_cnn", weights=tmp_path / "plain.pt").preprocessing is None


def test_a_run_says_it_in_its_model(tmp_path):
    info = ModelInfo("small_cnn", ("a", "b"), 24, 3, (0.5,) * 3, (0.25,) * 3, margin=1.5, interpolation="bicubic")
    saved = create_model("small_cnn", num_classes=2, image_size=24)
    write_model(tmp_path / "model.safetensors", saved.state_dict(), info)
    for source in (tmp_path, tmp_path / "model.safetensors"):
        assert find_start("small_cnn", weights=source).preprocessing == info.preprocessing
        assert "none is new" in build("small_cnn", num_classes=2, weights=source)[1]
