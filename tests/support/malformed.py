"""Annotations as no schema has them: COCO and VOC files with one thing wrong."""

import copy
import json
import re
import warnings

from drkd import InputError
from drkd.tasks.detection import data as reading
from drkd.tasks.detection.checking import check_boxes
from shapes import write_coco, write_voc

VALUES = [
    *(None, True, "7", "x", "", [], {}, -1, 0, 0.5, 1e999, float("nan"), 10**400, 2**70, [[]], {"a": None}),
    *("\ud800", "a\0b", "../../../etc/passwd", "/etc/passwd", "C:\\a.png", "n" * 5000, "a\nb", "\x1b[31m"),
    ["1", "2", "3", "4"],
]
TEXTS = ["", "x", "-1", "0", "nan", "1e999", "1e400", "<b>1</b>", "&lt;a&gt;", "a\nb", "1,5", "&unknown;"]
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


def malformed_coco(text, rng):
    """A COCO file with one value changed or gone."""
    content = json.loads(text)
    paths = [path for path in nodes(content) if path]
    of_depth = [[path for path in paths if len(path) == depth] for depth in (1, 2, 3, 5)]
    path = rng.choice([*rng.choice(of_depth), rng.choice(paths)])
    return json.dumps(changed(content, path, GONE if rng.randrange(8) == 0 else rng.choice(VALUES)))


def malformed_voc(text, rng):
    """An XML file with one thing changed."""
    tag = rng.choice(re.findall(r"<(\w+)>", text))
    content = re.compile(rf"<{tag}>(.*?)</{tag}>", re.DOTALL)
    value = rng.choice(TEXTS)
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


def outcome(root):
    """Whether a folder is accepted; raises for anything but that and an `InputError` with the file."""
    check_boxes(root)
    load(root, skip_bad_images=True)
    refusal = load(root)
    assert not refusal or str(root) in refusal
    return not refusal


def load(root, **options):
    """Why a folder is refused; nothing if it is accepted."""
    reading._read.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            reading.load_detection(root, **options)
        except InputError as reason:
            return str(reason)
    return ""


class Malformed:
    """A COCO or VOC folder whose one file is malformed again and again.

    Args:
        root: the folder, to be made.
        kind: `coco` or `voc`.
    """

    def __init__(self, root, kind):
        if kind == "coco":
            write_coco(root, train=4, val=2, test=0)
            self.file, self.malform = root / "annotations" / "instances_train.json", malformed_coco
        else:
            write_voc(root, train=4, val=2, test=0)
            self.file, self.malform = root / "Annotations" / "001.xml", malformed_voc
        self.root, self.original = root, self.file.read_text()

    def accepted(self, rng):
        """Whether a random change is accepted; see `outcome`."""
        self.file.write_text(self.malform(self.original, rng))
        return outcome(self.root)

    def restore(self):
        self.file.write_text(self.original)
