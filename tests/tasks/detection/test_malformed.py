"""Annotations as no schema has them: they are read, or refused with their file, and nothing else happens."""

import copy
import json
import random
import re
import warnings

import pytest

from drkd import InputError
from drkd.tasks.detection import data as reading
from drkd.tasks.detection.checking import check_boxes
from shapes import write_coco, write_voc

DEEP = "[" * 100_000
VALUES = [
    *(None, True, "7", "x", "", [], {}, -1, 0, 0.5, 1e999, float("nan"), 10**400, 2**70, [[]], {"a": None}),
    *("\ud800", "a\0b", "../../../etc/passwd", "/etc/passwd", "C:\\a.png", "n" * 5000, "a\nb", "\x1b[31m"),
    ["1", "2", "3", "4"],
]
GONE = object()


def nodes(content, path=()):
    """The path of every value in a JSON document."""
    yield path
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from nodes(content[key], (*path, key))


def changed(content, path, value):
    """A document with another value at a path, or without it."""
    if not path:
        return value
    new = copy.deepcopy(content)
    inner = new
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return new


def outcome(root):
    """Whether a folder is accepted; any exception but an `InputError` with the file fails the test."""
    check_boxes(root)
    load(root, skip_bad_images=True)
    refusal = load(root)
    assert not refusal or str(root) in refusal
    return not refusal


def load(root, **options):
    """Why a folder is refused; nothing if it is accepted."""
    reading._read.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reading.load_detection(root, **options)
        except InputError as reason:
            return str(reason)
    return ""


def test_coco_files_of_any_shape(tmp_path):
    root = write_coco(tmp_path / "set", train=4, val=2, test=0)
    rng = random.Random(0)
    accepted = 0
    location = root / "annotations" / "instances_train.json"
    original = json.loads(location.read_text())
    paths = [path for path in nodes(original) if path]
    of_depth = {depth: [path for path in paths if len(path) == depth] for depth in (1, 2, 3, 5)}
    for number in range(120):
        path = rng.choice([*rng.choice(list(of_depth.values())), rng.choice(paths)])
        value = GONE if number % 8 == 0 else rng.choice(VALUES)
        location.write_text(json.dumps(changed(original, path, value)))
        accepted += outcome(root)
    assert 10 <= accepted <= 60


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "7", '"x"', DEEP, '{"images": {}}', "\ufeff{}", "1" * 5000])
def test_what_is_no_coco_file(tmp_path, content):
    root = write_coco(tmp_path / "set", train=3, val=0, test=0)
    (root / "annotations" / "instances_train.json").write_text(content)
    assert not outcome(root)


def spoiled(text, rng):
    """An XML file with one thing changed."""
    tags = re.findall(r"<(\w+)>", text)
    tag = rng.choice(tags)
    content = re.compile(rf"<{tag}>(.*?)</{tag}>", re.DOTALL)
    value = rng.choice(
        ["", "x", "-1", "0", "nan", "1e999", "1e400", "<b>1</b>", "&lt;a&gt;", "a\nb", "1,5", "&unknown;"]
    )
    how = rng.randrange(6)
    if how == 0:
        return text[: rng.randrange(len(text))]
    if how == 1:
        return content.sub("", text, count=1)
    if how == 2:
        return content.sub(lambda found: found.group() * 2, text, count=1)
    if how == 3:
        return f'<?xml version="1.0" encoding="{rng.choice(["klingon", "utf-16", "shift_jis", "ascii"])}"?>{text}'
    return content.sub(f"<{tag}>{value}</{tag}>", text, count=1)


def test_voc_files_of_any_shape(tmp_path):
    root = write_voc(tmp_path / "set", train=4, val=2, test=0)
    rng = random.Random(0)
    accepted = 0
    location = root / "Annotations" / "001.xml"
    original = location.read_text()
    for _ in range(80):
        location.write_text(spoiled(original, rng))
        accepted += outcome(root)
    assert 8 <= accepted <= 50
    location.write_text(original)
    names = root / "ImageSets" / "Main" / "train.txt"
    for content in (b"", b"\xff\xfe", b"000\n../../../etc/passwd\n", b"\0\n", b"n" * 5000, b"000\n\n  001  \n002 -1\n"):
        names.write_bytes(content)
        assert outcome(root) == content.startswith(b"000\n\n")
