"""What is found in Parquet files, Tiny ImageNet and CIFAR."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drkd.data.checking import check_data
from drkd.utils.errors import InputError
from image_files import CLASSES, ROWS, encoded, findings, noise, refusal, write_parquet


@pytest.mark.parametrize(
    ("rows", "names", "reason"),
    [
        ([*ROWS, (None, 1), (ROWS[0][0], None)], None, "has 2 rows without the bytes of an image or without a label"),
        ([*ROWS, (b"no image", 1)], None, "cannot be read as an image: it is not an image"),
        ([*ROWS, (encoded(noise(99)), 7)], list(CLASSES), "has labels from 0 to 7 for 2 classes"),
        ([*ROWS, (encoded(noise(99)), -1)], None, "has labels from -1 to 1 for 2 classes"),
        ([*ROWS, (encoded(noise(99)), 2**62)], None, "has labels up to 4611686018427387904 for 41 images"),
        ([], None, "has no rows for the train split"),
        (ROWS[::2], None, "needs at least 2 classes, got 1"),
        ([(image, 7) for image, _ in ROWS], list(CLASSES), "has labels from 7 to 7 for 2 classes"),
        ([(image, -1) for image, _ in ROWS], list(CLASSES), "has labels from -1 to -1 for 2 classes"),
    ],
)
def test_parquet_with_wrong_rows(tmp_path, rows, names, reason):
    write_parquet(tmp_path / "train.parquet", rows, names)
    found = findings(tmp_path)
    assert [what.startswith(reason) for _, _, what in found].count(True) == 1, found
    assert {severity for severity, _, _ in found} == {"error"}
    assert reason in refusal(tmp_path)


def test_a_single_row_and_a_test_split_without_labels(tmp_path):
    write_parquet(tmp_path / "train.parquet", ROWS[:1])
    assert "needs at least 2 classes, got 1" in refusal(tmp_path)
    write_parquet(tmp_path / "train.parquet", ROWS, list(CLASSES))
    write_parquet(tmp_path / "test.parquet", [(encoded(noise(100 + i)), -1) for i in range(4)], list(CLASSES))
    assert findings(tmp_path) == [("error", "", "has labels from -1 to 1 for 2 classes; correct labels or names")]


def test_a_row_is_named_by_file_and_number(tmp_path):
    write_parquet(tmp_path / "train.parquet", [*ROWS, (b"", 1)])
    assert findings(tmp_path) == [("error", "train.parquet row 40", "cannot be read as an image: it is empty")]
    assert refusal(tmp_path).startswith(f"{tmp_path}/train.parquet row 40 cannot be read as an image: it is empty;")


def test_parquet_files_that_contradict_each_other(tmp_path):
    write_parquet(tmp_path / "train.parquet", ROWS, ["cat", "dog"])
    write_parquet(tmp_path / "val.parquet", ROWS[:1], ["dog", "cat"])
    severity, location, reason = findings(tmp_path)[0]
    assert (severity, location) == ("error", "val.parquet")
    assert reason == f"has other class names than {tmp_path}/train.parquet; use one list"


def test_damaged_parquet_beside_a_sound_file(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", ROWS)
    (tmp_path / "train-1.parquet").write_bytes(b"PAR1 damaged PAR1")
    (tmp_path / "train-2.parquet").write_bytes(b"")
    pq.write_table(pa.table({"image": [1], "label": [0]}), tmp_path / "train-3.parquet")
    found = findings(tmp_path)
    assert [location for _, location, _ in found] == ["train-1.parquet", "train-2.parquet", "train-3.parquet"]
    assert found[2][2] == (
        "needs the columns image (a struct with bytes) and label (integers, or lists of votes), "
        "got image (int64), label (int64)"
    )
    assert check_data(tmp_path).images == {"train": 40}


def test_tiny_imagenet_in_pieces(tmp_path):
    for wnid in ("n01", "n02"):
        (tmp_path / "train" / wnid / "images").mkdir(parents=True)
        for i in range(10):
            noise(100 * int(wnid[1:]) + i).save(tmp_path / "train" / wnid / "images" / f"{i}.png")
    (tmp_path / "val" / "images").mkdir(parents=True)
    noise(5000).save(tmp_path / "val" / "images" / "a.png")
    (tmp_path / "wnids.txt").write_text("n01 n02 n03")
    (tmp_path / "val" / "val_annotations.txt").write_text("a.png\tn01\nb.png\tn02\nc.png\tn99\nd.png\n")
    assert [(location, reason) for severity, location, reason in findings(tmp_path) if severity == "error"] == [
        ("words.txt", "is missing; unpack the complete published archive"),
        ("train/n03/images", "is missing; unpack the complete published archive"),
        ("val/val_annotations.txt", "has a line without a class of wnids.txt: 'c.png n99'"),
        ("val/val_annotations.txt", "has a line without a class of wnids.txt: 'd.png'"),
        ("val/images/b.png", "cannot be read as an image: No such file or directory"),
    ]
    (tmp_path / "words.txt").write_bytes(b"n01\t\xff\n")
    assert ("error", "words.txt") in {(severity, location) for severity, location, _ in findings(tmp_path)}


def test_cifar_that_is_not_whole(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    [(severity, _, reason)] = findings(tmp_path)
    assert (severity, reason) == ("error", f"cannot be used: {refusal(tmp_path)}")
    assert "cifar10 is damaged or incomplete at" in reason


def test_digits_and_a_name_that_nobody_has():
    assert check_data("digits").problems == ()
    with pytest.raises(InputError, match=r"did you mean digits\?"):
        check_data("digit")


@pytest.mark.parametrize("images", [0, 2])
def test_a_folder_without_classes_is_one_error(tmp_path, images):
    for number in range(images):
        noise(number).save(tmp_path / f"{number}.png")
    outside = ", and 2 images outside of them" if images else ""
    assert findings(tmp_path) == [("error", "", f"needs at least 2 folders, one per class, got 0{outside}")]
