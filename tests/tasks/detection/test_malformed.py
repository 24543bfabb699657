"""Annotations as no schema has them: they are read, or refused with their file, and nothing else happens."""

import random

import pytest

from malformed import Malformed, outcome

DEEP = "[" * 100_000


@pytest.mark.parametrize(("kind", "count", "most"), [("coco", 120, 60), ("voc", 80, 50)])
def test_files_of_any_shape(tmp_path, kind, count, most):
    files = Malformed(tmp_path / "set", kind)
    accepted = sum(files.accepted(random.Random(number)) for number in range(count))
    assert 8 <= accepted <= most


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "7", '"x"', DEEP, '{"images": {}}', "\ufeff{}", "1" * 5000])
def test_what_is_no_coco_file(tmp_path, content):
    files = Malformed(tmp_path / "set", "coco")
    files.file.write_text(content)
    assert not outcome(files.root)


def test_lists_of_any_shape(tmp_path):
    files = Malformed(tmp_path / "set", "voc")
    names = files.root / "ImageSets" / "Main" / "train.txt"
    for content in (b"", b"\xff\xfe", b"000\n../../../etc/passwd\n", b"\0\n", b"n" * 5000, b"000\n\n  001  \n002 -1\n"):
        names.write_bytes(content)
        assert outcome(files.root) == content.startswith(b"000\n\n")
