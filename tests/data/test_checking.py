"""Every kind of finding among images in folders, and what the command prints."""

import json
import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from drkd.data import load_data
from drkd.data.checking import check_data
from drkd.data.problems import Problem, refuse, shown
from drkd.utils.errors import InputError
from image_files import CLASSES, encoded, exif, findings, noise, refusal, run_cli, spoil


def test_a_sound_set_has_no_findings(root):
    assert findings(root) == []
    assert check_data(root).images == {"train": 6, "val": 6, "test": 6}


BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + (header := b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    + struct.pack(">I", zlib.crc32(header))
    + struct.pack(">I", 100)
    + b"IDAT"
)
UNREADABLE = {
    "empty": (b"", "it is empty"),
    "text": (b"no image", "it is not an image, or its header is damaged"),
    "truncated PNG": (encoded(noise(0, (64, 64)))[:3000], "image file is truncated"),
    "truncated JPEG": (
        encoded(noise(0, (64, 64)), "JPEG")[:1500],
        r"image file is truncated \(\d+ bytes not processed\)",
    ),
    "bomb": (BOMB, "it has more than 89,478,485 pixels"),
    "bomb below Pillow's own limit": (encoded(Image.new("1", (12_000, 8_000))), "it has more than 89,478,485 pixels"),
    "32-bit integers": (encoded(Image.new("I", (8, 8), -1), "TIFF"), "its values have no known range"),
    "floats": (encoded(Image.new("F", (8, 8), 0.5), "TIFF"), "its values have no known range"),
}


@pytest.mark.filterwarnings("ignore:Image size:RuntimeWarning")
@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_image_that_cannot_be_read(root, kind):
    content, why = UNREADABLE[kind]
    location = root / "train" / "cat" / "bad.png"
    location.write_bytes(content)
    [(severity, where, reason)] = findings(root)
    assert (severity, where) == ("error", "train/cat/bad.png")
    assert re.search(f"^cannot be read as an image: {why}", reason)
    assert refusal(root) == (
        f"{location} {reason}; remove or replace it, train with --skip-bad-images to leave it out, or list every "
        f"problem with `drkd check {root}`"
    )


def test_a_image_without_permission(root, monkeypatch):
    real = Image.open

    def closed(file, *arguments, **options):
        if str(file).endswith("1.png"):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *arguments, **options)

    monkeypatch.setattr(Image, "open", closed)
    assert set(findings(root)) == {
        ("error", f"{split}/{name}/1.png", "cannot be read as an image: Permission denied")
        for split in ("train", "val", "test")
        for name in CLASSES
    }
    assert "6 images cannot be read" in refusal(root)


