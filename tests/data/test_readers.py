"""Every layout in miniature: images of class c have brightness 40 c + 20 in each split."""

import io
import json
import pickle
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from drkd.data import datasets, images, layouts, load_data, readers
from drkd.data.files import in_order
from drkd.utils.errors import InputError

PETS = ("bird", "cat", "dog")


def image(label, size=8):
    return Image.new("RGB", (size, size) if isinstance(size, int) else size, (40 * label + 20,) * 3)


def write_class(folder, label, count=4, size=8):
    folder.mkdir(parents=True)
    for i in range(count):
        image(label, size).save(folder / f"{i}.png")


def write_folders(root, splits=("train", "val", "test"), count=4, size=8):
    for split in splits:
        for label, name in enumerate(PETS):
            write_class(root / split / name, label, count, size)
    return root


def write_parquet(path, labels, names=None, columns=("image", "label"), size=8):
    def png(label):
        file = io.BytesIO()
        image(label, size).save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    table = pa.table(dict(zip(columns, ([png(label) for label in labels], labels), strict=True)))
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path.parent


def write_tiny_imagenet(root, per_class=10):
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\ttailed frog\n")
    lines = []
    for label, wnid in enumerate(("n01", "n02")):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for i in range(per_class):
            image(label).save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", "PNG")
        image(label).save(root / "val" / "images" / f"val_{label}.JPEG", "PNG")
        lines.append(f"val_{label}.JPEG\t{wnid}\t0\t0\t7\t7\n")
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    return root


def fits(split):
    """Whether every image has the brightness of its label."""
    everything = split.inputs[torch.arange(len(split))]
    return torch.equal(everything[:, 0, 0, 0].long(), 40 * split.labels + 20)


def counts(split):
    return torch.bincount(split.labels).tolist()


def test_a_folder_per_class_in_three_splits(tmp_path):
    data = load_data(write_folders(tmp_path))
    assert (data.classes, data.channels, data.image_size) == (PETS, 3, 8)
    assert counts(data.train) == counts(data.val) == counts(data.test) == [4, 4, 4]
    assert all(map(fits, (data.train, data.val, data.test)))


@pytest.mark.parametrize("names", [("training", "valid", "testing"), ("Train", "validation", "TEST")])
def test_splits_by_their_other_names(tmp_path, names):
    assert set(readers.read(str(write_folders(tmp_path, names))).splits) == {"train", "val", "test"}


def test_without_a_test_split_val_is_the_test_split(tmp_path):
    write_folders(tmp_path, ("train",), count=10)
    write_folders(tmp_path, ("val",), count=2)
    data = load_data(tmp_path)
    assert (counts(data.train), counts(data.val), counts(data.test)) == ([10, 8, 6], [0, 2, 4], [2] * 3)


def test_without_a_val_split_validation_comes_from_train(tmp_path):
    write_folders(tmp_path, ("train", "test"), count=10)
    data = load_data(tmp_path)
    assert (counts(data.train), counts(data.val), counts(data.test)) == ([10, 8, 6], [0, 2, 4], [10] * 3)


@pytest.mark.parametrize("splits", [("",), ("train",)])
def test_one_folder_gives_a_fixed_fifth_for_the_test(tmp_path, splits):
    root = write_folders(tmp_path, splits, count=20)
    for folder in root.rglob("[bcd]*"):
        for i, path in enumerate(sorted(folder.glob("*.png"))):  # a corner tells images of a class apart
            with Image.open(path) as image:
                image.putpixel((7, 7), (i, 0, 0))
                image.save(path)
    first, second = load_data(root, seed=0), load_data(root, seed=1)
    assert (counts(first.train), counts(first.val), counts(first.test)) == ([18, 16, 12], [0, 2, 6], [2] * 3)
    assert torch.equal(first.test.inputs, second.test.inputs)
    assert not torch.equal(first.val.inputs, second.val.inputs)
    assert fits(first.test)


def test_classes_are_in_the_order_of_code_points_on_every_system():
    """Where paths compare without case, `b` comes before `C`."""
    for kind in (PureWindowsPath, PurePosixPath):
        paths = [kind(f"train/{name}") for name in ("b", "C", "a", "10", "9", "É", "Z")]
        assert [path.name for path in in_order(paths)] == ["10", "9", "C", "Z", "a", "b", "É"]


