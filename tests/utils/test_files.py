import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from drkd import InputError
from drkd.utils.files import read_json, read_tensors, warn_unchecked, write_checked_json, write_tensors
from drkd.utils.hashing import content_hash
from spoiling import flip


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


def test_a_flipped_bit_is_found_wherever_weights_are_read(tmp_path):
    tensors = {"w": torch.randn(40), "v": torch.arange(9)}
    written = tmp_path / "good.safetensors"
    write_tensors(written, tensors, {"model": "mlp", "classes": ["a", "b"]})
    refused = 0
    for bit in range(0, 8 * written.stat().st_size, 7):
        content = bytearray(written.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / "w.safetensors").write_bytes(content)
        try:
            found = read_tensors(tmp_path / "w.safetensors")
        except InputError:
            refused += 1
        else:  # the name under which the checksum is kept: it is found and fits
            assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert refused > 0.98 * 8 * written.stat().st_size / 7 - 10


def test_a_flipped_bit_in_the_numbers_of_a_torch_file_is_found(tmp_path):
    torch.save({"w": torch.randn(4000)}, tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    content[len(content) // 2] ^= 8
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pt is damaged: .*; copy it again"):
        read_tensors(tmp_path / "w.pt")


def test_weights_of_others_have_no_checksum_and_are_read(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "theirs.safetensors", {"format": "pt"})
    assert read_tensors(tmp_path / "theirs.safetensors")["w"].tolist() == [1, 1]
    with pytest.warns(UserWarning, match=r"theirs\.safetensors has no checksum"):
        warn_unchecked(tmp_path / "theirs.safetensors")
    write_tensors(tmp_path / "ours.safetensors", {"w": torch.ones(2)}, {"model": "mlp"})
    warn_unchecked(tmp_path / "ours.safetensors")


def test_edited_json_is_refused(tmp_path):
    file, value = tmp_path / "summary.json", {"accuracy": 0.5, "seeds": (1, 2), "of": {"a": None}}
    write_checked_json(file, value)
    assert read_json(file) == {"accuracy": 0.5, "seeds": [1, 2], "of": {"a": None}}
    text = file.read_text()
    for old, new in (("0.5", "0.6"), ('"a"', '"b"'), ("null", "1"), ('"sha256": "', '"sha256": "0')):
        file.write_text(text.replace(old, new))
        with pytest.raises(InputError, match="was changed: its content is not what drkd wrote"):
            read_json(file)
    for seed in range(50):
        file.write_text(text)
        flip(file, seed)
        try:
            assert read_json(file)["of"] == {"a": None}  # the name of the checksum, or a space between
        except InputError:
            continue
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match="is damaged"):
        read_json(file)
