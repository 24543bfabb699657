"""Which split a file belongs to depends on its name alone."""

import unicodedata
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drkd.data import load_data
from drkd.data.by_name import draw_by_name, draw_test, draw_validation, fraction_of
from drkd.utils.errors import InputError
from image_files import noise

NAMES = st.lists(st.text(min_size=1), unique=True, max_size=30)


@given(NAMES, st.randoms())
def test_removing_or_reordering_files_moves_none(names, random):
    taken = {names[row] for row in draw_by_name(names, 0.3, "test")[1].tolist()}
    kept = random.sample(names, len(names) // 2)
    assert {kept[row] for row in draw_by_name(kept, 0.3, "test")[1].tolist()} == taken & set(kept)


def test_about_the_fraction_is_taken_and_draws_are_independent():
    names = [f"{number}.png" for number in range(20_000)]
    test, other = (set(draw_by_name(names, 0.2, draw)[1].tolist()) for draw in ("test", "validation 0"))
    assert len(test) == pytest.approx(4000, abs=5 * (20_000 * 0.16) ** 0.5)
    assert len(test & other) == pytest.approx(800, abs=5 * (20_000 * 0.04) ** 0.5)


def test_the_draw_never_changes():
    assert fraction_of("sub/1.png", "test") == pytest.approx(0.2016244052)


def test_a_name_is_the_same_on_every_system():
    composed, taken_apart = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))
    assert composed != taken_apart
    assert fraction_of(composed, "test") == fraction_of(taken_apart, "test")


def write(root, names, classes=("cat", "dog")):
    for number, name in enumerate(names):
        for label, each in enumerate(classes):
            path = root / each / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise(100 * label + number).save(path)
    return root


def names_of(data):
    return {split: set(getattr(data, split).names) for split in ("train", "val", "test")}


@pytest.mark.parametrize("below", ["", "train"])
def test_a_folder_keeps_its_splits_when_files_come_and_go(tmp_path, below):
    write(tmp_path / below, [f"{number}.png" for number in range(40)])
    before = names_of(load_data(tmp_path, seed=3))
    prefix = f"{below}/" if below else ""
    for number in range(0, 40, 3):
        (tmp_path / below / "cat" / f"{number}.png").unlink()
    write(tmp_path / below, [f"new/{number}.png" for number in range(10)])
    after = names_of(load_data(tmp_path, seed=3))
    gone = {f"{prefix}cat/{number}.png" for number in range(0, 40, 3)}
    for split, names in before.items():
        assert {name for name in after[split] if "/new/" not in name} == names - gone
    assert names_of(load_data(tmp_path, seed=4))["test"] == after["test"]
    assert names_of(load_data(tmp_path, seed=4))["val"] != after["val"]


def test_an_image_of_another_class_stays_in_or_out_of_the_test_split(tmp_path):
    write(tmp_path, [f"{number}.png" for number in range(20)])
    names = names_of(load_data(tmp_path))["test"]
    assert {name.replace("cat", "dog") for name in names if "cat" in name} == {n for n in names if "dog" in n}


def test_a_division_that_leaves_nothing_to_test_or_to_train_is_refused():
    labels, classes = torch.tensor([0, 0, 1, 1]), ("cat", "dog")
    inside = [name for name in map(str, range(100)) if fraction_of(name, "test") < 0.2]
    outside = [name for name in map(str, range(100)) if fraction_of(name, "test") >= 0.2]
    with pytest.raises(InputError, match=r"none of the 4 images is drawn for testing.*20%.*train/CLASS and test/CLASS"):
        draw_test(outside[:4], 0.2, labels, classes)
    with pytest.raises(InputError, match="all images of dog are drawn for testing"):
        draw_test([*outside[:1], *inside[:3]], 0.2, labels, classes)
    with pytest.warns(UserWarning, match="the test split has no image of dog"):
        rest, taken = draw_test([outside[0], inside[0], *outside[1:3]], 0.2, labels, classes)
    assert (rest.tolist(), taken.tolist()) == ([0, 2, 3], [1])


def test_validation_leaves_every_class_an_image_to_train_on():
    labels, classes = torch.tensor([0, 0, 1]), ("cat", "dog")
    alone = next(n for n in map(str, range(100)) if fraction_of(f"dog/{n}", "validation 0") < 0.1)
    first = next(n for n in map(str, range(100)) if fraction_of(f"cat/{n}", "validation 0") < 0.1)
    other = next(n for n in map(str, range(100)) if fraction_of(f"cat/{n}", "validation 0") >= 0.1)
    rest, taken = draw_validation([first, other, alone], 0.1, labels, classes, seed=0)
    assert (rest.tolist(), taken.tolist()) == ([1, 2], [0])
    with pytest.warns(UserWarning, match="no image is drawn for validation with seed 0.*the last epoch is taken"):
        assert len(draw_validation([other, other, alone], 0.1, labels, classes, seed=0)[1]) == 0


def test_files_that_change_are_read_again(tmp_path):
    write(tmp_path, [f"{number}.png" for number in range(20)])
    before = load_data(tmp_path)
    noise(999, (8, 8)).save(tmp_path / "cat" / "more.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = load_data(tmp_path)
    assert len(after.train) + len(after.val) + len(after.test) == 41
    assert before.record.fingerprint != after.record.fingerprint
    assert before.record.fingerprint != load_data(tmp_path, seed=5).record.fingerprint