def test_a_class_that_train_lacks_is_an_error(tmp_path):
    write_class(write_folders(tmp_path) / "val" / "newt", 3)
    with pytest.raises(InputError, match="val has classes that the training split does not have: newt"):
        load_data(tmp_path)


def test_a_class_that_val_lacks_is_none(tmp_path):
    write_folders(tmp_path, ("train", "test"))
    write_class(tmp_path / "val" / "cat", 1)
    data = load_data(tmp_path)
    assert data.val.labels.tolist() == [1] * 4
    assert fits(data.val)


def test_one_class_is_an_error(tmp_path):
    write_class(tmp_path / "train" / "cat", 0)
    with pytest.raises(InputError, match="at least 2 folders, one per class, got 1"):
        load_data(tmp_path)


def test_folders_without_images_are_an_error(tmp_path):
    write_folders(tmp_path, ("train",))
    (tmp_path / "test" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="test holds no images"):
        load_data(tmp_path)


def test_mixed_sizes_become_64_with_a_warning(tmp_path):
    image(0, 20).save(write_folders(tmp_path) / "train" / "bird" / "large.png")
    with pytest.warns(UserWarning, match="differ in size or are not square.*64x64"):
        data = load_data(tmp_path)
    assert data.image_size == 64
    assert fits(data.train)


def test_mixed_sizes_become_the_size_asked_for_in_silence(tmp_path):
    image(0, (30, 20)).save(write_folders(tmp_path) / "train" / "bird" / "large.png")
    assert load_data(tmp_path, image_size=16).image_size == 16


def test_files_that_are_no_images_are_counted(tmp_path):
    for name in ("notes.txt", "table.db"):
        (write_folders(tmp_path / name) / "train" / "cat" / name).write_text("no image")
        with pytest.warns(UserWarning, match="cat has 1 file without an image"):
            data = load_data(tmp_path / name)
        assert counts(data.train) == [4, 4, 4]


def test_a_damaged_image_is_named(tmp_path):
    (write_folders(tmp_path) / "train" / "dog" / "2.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"dog/2\.png"):
        load_data(tmp_path)


def test_images_left_on_disk_give_the_same_data(tmp_path, monkeypatch):
    loaded = load_data(write_folders(tmp_path, ("",), count=10))
    datasets._read.cache_clear()
    monkeypatch.setattr(images, "MEMORY_LIMIT", 0)
    lazy = load_data(tmp_path)
    datasets._read.cache_clear()
    assert isinstance(lazy.train.inputs, images.LazyImages)
    assert torch.equal(lazy.train.inputs[torch.arange(len(lazy.train))], loaded.train.inputs)
    assert (lazy.mean, lazy.std, lazy.image_size) == (loaded.mean, loaded.std, loaded.image_size)


def test_tiny_imagenet_as_published(tmp_path):
    data = load_data(write_tiny_imagenet(tmp_path), image_size=8)
    assert data.classes == ("n01 goldfish", "n02 tailed frog")
    assert (counts(data.train), counts(data.val), data.test.labels.tolist()) == ([9, 9], [1, 1], [1, 0])
    assert all(map(fits, (data.train, data.val, data.test)))
    assert (data.augmentation.flip, data.augmentation.degrees) == (True, 20.0)


def test_tiny_imagenet_is_64_pixels_wide(tmp_path):
    assert load_data(write_tiny_imagenet(tmp_path)).image_size == 64


@pytest.mark.parametrize("gone", ["words.txt", "val/val_annotations.txt", "train/n02/images"])
def test_tiny_imagenet_in_part_is_an_error(tmp_path, gone):
    location = write_tiny_imagenet(tmp_path) / gone
    location.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{gone} is missing; unpack the complete published archive"):
        load_data(tmp_path)


def test_parquet_with_class_names(tmp_path):
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1, 2] * 10, PETS)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [2, 2], PETS)
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", [1, 0], PETS)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [2, 1, 0])  # one file with the names is enough
    data = load_data(tmp_path)
    assert (data.classes, data.image_size) == (PETS, 8)
    assert (counts(data.train), data.val.labels.tolist(), data.test.labels.tolist()) == (
        [10, 10, 12],
        [1, 0],
        [2, 1, 0],
    )
    assert all(map(fits, (data.train, data.val, data.test)))


