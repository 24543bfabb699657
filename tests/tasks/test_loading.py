import json

import pytest
import torch
from safetensors.torch import save_file

import drkd
from drkd import InputError
from drkd.models.files import ModelInfo, write_model
from drkd.tasks.loading import load_model
from drkd.utils.files import write_tensors
from spoiling import flip


def test_a_model_file_says_how_to_build_it(tmp_path):
    net = drkd.create_model("small_cnn", num_classes=3, image_size=8)
    info = ModelInfo("small_cnn", ("a", "b", "c"), 8, 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    write_model(tmp_path / "model.safetensors", net.state_dict(), info)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded, read = load_model(path)
        assert read == info
        assert torch.equal(loaded(torch.ones(1, 3, 8, 8)), net.eval()(torch.ones(1, 3, 8, 8)))


def test_a_file_that_does_not_say_its_network_is_refused(tmp_path):
    write_tensors(tmp_path / "model.safetensors", {"w": torch.ones(3)})
    with pytest.raises(InputError, match="does not say which network"):
        load_model(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_model_file_is_refused(tmp_path, seed):
    """Flipped in the numbers, in their names, or in what is said about them."""
    net = drkd.create_model("mlp", num_classes=3, image_size=2, channels=1)
    file = tmp_path / "model.safetensors"
    write_model(file, net.state_dict(), ModelInfo("mlp", ("a", "b", "c"), 2, 1, mean=(0.5,), std=(0.25,)))
    flip(file, seed)
    with pytest.raises(InputError):
        load_model(file)


def test_a_model_file_without_a_checksum_is_old_not_damaged(tmp_path):
    net = drkd.create_model("mlp", num_classes=2, image_size=4)
    info = ModelInfo("mlp", ("a", "b"), 4, 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    save_file(net.state_dict(), tmp_path / "model.safetensors", {"drkd": json.dumps(info.to_json())})
    with pytest.raises(InputError, match="no checksum: it is damaged, or an older drkd wrote it; train again"):
        load_model(tmp_path)