def test_a_folder_without_permission(root, monkeypatch):
    real = os.scandir

    def closed(location):
        if str(location).endswith("val/dog"):
            raise PermissionError(13, "Permission denied", str(location))
        return real(location)

    monkeypatch.setattr(os, "scandir", closed)
    problems = [(p.severity, p.reason) for p in check_data(root).problems]
    assert problems[0] == ("error", "cannot be listed or read: Permission denied; change its permissions")
    assert "val/dog cannot be listed or read: Permission denied" in refusal(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX's named pipes")
def test_a_image_that_is_a_pipe_or_a_link_to_nothing(root):
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    (root / "train" / "cat" / "link.png").symlink_to("nowhere.png")
    assert findings(root) == [
        ("error", "train/cat/link.png", "cannot be read as an image: No such file or directory"),
        ("error", "train/cat/pipe.png", "cannot be read as an image: it is not a regular file"),
    ]


def test_a_name_that_is_not_utf8(root):
    (root / "train" / "cat" / "1.png").rename(root / "train" / "cat" / os.fsdecode(b"caf\xe9.png"))
    [problem] = check_data(root).problems
    assert str(problem).endswith("cat/caf\\xe9.png has a name that is not UTF-8; rename it")
    assert refusal(root) == str(problem)


def test_a_machine_out_of_file_handles_does_not_blame_the_image(root, monkeypatch):
    def exhausted(*arguments, **options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        load_data(root, skip_bad_images=True)


ODD = {
    "grey": ("g.png", encoded(noise(71, mode="L")), ["is grey among colour images: read as three equal channels"]),
    "1 bit": (
        "b.png",
        encoded(noise(71, mode="1")),
        [
            "has 1 bit per pixel: read as black and white",
            "is grey among colour images: read as three equal channels",
        ],
    ),
    "CMYK": ("c.jpg", encoded(noise(71, mode="CMYK"), "JPEG"), ["is CMYK: converted to RGB without a colour profile"]),
    "RGBA": ("a.png", encoded(noise(71, mode="RGBA")), ["has transparency: dropped, and the colours beneath are used"]),
    "palette": ("p.png", encoded(noise(71, mode="P")), ["has a palette: read as the colours it names"]),
    "palette with transparency": (
        "t.png",
        encoded(noise(71, mode="P"), transparency=bytes(range(256))),
        ["has a palette: read as the colours it names", "has transparency: dropped, and the colours beneath are used"],
    ),
    "16 bits": (
        "s.png",
        encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)),
        ["has 16 bits per channel: scaled to 8", "is grey among colour images: read as three equal channels"],
    ),
    "EXIF": (
        "e.jpg",
        encoded(noise(71), "JPEG", exif=exif(6)),
        ["is rotated or mirrored (EXIF orientation 6): turned upright"],
    ),
    "animated": (
        "m.gif",
        encoded(noise(71, mode="P"), "GIF", save_all=True, append_images=[noise(72, mode="P")]),
        ["has a palette: read as the colours it names", "has several frames: the first is used"],
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_image_is_noted_and_read(root, kind):
    name, content, reasons = ODD[kind]
    (root / "train" / "cat" / name).write_bytes(content)
    assert findings(root) == [("note", f"train/cat/{name}", reason) for reason in reasons]
    assert len(load_data(root).train) == 7


def test_a_set_of_grey_images_only(tmp_path):
    for c, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for i in range(10):
            noise(10 * c + i, mode="L").save(tmp_path / name / f"{i}.png")
    assert findings(tmp_path) == [("note", "", "has grey images only: read as three equal channels")]


def test_images_that_differ_in_size(root):
    noise(7, (12, 20)).save(root / "train" / "cat" / "large.png")
    [(severity, _, reason)] = findings(root)
    assert severity == "note"
    assert "differ in size or are not square (from 8x8 to 12x20): scaled and cropped to one size" in reason


def test_duplicates_with_another_label_and_in_another_split_are_warnings(root):
    image = (root / "train" / "cat" / "0.png").read_bytes()
    for location in ("train/cat/same.png", "train/dog/contradicts.png", "test/cat/leak.png"):
        (root / location).write_bytes(image)
    Image.open(root / "train" / "cat" / "0.png").save(root / "val" / "cat" / "leak.bmp")
    first = f"{root}/train/cat/0.png"
    assert set(findings(root)) == {
        ("note", "train/cat/same.png", f"shows the same image as {first}; it counts twice"),
        (
            "warning",
            "train/dog/contradicts.png",
            f"shows the same image as {first}, but has another label; keep the right one",
        ),
        (
            "warning",
            "test/cat/leak.png",
            f"shows the same image as {first} of the train split; keep it in one of them",
        ),
        (
            "warning",
            "val/cat/leak.bmp",
            f"shows the same image as {first} of the train split; keep it in one of them",
        ),
    }


def test_classes_missing_here_and_there(root):
    (root / "test" / "newt").mkdir()
    noise(1).save(root / "test" / "newt" / "0.png")
    (root / "train" / "owl").mkdir()
    for path in (root / "val" / "dog").iterdir():
        path.unlink()
    assert findings(root) == [
        ("error", "test", "has classes that the training split does not have: newt"),
        ("warning", "(train)", "lacks 1 of the 3 classes: owl"),
        ("warning", "(val)", "has images of one class only: cat"),
        ("warning", "(test)", "lacks 1 of the 3 classes: owl"),
    ]


def test_an_empty_split_and_a_single_class(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "val").mkdir()
    reasons = [reason for _, _, reason in findings(tmp_path)]
    assert reasons[0] == "needs at least 2 folders, one per class, got 1"
    assert [reason.startswith("holds no images (.bmp") for reason in reasons] == [False, True, True]


@pytest.mark.filterwarnings("ignore:the training split has a single image")
def test_too_few_images_to_divide(tmp_path):
    for c, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        noise(c).save(tmp_path / name / "0.png")
    [(severity, _, reason), (_, _, rare)] = findings(tmp_path)
    assert severity == "error"
    assert reason == f"cannot be split: {refusal(tmp_path)}"
    assert rare.startswith("has a single image of cat, dog")


def test_files_that_are_no_images_are_named(root):
    for name in ("a.txt", "b.db", "c.json", "d.txt"):
        (root / "val" / "cat" / name).write_text("no image")
    assert findings(root) == [
        (
            "warning",
            "val/cat",
            "has 4 files without an image's extension, left out: a.txt, b.db, c.json, ...",
        )
    ]


def test_check_exits_0_with_warnings_and_2_with_errors(root, capsys):
    (root / "train" / "dog" / "again.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
    assert run_cli("check", root) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines() == [
        f"warning  {root}/train/dog/again.png: shows the same image as {root}/train/cat/0.png, but has another "
        "label; keep the right one",
        "looked at: train 7, val 6, test 6 images, 2 classes",
        "0 errors (a training would stop)",
        "1 warning (figures are doubtful): duplicate with another label 1",
        "0 notes (how images are read)",
    ]
    spoil(root, 2)
    assert run_cli("check", root) == 2
    told = capsys.readouterr()
    assert told.err == (
        f"drkd: 2 errors in {root} stop a training; remove or replace them, or leave them out with --skip-bad-images\n"
    )
    assert told.out.startswith(f"error    {root}/train/dog/bad0.png: cannot be read as an image: it is empty\n")


def test_check_prints_json(root, capsys):
    spoil(root, 2)
    assert run_cli("check", root, "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == {"train": 8, "val": 6, "test": 6}
    assert told["counts"]["error"] == {"unreadable image": 2}
    assert told["problems"][0] == {
        "severity": "error",
        "location": f"{root}/train/dog/bad0.png",
        "reason": "cannot be read as an image: it is empty",
        "kind": "unreadable image",
    }


def test_notes_of_one_wording_are_counted(root, capsys):
    for i in range(5):
        noise(i + 1000, mode="CMYK").save(root / "train" / "cat" / f"c{i}.jpg")
    assert run_cli("check", root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("is CMYK" in line for line in lines) == 4
    assert "note     2 more: is CMYK: converted to RGB without a colour profile" in lines


def test_refusing_raises_warns_or_goes_on():
    refuse(Problem("note", "a", "is grey", "converted image"))
    with pytest.warns(UserWarning, match="a is doubtful"):
        refuse(Problem("warning", "a", "is doubtful", "x"))
    with pytest.raises(InputError, match="a is bad"):
        refuse(Problem("error", "a", shown("is bad"), "x"))
