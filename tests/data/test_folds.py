"""Folds: every image with a label is left out once, whatever else is there."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd import InputError, load_data
from drkd.data import images
from drkd.data.folds import fold_numbers, leave_out
from drkd.data.images import LazyImages
from drkd.data.keys import image_keys
from drkd.data.tensors import from_tensors
from image_files import encoded, noise, write_parquet, write_set


def rows_of(data, *splits):
    """Each sample as something that can be counted."""
    found = []
    for name in splits:
        split = getattr(data, name)
        found += [(key.tobytes(), label) for key, label in zip(image_keys(split), split.labels.tolist(), strict=True)]
    return sorted(found)


def tensors(values, labels, val=0):
    """Data of one number a sample."""
    inputs, labels = torch.tensor(values, dtype=torch.float32)[:, None], torch.tensor(labels)
    cut = len(inputs) - val
    held = (inputs[cut:], labels[cut:]) if val else None
    return from_tensors((inputs[:cut], labels[:cut]), (inputs[:2], torch.tensor([0, 1])), val=held, validation=0)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 40), min_size=20, max_size=30), st.integers(2, 6), st.integers(0, 3))
def test_every_image_is_left_out_once_and_copies_of_it_with_it(values, folds, draw):
    values = [*values, *range(200, 215)]
    data = tensors(values, [i % 2 for i in range(len(values))], val=7)
    left_out = []
    for fold in range(1, folds + 1):
        try:
            part = leave_out(data, fold, folds, draw)
        except InputError:  # an empty fold
            continue
        assert not set(part.val.inputs.flatten().tolist()) & set(part.train.inputs.flatten().tolist())
        assert rows_of(part, "train", "val") == rows_of(data, "train", "val")
        assert torch.equal(part.test.inputs, data.test.inputs)
        left_out += rows_of(part, "val")
    assert sorted(left_out) == rows_of(data, "train", "val")


def test_the_fold_of_an_image_is_its_own_hash_and_no_other_images_matter():
    values = list(range(100))
    data = tensors(values, [i % 2 for i in values])
    numbers = fold_numbers(data, 5, 3)
    for key, number in zip(image_keys(data.train), numbers.tolist(), strict=True):
        digest = hashlib.sha256(f"fold 3/{key.tobytes().hex()}".encode()).digest()
        assert number == 5 * int.from_bytes(digest[:8], "big") // 2**64 + 1
    fewer = tensors(values[::2], [i % 2 for i in range(50)], val=10)
    assert torch.equal(fold_numbers(fewer, 5, 3), numbers[::2])
    assert not torch.equal(fold_numbers(data, 5, 4), numbers)


def test_fold_0_trains_on_all():
    data = load_data("digits", limit_train=100)
    part = leave_out(data, 0, 2)
    assert (len(part.train), len(part.val)) == (244, 0)
    assert rows_of(part, "train") == rows_of(data, "train", "val")
    assert part.record.fingerprint != data.record.fingerprint


def test_files_go_by_their_content(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train" / "cat" / "copy of 1.png").write_bytes((tmp_path / "train" / "cat" / "1.png").read_bytes())
    data = load_data(tmp_path)
    numbers = dict(zip([*data.train.names, *data.val.names], fold_numbers(data, 7).tolist(), strict=True))
    assert numbers["train/cat/copy of 1.png"] == numbers["train/cat/1.png"]
    fold = numbers["train/cat/1.png"]
    part = leave_out(data, fold, 7)
    assert {part.record.files[name].split for name in part.val.names} == {"val"}
    assert sorted(part.val.names) == sorted(name for name, number in numbers.items() if number == fold)


def test_the_training_images_are_divided_alone_where_that_is_asked():
    data = load_data("digits", limit_train=100)
    numbers = fold_numbers(data, 2, of_train=True)
    assert torch.equal(numbers, fold_numbers(data, 2)[:100])
    for fold in (1, 2):
        part = leave_out(data, fold, 2, of_train=True)
        assert torch.equal(part.train.inputs, data.train.inputs[numbers != fold])
        assert torch.equal(part.val.inputs, data.val.inputs)
        assert part.record.fingerprint != data.record.fingerprint


def test_an_empty_fold_is_refused():
    data = tensors([1, 2, 3, 4], [0, 1, 0, 1])
    empty = next(fold for fold in range(1, 51) if fold not in fold_numbers(data, 50))
    with pytest.raises(InputError, match=rf"fold {empty} of 50 has 0 of 4 images.*choose another number of folds"):
        leave_out(data, empty, 50)


def test_samples_that_are_no_files_say_where_they_are(tmp_path):
    rows = [(encoded(noise(i)), i % 2) for i in range(8)]
    write_parquet(tmp_path / "train-0.parquet", rows[:5], ("a", "b"))
    write_parquet(tmp_path / "train-1.parquet", rows[5:], ("a", "b"))
    write_parquet(tmp_path / "test.parquet", rows[:2], ("a", "b"))
    data = load_data(tmp_path, validation=0.25)
    found = dict(zip([*data.train.origins, *data.val.origins], [*data.train.inputs, *data.val.inputs], strict=True))
    assert sorted(found) == [*(f"train-0.parquet {i}" for i in range(5)), *(f"train-1.parquet {i}" for i in range(3))]
    assert torch.equal(found["train-1.parquet 2"], load_data(tmp_path, validation=0).train.inputs[7])
    digits, whole = load_data("digits"), load_data("digits", validation=0)
    assert len({*digits.train.origins, *digits.val.origins, *digits.test.origins}) == 1797
    assert sorted([*digits.train.origins, *digits.val.origins]) == sorted(whole.train.origins)


def test_a_choice_by_booleans_keeps_names_and_images_together(tmp_path):
    write_set(tmp_path)
    train = load_data(tmp_path).train
    chosen = torch.tensor([False, True, False, True, False, True])
    part = train.select(chosen)
    assert part.names == [train.names[row] for row in (1, 3, 5)]
    assert torch.equal(part.inputs, train.inputs[[1, 3, 5]])


def test_images_in_memory_are_joined_with_others_that_are_too_many_for_it(tmp_path, monkeypatch):
    write_set(tmp_path)
    for number in range(3, 9):
        noise(500 + number).save(tmp_path / "train" / "dog" / f"{number}.png")
    whole = load_data(tmp_path)
    shown = dict(zip([*whole.train.names, *whole.val.names], [*whole.train.inputs, *whole.val.inputs], strict=True))
    monkeypatch.setattr(images, "MEMORY_LIMIT", 3 * 8 * 8 * 10)
    data = load_data(tmp_path, image_size=8)  # read again
    assert (type(data.train.inputs), type(data.val.inputs)) == (LazyImages, torch.Tensor)
    part = leave_out(data, 1, 3)
    assert sorted([*part.train.names, *part.val.names]) == sorted(shown)
    for split in (part.train, part.val):
        assert len(split.inputs) == len(split.labels)
        assert torch.equal(split.inputs[torch.arange(len(split))], torch.stack([shown[name] for name in split.names]))


def test_images_that_nobody_voted_on_keep_their_label_beside_others(tmp_path):
    write_set(tmp_path)
    votes = [f"train/{name}/{i}.png,{3 - i},{i + 1}" for name in ("cat", "dog") for i in range(3)]
    (tmp_path / "votes.csv").write_text("\n".join(["file,cat,dog", *votes]))
    data = load_data(tmp_path)
    assert data.val.probs is None
    train = leave_out(data, 0, 2).train
    voted = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    assert torch.equal(train.probs, torch.cat([voted, voted, torch.eye(2).repeat_interleave(3, dim=0)]))
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
