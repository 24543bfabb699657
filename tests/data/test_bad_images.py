"""Bad images stop a training before its first step, all of them in one message, or are left out."""

import json
from pathlib import Path

import pytest
import torch

from drkd.data import datasets, images, load_data
from drkd.runs.evaluating import evaluate_run
from drkd.utils.errors import InputError
from image_files import encoded, noise, refusal, run_cli, spoil


def test_all_bad_images_stand_in_one_message(root):
    spoil(root)
    (root / "test" / "cat" / "bad.png").write_text("no image")
    folder = root / "train" / "dog"
    damaged = "it is not an image, or its header is damaged"
    assert refusal(root) == (
        f"6 images cannot be read: {folder}/bad0.png (it is empty), {folder}/bad1.png ({damaged}), {folder}/bad2.png "
        f"({damaged}), and 3 more; remove or replace them, train with --skip-bad-images to leave them out, or list "
        f"every problem with `drkd check {root}`"
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_bad_images_are_left_out_when_asked(root, monkeypatch, lazy):
    if lazy:
        monkeypatch.setattr(images, "MEMORY_LIMIT", 0)
    whole = load_data(root)
    spoil(root)
    (root / "val" / "cat" / "cut.png").write_bytes(encoded(noise(0))[:100])
    datasets._read.cache_clear()
    with pytest.warns(UserWarning, match=r"left out: 6 unreadable images \(train 5, val 1, test 0\): .*bad0"):
        data = load_data(root, skip_bad_images=True, image_size=8)
    assert data.skipped_images == {"train": 5, "val": 1, "test": 0}
    for split in ("train", "val", "test"):
        ours, theirs = getattr(data, split), getattr(whole, split)
        everything = torch.arange(len(theirs))
        assert torch.equal(ours.inputs[everything], theirs.inputs[everything])
        assert torch.equal(ours.labels, theirs.labels)


def test_what_is_left_out_is_said_of_every_run(root):
    spoil(root)
    for seed in range(2):
        with pytest.warns(UserWarning, match="5 unreadable images"):
            load_data(root, skip_bad_images=True, image_size=8, seed=seed)


def test_a_split_of_bad_images_only_is_an_error(root):
    for path in (root / "val").rglob("*.png"):
        path.write_bytes(b"")
    assert "no image of the val split can be read: 6 images cannot" in refusal(root, skip_bad_images=True)


def test_images_on_demand_have_their_headers_read_beforehand(root, monkeypatch):
    monkeypatch.setattr(images, "MEMORY_LIMIT", 0)
    spoil(root)
    assert refusal(root).startswith("5 images cannot be read")
    for path in (root / "train" / "dog").glob("bad*"):
        path.unlink()
    cut = root / "train" / "dog" / "cut.png"
    cut.write_bytes(encoded(noise(0, (64, 64)))[:3000])
    with pytest.raises(InputError, match=r"cut\.png cannot be read as an image: image file is truncated"):
        load_data(root, image_size=8)


def test_a_run_counts_what_it_left_out(root, tmp_path_factory, monkeypatch):
    spoil(root)
    monkeypatch.chdir(tmp_path_factory.mktemp("run"))
    options = ["--data", str(root), "--method", "cross_entropy", "--epochs", "1", "--image-size", "8", "--out", "run"]
    assert run_cli("train", *options, "--model", "mlp", "--skip-bad-images") == 0
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["skipped_images"] == {"train": 5, "val": 0, "test": 0}
    assert any("left out: 5 unreadable images" in note for note in summary["notes"])
    with pytest.warns(UserWarning, match="5 unreadable images"):
        evaluate_run(Path("run"), data=None, split="test")
    assert run_cli("train", *options, "--model", "mlp", "--resume") == 2
