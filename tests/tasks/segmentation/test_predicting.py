"""What a segmenter says of files: masks in their size, tables, drawings."""

import csv
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import drkd
from drkd import BoxOptions, InputError
from drkd.tasks.answers import Asked
from drkd.tasks.segmentation import networks
from drkd.tasks.segmentation.masks import Pair, fitted, mask_of, original_mask
from image_files import exif, run_cli
from segmenters import CLASSES, OF_CLASS, SIZE, by_colour, write_by_colour
from shapes import draw_mask


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.SEGMENTERS, "by_colour", by_colour)
        yield write_by_colour(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def photos(tmp_path):
    """Images of other shapes and sizes than the network takes, and their masks by name."""
    folder, masks = tmp_path / "photos", {}
    folder.mkdir()
    for seed, name in enumerate(("wide.png", "high.png", "part.bmp")):
        image, mask = draw_mask(seed)
        mask.paste(0, (0, 0, 64, 1))  # nothing to ignore
        if name == "high.png":
            image, mask = (each.transpose(Image.Transpose.ROTATE_90) for each in (image, mask))
        if name == "part.bmp":
            image, mask = (each.crop((0, 0, 32, 21)) for each in (image, mask))
        image.save(folder / name)
        masks[name] = np.asarray(mask)
    return folder, masks


def away_from_edges(mask):
    """Pixels whose neighbours up to two further have the same class."""
    padded = np.pad(mask, 2, mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return near.min((2, 3)) == near.max((2, 3))


def test_masks_are_those_of_the_file_in_its_own_size(run, photos):
    folder, masks = photos
    found = {each.file.rpartition("/")[2]: each for each in drkd.predict_files(run, folder, batch_size=2)}
    assert found.keys() == masks.keys()
    for name, mask in masks.items():  # scaled by 1, or by 2 and back
        assert np.array_equal(found[name].mask, mask), name
        assert found[name].fractions["disc"] == pytest.approx((mask == 1).mean())


@pytest.mark.parametrize("size", [(33, 17), (151, 97), (5, 200), (199, 3), (64, 64), (1, 1)])
def test_images_of_odd_sizes_are_right_but_for_their_edges(run, tmp_path, size):
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 :, width // 2 :] = 1
    mask[: height // 3, width // 4 : width // 2] = 2
    Image.fromarray(OF_CLASS[mask].astype(np.uint8)).save(tmp_path / "odd.png")
    (found,) = drkd.predict_files(run, tmp_path / "odd.png")
    clear = away_from_edges(mask) if max(size) <= 2 * SIZE else away_from_edges(mask) & away_from_edges(found.mask)
    assert found.mask.shape == mask.shape
    if max(size) > 3 * SIZE:  # thin ones lose their smaller parts
        assert (found.mask == mask).mean() > 0.6
    else:
        assert np.array_equal(found.mask[clear], mask[clear])


@given(width=st.integers(1, 40), height=st.integers(1, 40), size=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_the_way_back_takes_the_nearest_pixel_and_no_padding(width, height, size):
    wide, high = fitted(width, height, size)
    mask = np.full((size, size), 255, np.uint8)
    mask[:high, :wide] = np.random.default_rng(0).integers(0, 250, (high, wide))
    found = original_mask(mask, (width, height))
    assert found.shape == (height, width)

    def sources(position, inner, whole):
        """The pixel below the middle of one; two where it lies between them."""
        middle = Fraction(2 * position + 1, 2) * Fraction(inner, whole)
        return {int(middle), int(middle) - (middle.denominator == 1)}

    for y in range(height):
        for x in range(width):
            nearest = {int(mask[b, a]) for b in sources(y, high, height) for a in sources(x, wide, width)}
            assert int(found[y, x]) in nearest


def test_turned_photos_get_upright_masks(run, tmp_path):
    image, mask = draw_mask(1)
    mask = np.asarray(mask)
    clear = (away_from_edges(mask) & (mask != 255)).repeat(5, 0).repeat(5, 1)
    image = image.resize((320, 240), Image.Resampling.NEAREST)  # large enough to be decoded at a part of its size
    turned = image.transpose(Image.Transpose.ROTATE_90)  # orientation 6 turns it back, clockwise
    turned.save(tmp_path / "turned.jpg", quality=100, subsampling=0, exif=exif(6))
    (found,) = drkd.predict_files(run, tmp_path / "turned.jpg", boxes=BoxOptions(draw=tmp_path / "drawn"))
    assert np.array_equal(found.mask[clear], mask.repeat(5, 0).repeat(5, 1)[clear])
    with Image.open(tmp_path / "drawn" / "turned.jpg") as drawn:
        assert drawn.size == image.size


def test_the_command_line_writes_masks_tables_and_drawings(run, photos, tmp_path, capsys):
    folder, masks = photos
    (folder / "bad.png").write_bytes(b"no image")
    out = tmp_path / "found.csv"
    arguments = ("--masks", tmp_path / "masks", "--draw", tmp_path / "drawn", "--out", out)
    assert run_cli("predict", run, folder, *arguments) == 1
    assert "bad.png" in capsys.readouterr().err
    assert sorted(file.name for file in (tmp_path / "masks").iterdir()) == ["high.png", "part.png", "wide.png"]
    for name, mask in masks.items():
        file = tmp_path / "masks" / name.replace("bmp", "png")
        assert np.array_equal(mask_of(Pair(folder / name, file, name)), mask)  # as training reads it
        with Image.open(file) as written:
            assert (written.mode, written.size) == ("P", mask.shape[::-1])
            assert np.array_equal(np.asarray(written), mask)
            assert written.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]  # Pascal VOC's
        with Image.open(tmp_path / "drawn" / name) as drawn:
            corner = np.asarray(drawn)[-1, -1].astype(int)
        blended = (OF_CLASS[mask[-1, -1]] + np.array(written.getpalette()).reshape(-1, 3)[mask[-1, -1]]) / 2
        assert np.abs(corner - blended).max() <= 1
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == ["file", "label", "fraction", "pixels"]
    assert [row["label"] for row in rows[:3]] == ["ground", "disc", "'=square"]
    wide = [row for row in rows if row["file"].endswith("wide.png")]
    assert [int(row["pixels"]) for row in wide] == np.bincount(masks["wide.png"].ravel(), minlength=3).tolist()
    assert sum(float(row["fraction"]) for row in wide) == pytest.approx(1, abs=1e-5)
    capsys.readouterr()
    assert run_cli("predict", run, folder / "wide.png", "--format", "json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["width"], record["height"], list(record["fractions"])) == (64, 48, list(CLASSES))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--top", "2"], "segmentation takes no --top; leave it out"),
        (["--nms", "0.5"], "segmentation takes no --nms; leave it out"),
        (["--format", "coco"], "segmentation takes no --format coco; leave it out"),
        (["--masks", "FOLDER"], "--masks would replace FOLDER/high.png; give another folder"),
        (["--draw", "FOLDER"], "--draw would replace FOLDER/high.png; give another folder"),
        (["--masks", "OUT", "--draw", "OUT"], "--draw and --masks would both write OUT/NAME.png; give two folders"),
        (["TWIN", "--masks", "OUT"], "twin/wide.bmp would both be wide.png; give one folder at a time"),
    ],
)
def test_what_cannot_be_answered_gets_one_line(run, photos, tmp_path, capsys, arguments, words):
    folder, _ = photos
    (tmp_path / "twin").mkdir()
    (tmp_path / "twin" / "wide.bmp").write_bytes((folder / "part.bmp").read_bytes())
    names = {"FOLDER": folder, "OUT": tmp_path / "out", "TWIN": tmp_path / "twin"}
    arguments = [str(names.get(each, each)) for each in arguments]
    for name, place in names.items():
        words = words.replace(name, str(place))
    assert run_cli("predict", run, folder, *arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_masks_are_refused_where_there_are_none(tmp_path):
    for name in ("classification", "detection"):
        with pytest.raises(InputError, match=f"{name} takes no --masks; leave it out"):
            drkd.tasks.get_task(name).check_asked(Asked(boxes=BoxOptions(masks=tmp_path)), [])
