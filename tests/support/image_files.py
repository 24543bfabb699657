"""Small data sets, sound and damaged, and what drkd reports of them."""

import io
import json
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from drkd import cli
from drkd.data import load_data
from drkd.data.checking import check_data
from drkd.utils.errors import InputError

CLASSES = ("cat", "dog")


def noise(seed, size=(8, 8), mode="RGB"):
    """An image of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def write_set(root):
    """Two classes in three splits, three images each, all different, nothing wrong."""
    for s, split in enumerate(("train", "val", "test")):
        for c, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                noise(100 * s + 10 * c + i).save(root / split / name / f"{i}.png")
    return root


def spoil(root, count=5):
    """Add so many bad images to the dogs of the training split."""
    for i in range(count):
        (root / "train" / "dog" / f"bad{i}.png").write_bytes(b"x" * i)


def write_parquet(path, rows, names=None):
    """A file of (bytes, label) rows."""
    columns = {
        "image": pa.array(
            [{"bytes": b, "path": None} for b, _ in rows], pa.struct({"bytes": pa.binary(), "path": pa.string()})
        ),
        "label": pa.array([label for _, label in rows], pa.int64()),
    }
    table = pa.table(columns)
    if names:
        features = {"features": {"label": {"names": names}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": features})})
    pq.write_table(table, path)


ROWS = [(encoded(noise(i)), i % 2) for i in range(40)]


def findings(location):
    """(severity, path below `location`, reason) of each problem; a training reports the same errors."""
    before = state(location)
    found = check_data(location)
    assert state(location) == before
    return [(p.severity, p.location.removeprefix(str(location)).strip(" /"), p.reason) for p in found.problems]


def state(location):
    return {path: path.lstat().st_mtime_ns for path in Path(location).rglob("*")}


def refusal(location, **options):
    with pytest.raises(InputError) as error:
        load_data(location, **options)
    return str(error.value)


def run_cli(*arguments):
    """The exit code of a command line in this process, whose handling of signals is left as it is."""
    with mock.patch("signal.signal"):
        return cli._run([str(argument) for argument in arguments], debug=False)
