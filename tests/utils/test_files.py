import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from drkd import InputError
from drkd.utils.files import read_json, read_tensors, write_tensors
from drkd.utils.hashing import content_hash


def test_equal_models_are_equal_files(tmp_path):
    for name in ("a", "b"):
        write_tensors(tmp_path / name, {"w": torch.ones(3), "v": torch.zeros(2)}, {"model": "mlp"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="cannot read weights"):
        read_tensors(tmp_path / "model.safetensors")


def test_damaged_json_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text('{"a": ')
    with pytest.raises(InputError, match="is damaged"):
        read_json(tmp_path / "summary.json")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    write_tensors(tmp_path / "w", {"w": torch.ones(3)})
    with pytest.raises(TypeError):
        write_tensors(tmp_path / "w", {"w": torch.zeros(3)}, {"model": object()})
    assert load_file(tmp_path / "w")["w"].tolist() == [1, 1, 1]


def test_metadata_is_one_sorted_key(tmp_path):
    write_tensors(tmp_path / "w", {"w": torch.ones(1)}, {"b": 1, "a": 2})
    with safe_open(tmp_path / "w", "pt") as file:
        (entry,) = file.metadata().items()
    content = content_hash({"w": torch.ones(1)}, {"a": 2, "b": 1})
    assert entry == ("drkd", json.dumps({"a": 2, "b": 1, "sha256": content}))
