"""Files damaged at random are read or refused in one line: never another exception."""

import contextlib
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd.data import datasets, load_data
from drkd.data.checking import check_data
from drkd.utils.errors import InputError
from image_files import CLASSES, ROWS, encoded, exif, noise, write_parquet


def damaged(content, cut, flips):
    """`content` cut off at a part of its length, some of its bits turned."""
    spoilt = bytearray(content[: round(cut * len(content))])
    for where, bit in flips:
        if spoilt:
            spoilt[round(where * (len(spoilt) - 1))] ^= 1 << bit
    return bytes(spoilt)


DAMAGE = {
    "cut": st.just(1.0) | st.floats(0, 1),
    "flips": st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), max_size=4),
}


def readable_or_refused(root):
    """What cannot be read is an error for both, and nothing else is raised."""
    datasets._read.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        errors = [problem for problem in check_data(root).problems if problem.severity == "error"]
        with pytest.raises(InputError) if errors else contextlib.nullcontext():
            load_data(root, image_size=8)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF"]), **DAMAGE)
def test_an_image_damaged_at_random_is_read_or_refused(tmp_path_factory, kind, cut, flips):
    root = tmp_path_factory.mktemp("fuzz")
    for c, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(10):
            noise(10 * c + i).save(root / name / f"{i}.png")
    content = encoded(noise(0, (16, 16)), kind, **({"exif": exif(3)} if kind == "JPEG" else {}))
    (root / "cat" / "damaged.png").write_bytes(damaged(content, cut, flips))
    readable_or_refused(root)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(**DAMAGE)
def test_parquet_damaged_at_random_is_read_or_refused(tmp_path_factory, cut, flips):
    root = tmp_path_factory.mktemp("fuzz")
    write_parquet(root / "whole.parquet", ROWS, list(CLASSES))
    content = (root / "whole.parquet").read_bytes()
    (root / "whole.parquet").unlink()
    (root / "train.parquet").write_bytes(damaged(content, cut, flips))
    readable_or_refused(root)
