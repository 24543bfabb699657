"""Folders as people have them: left-overs of systems, links, names that look like splits, classes without images."""

import os
import shutil
import unicodedata
import warnings

import pytest
from PIL import Image

from drkd import InputError
from drkd.data import layouts, load_data, readers
from drkd.data.checking import check_data
from drkd.data.files import files_below, is_hidden
from drkd.data.problems import refuse
from drkd.export.predicting import images_in
from image_files import encoded, findings, noise, write_parquet

HIDDEN = ("._1.png", ".1.png", ".thumbs/1.png", ".ipynb_checkpoints/1.png", "__MACOSX/cat/1.png", "@eaDir/1.png")


def write_classes(root, counts, suffix=".png", start=0):
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            kind = "JPEG" if suffix == ".jfif" else "PNG"
            (root / name / f"{i}{suffix}").write_bytes(encoded(noise(start + 100 * number + i), kind))
    return root


def sizes(root):
    return {split: len(labels) for split, (_, labels) in readers.read(str(root)).splits.items()}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("below", ["", "cat"])
def test_what_systems_leave_behind_is_no_data(tmp_path, name, below):
    root = write_classes(tmp_path / "pets", {"cat": 9, "dog": 9})
    path = root / below / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x00\x05\x16\x07")
    assert findings(root) == []
    assert load_data(root).classes == ("cat", "dog")
    assert len(images_in(root)) == 18
    assert is_hidden("Thumbs.db")
    assert is_hidden("desktop.ini")


def test_a_hidden_parquet_file_is_none(tmp_path):
    write_parquet(tmp_path / "train.parquet", [(encoded(noise(i)), i % 2) for i in range(20)])
    (tmp_path / "._train.parquet").write_bytes(b"\x00\x05\x16\x07")
    assert findings(tmp_path) == []


def test_a_folder_around_the_classes_is_named(tmp_path):
    write_classes(tmp_path / "zip" / "pets", {"cat": 9, "dog": 9})
    (tmp_path / "zip" / "__MACOSX").mkdir()
    with pytest.raises(InputError, match=r"got 1; pets holds cat, dog: give --data .*zip/pets"):
        load_data(tmp_path / "zip")


def test_linked_folders_are_read_once(tmp_path):
    root = write_classes(tmp_path / "pets", {"cat": 9, "dog": 9})
    write_classes(tmp_path / "store", {"cat": 5}, start=900)
    cat = root / "cat"
    (cat / "more").symlink_to(tmp_path / "store" / "cat")
    assert [reason for _, _, reason in findings(root)] == ["is a link to a folder: its images are read"]
    for name, target in {"again": tmp_path / "store" / "cat", "self": cat, "up": root, "zz": tmp_path}.items():
        (cat / name).symlink_to(target)
    (root / "hen").symlink_to(tmp_path / "nowhere")
    found = {(severity, where): reason for severity, where, reason in findings(root)}
    assert sizes_without_warnings(root) == {"train": 23}
    assert "read as" in found["warning", "cat/more"]
    assert "read as" in found["warning", "cat/self"]
    assert found["warning", "cat/up"].startswith("is a link to a folder above it")
    assert found["warning", "cat/zz"].startswith("is a link to a folder above it")
    assert found["warning", "hen"].startswith("is a broken link")


def sizes_without_warnings(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sizes(root)


def test_other_links_keep_the_order_of_files(tmp_path):
    write_classes(tmp_path, {"b": 2, "a": 2})
    assert [path.parent.name for path in files_below(tmp_path, refuse)] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("names", "warned"),
    [(("seg_train", "seg_test"), True), (("trainSet", "valSet"), True), (("train_car", "plane"), False)],
)
def test_classes_that_look_like_splits(tmp_path, names, warned):
    root = write_classes(tmp_path, dict.fromkeys(names, 9))
    reasons = [reason for severity, _, reason in findings(root) if severity == "warning"]
    assert any("look like splits" in reason for reason in reasons) == warned


def test_folders_beside_the_splits_are_named(tmp_path):
    write_classes(tmp_path / "train", {"cat": 9, "dog": 9})
    write_classes(tmp_path / "train-extra", {"cat": 9, "dog": 9}, start=500)
    write_classes(tmp_path / "unlabelled", {"": 9}, start=900)
    found = {where: reason for severity, where, reason in findings(tmp_path) if severity == "warning"}
    assert set(found) == {"train-extra", "unlabelled"}
    assert all(reason.startswith("is skipped") for reason in found.values())


def test_images_in_no_class_folder_are_named(tmp_path):
    root = write_classes(tmp_path, {"cat": 9, "dog": 9})
    (root / "loose.png").write_bytes(encoded(noise(999)))
    [(severity, _, reason)] = findings(root)
    assert (severity, reason) == ("warning", "has 1 image outside of class folders, left out: loose.png")


