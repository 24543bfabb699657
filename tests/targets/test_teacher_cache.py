import hashlib
import os
import time

import numpy as np
import pytest

from drkd import InputError, TeacherCache

ANSWERS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float16)


def cache(root, limit=10**6, **belongs_to):
    return TeacherCache(root, {"teacher": "hash", "seed": 0, **belongs_to}, limit=limit)


def test_what_is_written_is_found_again_by_whom_it_belongs_to(tmp_path):
    cache(tmp_path).write(2, ANSWERS)
    found = cache(tmp_path).read(2, rows=6)
    assert isinstance(found, np.memmap)
    assert found.dtype == np.float16
    assert np.array_equal(found, ANSWERS)
    assert cache(tmp_path).read(1, rows=6) is None
    assert cache(tmp_path, seed=1).read(2, rows=6) is None
    assert cache(tmp_path, teacher="other").read(2, rows=6) is None


def test_nothing_is_left_beside(tmp_path):
    cache(tmp_path).write(0, ANSWERS)
    assert sorted(path.name.split("-")[0] for path in next(tmp_path.iterdir()).iterdir()) == ["about.json", "epoch"]


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "header", "rows", "type"])
def test_what_was_changed_is_refused(tmp_path, harm):
    cache(tmp_path).write(0, ANSWERS)
    (file,) = tmp_path.glob("*/epoch-0-*.npy")
    content = bytearray(file.read_bytes())
    if harm == "flip":
        content[-3] ^= 1
    if harm == "cut":
        content = content[:-4]
    if harm == "empty":
        content = bytearray()
    if harm == "header":  # numpy reads it as Python
        content[8] = 40
    file.write_bytes(content)
    if harm in ("rows", "type"):
        other = ANSWERS[:5] if harm == "rows" else ANSWERS.astype(np.float32)
        np.save(file, other)
        file.rename(file.with_name(f"epoch-0-{hashlib.sha256(other.tobytes()).hexdigest()[:16]}.npy"))
    with pytest.raises(InputError, match=r"outputs are damaged in .*epoch-0.*delete that file"):
        cache(tmp_path).read(0, rows=6)


def test_answers_that_belong_to_something_else_are_refused(tmp_path):
    cache(tmp_path).write(0, ANSWERS)
    cache(tmp_path, seed=1).write(0, ANSWERS)
    ours, theirs = cache(tmp_path).folder, cache(tmp_path, seed=1).folder
    (ours / "about.json").write_bytes((theirs / "about.json").read_bytes())
    with pytest.raises(InputError, match=r"^the teacher outputs in .* belong to something else; delete that folder$"):
        cache(tmp_path).read(0, rows=6)


def test_it_holds_no_more_than_its_limit(tmp_path):
    small = cache(tmp_path, limit=400)
    small.write(0, ANSWERS)
    small.write(1, ANSWERS)
    with pytest.warns(UserWarning, match=r"is full with 0.0004 MB: later outputs are not cached; raise --cache-size"):
        small.write(2, ANSWERS)
    small.write(3, ANSWERS)  # said once
    files = list(tmp_path.glob("*/epoch-*"))
    assert len(files) == 2
    assert sum(file.stat().st_size for file in files) <= 400


def test_what_was_not_used_for_longest_makes_way(tmp_path):
    first, second, third = (cache(tmp_path, limit=400, seed=seed) for seed in range(3))
    for age, one in ((20, first), (10, second)):
        one.write(0, ANSWERS)
        os.utime(one.folder, (time.time() - age, time.time() - age))
    assert first.read(0, rows=6) is not None  # used again
    third.write(0, ANSWERS)
    assert [one.read(0, rows=6) is not None for one in (first, second, third)] == [True, False, True]


def test_a_place_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    blocked = cache(tmp_path / "file")
    with pytest.warns(UserWarning, match=r"teacher cache .* cannot be written"):
        blocked.write(0, ANSWERS)
    blocked.write(1, ANSWERS)  # said once
    assert blocked.read(0, rows=6) is None


def test_what_is_not_the_caches_stays(tmp_path):
    """Whatever folder is named, and however little room there is."""
    for name in ("photos", "0123456789abcdef"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "epoch-image.png").write_bytes(b"x" * 1000)
    (tmp_path / "photos" / "about.json").write_text("{}")
    for seed in range(4):
        cache(tmp_path, limit=200, seed=seed).write(0, ANSWERS)
    assert (tmp_path / "photos" / "epoch-image.png").exists()
    assert (tmp_path / "photos" / "about.json").exists()
    assert (tmp_path / "0123456789abcdef" / "epoch-image.png").exists()
    assert len(list(tmp_path.glob("*/epoch-0-*.npy"))) == 1