def test_parquet_without_class_names_numbers_them(tmp_path):
    assert load_data(write_parquet(tmp_path / "train.parquet", [0, 1, 2] * 10)).classes == ("0", "1", "2")


@pytest.mark.parametrize("columns", [("img", "label"), ("image", "fine_label"), ("label", "image")])
def test_parquet_with_wrong_columns_is_an_error(tmp_path, columns):
    root = write_parquet(tmp_path / "train.parquet", [0, 1], columns=columns)
    with pytest.raises(InputError, match=rf"needs the columns image .* and label .* got {columns[0]}"):
        load_data(root)


def test_parquet_with_a_label_beyond_its_names_is_an_error(tmp_path):
    with pytest.raises(InputError, match="labels from 0 to 3 for 3 classes"):
        load_data(write_parquet(tmp_path / "train.parquet", [0, 3], PETS))


@pytest.mark.parametrize(
    ("column", "kind", "match"),
    [
        ("label", pa.array([0, None, 1], pa.int64()), "rows without the bytes of an image or without a label"),
        ("image", pa.array([{"bytes": None}] * 3, pa.struct([("bytes", pa.binary())])), "rows without the bytes"),
        ("label", pa.array(["cat", "dog", "cat"]), r"label \(integers, or lists of votes\), got .*label \(string\)"),
        ("image", pa.array([1, 2, 3]), r"image \(a struct with bytes\).*got image \(int64\)"),
    ],
)
def test_parquet_with_an_unusable_column_is_an_error(tmp_path, column, kind, match):
    path = write_parquet(tmp_path / "train.parquet", [0, 1, 1]) / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, kind), path)
    with pytest.raises(InputError, match=match):
        load_data(tmp_path)


def test_damaged_parquet_is_an_error(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"train\.parquet cannot be read as Parquet"):
        load_data(tmp_path)


def test_parquet_without_a_training_file_is_an_error(tmp_path):
    for name in ("test.parquet", "train_1.parquet"):
        with pytest.raises(InputError, match=r"needs Parquet files called train\.parquet or train-\*\.parquet"):
            load_data(write_parquet(tmp_path / name, [0, 1]))
    write_parquet(tmp_path / "train-0.parquet", [0, 1] * 10)
    with pytest.warns(UserWarning, match=r"train_1\.parquet is skipped: its name, up to a hyphen, is not train"):
        load_data(tmp_path)


@pytest.mark.parametrize(("asked", "size"), [(None, 32), (32, 32), (16, 16), (64, 64)])
def test_cifar10_in_its_python_layout(tmp_path, monkeypatch, asked, size):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    labels = [0, 1, 2, 3] * 5
    pixels = np.repeat(np.array(labels, dtype=np.uint8)[:, None] * 40 + 20, 3 * 32 * 32, axis=1)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    data = load_data(tmp_path, image_size=asked)
    assert (len(data.train), len(data.val), counts(data.test)) == (90, 10, [5] * 4)
    assert (data.image_size, data.classes, data.augmentation.degrees) == (size, tuple("abcdefghij"), 15.0)
    assert fits(data.train)
    before = layouts.list_files(f"cifar10:{tmp_path}")
    assert len(before) == 7
    (tmp_path / "cifar-100-python").mkdir()
    for other in (tmp_path / "cifar-100-python" / "train", folder / ".DS_Store"):
        other.write_bytes(b"0")
    assert layouts.list_files(f"cifar10:{tmp_path}") == before  # neither counts


def test_an_annotation_of_no_known_class_is_an_error(tmp_path):
    root = write_tiny_imagenet(tmp_path)
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn99\t0\t0\t7\t7\n")
    with pytest.raises(InputError, match=r"a line without a class of wnids\.txt: 'val_0\.JPEG n99"):
        load_data(root)