def test_a_test_split_without_class_folders(tmp_path):
    write_classes(tmp_path / "train", {"cat": 9, "dog": 9})
    write_classes(tmp_path / "test", {"": 3}, start=500)
    with pytest.raises(InputError, match=r"test has 3 images, but no folder per class"):
        load_data(tmp_path)


def test_a_class_called_train(tmp_path):
    write_classes(tmp_path, {"car": 9, "plane": 9, "train": 9})
    with pytest.raises(InputError, match=r"read as the training split.* if car, plane, train are the classes"):
        load_data(tmp_path)


@pytest.mark.parametrize("where", ["train", "val"])
def test_names_that_differ_in_unicode_composition_only(tmp_path, where):
    composed = unicodedata.normalize("NFC", "caf\u00e9")
    write_classes(tmp_path / "train", {composed: 9, "tea": 9})
    write_classes(tmp_path / where, {unicodedata.normalize("NFD", composed): 9, "tea": 9}, start=500)
    with pytest.raises(InputError, match="Unicode composition"):
        load_data(tmp_path)


def test_a_class_without_images_is_named(tmp_path):
    write_classes(tmp_path, {"cat": 9, "dog": 9, "hen": 0})
    with pytest.warns(UserWarning, match="lacks 1 of the 3 classes: hen"):
        load_data(tmp_path)
    assert check_data(tmp_path).count("warning") == {"missing class": 1}


@pytest.mark.parametrize("suffix", [".png", ".jfif"])
def test_one_class_with_images_is_not_trained(tmp_path, suffix):
    write_classes(tmp_path, {"cat": 9, "dog": 0})
    write_classes(tmp_path, {"dog": 9}, ".heic")
    with (
        pytest.warns(UserWarning, match="without an image's extension"),
        pytest.raises(InputError, match="one class only"),
    ):
        load_data(tmp_path)
    assert check_data(tmp_path).count("error") == {"missing class": 1}
    write_classes(tmp_path, {"dog": 9}, suffix, start=700)
    shutil.rmtree(tmp_path / "cat")
    write_classes(tmp_path, {"cat": 9})
    assert sizes_without_warnings(tmp_path) == {"train": 18}


def test_bad_images_may_not_leave_one_class_only(tmp_path):
    write_classes(tmp_path, {"cat": 9, "dog": 9})
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="one class only: cat"):
        load_data(tmp_path, skip_bad_images=True)


def test_a_class_of_one_image_is_named(tmp_path):
    write_classes(tmp_path, {"cat": 9, "dog": 9, "hen": 1})
    assert any("a single image of hen" in reason for _, _, reason in findings(tmp_path))


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_the_name_of_a_data_set_is_not_the_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / name, {"cat": 9, "dog": 9})
    with pytest.warns(UserWarning, match=f"not the folder {name}; for that, give ./{name}"):
        assert layouts.find_layout(name)[0] == name
    assert load_data(f"./{name}").classes == ("cat", "dog")


def test_a_cloned_hugging_face_data_set(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [(encoded(noise(i)), i % 2) for i in range(20)]
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows, ["cat", "dog"])
    (tmp_path / "README.md").write_text("# pets")
    assert load_data(tmp_path).classes == ("cat", "dog")
    write_parquet(tmp_path / "data" / "extra.parquet", rows, ["cat", "dog"])
    with pytest.warns(UserWarning, match=r"extra.parquet is skipped"):
        readers.read(str(tmp_path))
    (tmp_path / "data" / "test.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.warns(UserWarning, match="extra"), pytest.raises(InputError, match="git lfs pull"):
        readers.read(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX's named pipes")
@pytest.mark.parametrize("file", ["train.parquet", "wnids.txt"])
def test_a_pipe_is_refused_at_once(tmp_path, file):
    os.mkfifo(tmp_path / file)
    with pytest.raises(InputError, match=r"not a regular file|cannot be|wnids.txt"):
        readers.read(str(tmp_path))


@pytest.mark.parametrize("layout", ["voc", "voc below", "coco"])
def test_images_with_boxes_need_their_task(tmp_path, layout):
    home = tmp_path / "VOC2007" if "below" in layout else tmp_path
    for folder in ("Annotations", "JPEGImages") if "voc" in layout else ("annotations", "train"):
        (home / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(home / folder / "1.png")
    (home / "annotations").mkdir(exist_ok=True)
    (home / "annotations" / "instances_train.json").write_text("{}")
    with pytest.raises(InputError, match="add --task detection"):
        load_data(tmp_path)
    assert "--task detection" in check_data(tmp_path).problems[0].reason
