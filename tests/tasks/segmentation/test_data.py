"""Folders of images with masks: what is read, how it is divided, and everything that is wrong with one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from drkd import InputError
from drkd.tasks.segmentation.augment import PairAugmentation, augment_pair, parse_pair_augmentation
from drkd.tasks.segmentation.checking import check_masks
from drkd.tasks.segmentation.data import load_segmentation
from drkd.tasks.segmentation.masks import Pair, Polygons, Shape, drawn, look_at
from shapes import draw_mask, write_masks


def write_flat(root, count=10, **options):
    """`images/` and `masks/` side by side."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for seed in range(count):
        image, mask = draw_mask(seed, **options)
        image.save(root / "images" / f"{seed}.jpg", quality=95)
        mask.save(root / "masks" / f"{seed}.png")
    return root


def test_an_image_and_its_mask_are_scaled_and_padded_alike(tmp_path):
    data = load_segmentation(write_masks(tmp_path / "set"), image_size=64)
    assert (len(data.train), len(data.val), len(data.test)) == (8, 3, 3)
    assert data.classes == ("ground", "disc", "square")
    image, mask = data.train[0]
    true = np.asarray(draw_mask(0)[1])
    assert torch.equal(mask[:48], torch.from_numpy(true.copy()))
    assert (mask[48:] == 255).all()
    assert (image[:, 48:] == torch.tensor([124, 116, 104]).view(3, 1, 1)).all()
    assert torch.equal(image[:, :48], torch.from_numpy(np.asarray(draw_mask(0)[0]).copy()).movedim(-1, 0))
    red = image[0].float() > 200
    assert torch.equal(red, mask == 1)  # the colour of discs
    assert sorted(data.record.images("val")) == [f"val/images/{seed:03}.png" for seed in (8, 9, 10)]
    half = load_segmentation(tmp_path / "set", image_size=32).train[0][1]
    assert (half[24:] == 255).all()
    assert (half[:24] != 255).any()


def test_a_folder_without_splits_is_divided_by_names_that_move_nothing(tmp_path):
    write_flat(tmp_path / "set", 24)
    first = load_segmentation(tmp_path / "set", image_size=16, seed=1)
    assert first.classes == ("0", "1", "2")
    assert min(len(first.train), len(first.val), len(first.test)) > 0
    assert sum(map(len, (first.train, first.val, first.test))) == 24
    other = load_segmentation(tmp_path / "set", image_size=16, seed=2)
    assert other.test.names == first.test.names
    assert other.val.names != first.val.names
    (tmp_path / "set/images" / f"{first.test.names[0]}.jpg").unlink()
    (tmp_path / "set/masks" / f"{first.test.names[0]}.png").unlink()
    fewer = load_segmentation(tmp_path / "set", image_size=16, seed=1, limit_train=5)
    assert fewer.test.names == first.test.names[1:]
    assert len(fewer.train) == 5
    assert {*fewer.train.names} < {*first.train.names}


def test_lists_folders_inside_and_voc_are_the_same_data(tmp_path):
    write_flat(tmp_path / "lists", 6)
    (tmp_path / "lists/train.txt").write_text("0\n1.jpg\n2\n")
    (tmp_path / "lists/val.txt").write_text("3\n")
    (tmp_path / "lists/test.txt").write_text("4\n5\n")
    voc = tmp_path / "voc" / "VOC2012"
    voc.mkdir(parents=True)
    for ours, theirs in (("images", "JPEGImages"), ("masks", "SegmentationClass")):
        (tmp_path / "lists" / ours).rename(voc / theirs)
        (tmp_path / "lists" / ours).symlink_to(voc / theirs)
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val", "test"):
        (voc / f"ImageSets/Segmentation/{split}.txt").write_text((tmp_path / f"lists/{split}.txt").read_text())
    inside = tmp_path / "inside"
    for split, names in (("train", "012"), ("validation", "3"), ("test", "45")):
        for kind, suffix, home in (("images", "jpg", "JPEGImages"), ("masks", "png", "SegmentationClass")):
            (inside / kind / split).mkdir(parents=True)
            for name in names:
                (inside / kind / split / f"{name}.{suffix}").symlink_to(voc / home / f"{name}.{suffix}")
    lists = load_segmentation(tmp_path / "lists", image_size=16)
    for each in (load_segmentation(tmp_path / "voc", image_size=16), load_segmentation(inside, image_size=16)):
        for split in ("train", "val", "test"):
            assert all(map(torch.equal, getattr(each, split).decoded, getattr(lists, split).decoded))
    assert load_segmentation(tmp_path / "voc", image_size=16).classes[:2] == ("background", "aeroplane")


def coco(root, **changes):
    (root / "images").mkdir(parents=True)
    square = {"image_id": 0, "category_id": 7, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    content = {
        "annotations": [
            {"id": 0, **square, **changes},
            {"id": 1, **square, "category_id": 3, "segmentation": [[2, 0, 6, 0, 6, 4, 2, 4]]},
            {"id": 2, **square, "image_id": 1, "iscrowd": 1},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    for split, names in (("train", "abc"), ("test", "def")):
        for name in names:
            Image.new("RGB", (8, 4)).save(root / "images" / f"{name}.png")
        rows = [{"id": n, "file_name": f"{name}.png", "width": 8, "height": 4} for n, name in enumerate(names)]
        (root / f"instances_{split}.json").write_text(json.dumps({**content, "images": rows}))
    return root


def test_polygons_are_drawn_and_contradictions_and_crowds_ignored(tmp_path):
    with pytest.warns(UserWarning, match="4 masks of .* show class 0 alone"):
        data = load_segmentation(coco(tmp_path / "set"), image_size=8, validation=0)
    assert data.classes == ("background", "cat", "dog")
    assert data.train[0][1][0].tolist() == [2, 2, 255, 255, 1, 1, 0, 0]
    assert data.train[1][1][0].tolist() == [255] * 4 + [0] * 4
    found = check_masks(coco(tmp_path / "bad", segmentation=[[0, 0, 1]]))
    assert "an annotation 0 of image 0 without a known category and polygons" in str(found.problems[0])
    assert found.images == {"train": 3, "test": 3}


@pytest.mark.parametrize(("crowd", "there"), [(0, 2), ("0", 2), (None, 2), (1, 255), ("1", 255), (True, 255)])
def test_only_crowds_are_crowds(tmp_path, crowd, there):
    """Some tools write numbers in quotes."""
    with pytest.warns(UserWarning, match="show class 0 alone"):
        data = load_segmentation(coco(tmp_path / "set", iscrowd=crowd), image_size=8, validation=0)
    assert data.train[0][1][0, 0] == there


def test_without_pycocotools_pillow_draws(monkeypatch):
    mask = Polygons("a.json", (8, 4), (Shape(1, [[0, 0, 3, 0, 3, 3, 0, 3]]),))
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    assert drawn(mask)[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]  # Pillow's outlines belong to the shape
    with pytest.raises(InputError, match="run-length codes, which need pycocotools"):
        drawn(Polygons("a.json", (8, 4), (Shape(1, {"counts": "", "size": [4, 8]}),)))


FAULTS = {
    "missing mask": lambda root: (root / "train/masks/000.png").unlink(),
    "missing image": lambda root: (root / "train/images/000.png").unlink(),
    "other size": lambda root: Image.new("L", (63, 48)).save(root / "train/masks/000.png"),
    "value out of range": lambda root: Image.new("L", (64, 48), 3).save(root / "val/masks/004.png"),
    "colour mask": lambda root: Image.new("RGB", (64, 48)).save(root / "train/masks/000.png"),
    "unreadable image": lambda root: (root / "train/images/000.png").write_bytes(b"\x89PNG"),
    "wrong classes": lambda root: (root / "classes.txt").write_text("a\na\n"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_found_and_stops_a_training(kind, tmp_path):
    write_masks(tmp_path / "set", train=4, val=2, test=1)
    FAULTS[kind](tmp_path / "set")
    found = check_masks(tmp_path / "set")
    assert kind in found.count("error")
    with pytest.raises(InputError) as caught:
        load_segmentation(tmp_path / "set", image_size=8)
    assert str(found.problems[0]) in str(caught.value)


def test_bad_images_can_be_left_out(tmp_path):
    root = write_masks(tmp_path / "set", train=4, val=2, test=1)
    FAULTS["other size"](root)
    FAULTS["value out of range"](root)
    with pytest.warns(UserWarning, match="left out: 2 problems"):
        data = load_segmentation(root, image_size=8, skip_bad_images=True)
    assert (len(data.train), len(data.val), data.skipped_images) == (3, 1, {"train": 1, "val": 1, "test": 0})


def test_masks_that_teach_nothing_are_a_warning_and_0_and_255_are_one_class(tmp_path):
    root = write_masks(tmp_path / "set", train=2, val=1, test=1)
    Image.new("L", (64, 48), 255).save(root / "train/masks/000.png")
    assert check_masks(root).count("warning") == {"empty mask": 1}
    for file in root.glob("*/masks/*.png"):
        Image.open(file).point(lambda value: 255 if value else 0).save(file)
    (root / "classes.txt").unlink()
    with (
        pytest.warns(UserWarning, match="4 masks .* show class 0 alone"),
        pytest.raises(InputError, match="at least 2 classes, got the values of 1; 255 is for ignored"),
    ):
        load_segmentation(root, image_size=8)
    with pytest.raises(InputError, match="holds no masks: expected images/ and masks/"):
        load_segmentation(root / "train/images")


def test_a_palette_says_classes_and_not_colours(tmp_path):
    Image.new("RGB", (2, 1)).save(tmp_path / "a.png")
    mask = Image.new("P", (2, 1))
    mask.putpalette([0, 0, 0, 200, 30, 90])
    mask.putpixel((1, 0), 1)
    mask.save(tmp_path / "b.png")
    assert look_at(Pair(tmp_path / "a.png", tmp_path / "b.png", "a"), 2)[2] == (0, 1)


@pytest.mark.parametrize("first", [0.0, 0.3, 0.999])
def test_image_and_mask_move_together(first):
    """The image says the class of each pixel, before and after; what is outside is ignored."""
    mask = torch.arange(4, dtype=torch.uint8).repeat_interleave(8).repeat(32, 1)
    image = (40 * mask).repeat(3, 1, 1)
    numbers = np.array([first, 0.2, 0.9, 0.1, *[0.5] * 5])
    moved, labels = augment_pair(image, mask, PairAugmentation((0.5, 2.0), flip=True), numbers)
    inside = labels != 255
    close = (moved[0].float() - 40.0 * labels)[inside].abs()
    assert (close < 1).float().mean() > 0.5  # but for the blended borders between two classes
    assert inside.all() == (first > 0.5)
    assert torch.equal(moved[:, ~inside].unique(dim=1).flatten(), torch.tensor([124, 116, 104])[: 3 * (first < 0.5)])
    assert labels[inside].diff().max() <= 255
    row = labels[labels.shape[0] // 2]
    assert (row[row != 255].int().diff() <= 0).all()  # mirrored


@pytest.mark.parametrize("text", ["cifar", "flip+trivial", "scale_crop:2,1", "scale_crop:x", "jitter:2", "none+flip"])
def test_augmentations_that_are_none_are_refused(text):
    with pytest.raises(InputError):
        parse_pair_augmentation(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"segmentation": [[0, 0, 1]]},
        {"segmentation": [[0, 0, 4, 0, 4, float("nan")]]},
        {"segmentation": [[0, 0, 1e9, 0, 4, 4]]},
        {"segmentation": {"counts": [0, 10**9], "size": [10**5, 10**4]}},
        {"segmentation": {"counts": ["a"], "size": [4, 8]}},
        {"category_id": 8},
        {"image_id": 9},
        {"image_id": [9]},
    ],
)
def test_damaged_shapes_are_found(changes, tmp_path):
    found = check_masks(coco(tmp_path / "set", **changes))
    assert {*found.count("error")} & {"damaged shape", "damaged file"}


def test_run_length_codes_are_drawn_by_columns(tmp_path):
    code = {"counts": [4, 8, 20], "size": [4, 8]}
    with pytest.warns(UserWarning, match="show class 0 alone"):
        data = load_segmentation(coco(tmp_path / "set", segmentation=code), image_size=8, validation=0)
    assert data.train[0][1][0].tolist() == [0, 2, 255, 1, 1, 1, 0, 0]


def test_an_image_in_two_lists_is_refused(tmp_path):
    """What is trained on must not be measured; a line that is there twice counts once."""
    root = write_flat(tmp_path / "set", 6)
    for split, lines in (("train", "0\n1\n2\n2\n"), ("val", "2.jpg\n3\n"), ("test", "4\n5\n")):
        (root / f"{split}.txt").write_text(lines)
    for skip in (False, True):
        with pytest.raises(InputError, match=r"set lists 1 image in two splits: images/2.jpg; keep one entry"):
            load_segmentation(root, image_size=16, skip_bad_images=skip)
    (root / "val.txt").write_text("3\n")
    assert len(load_segmentation(root, image_size=16).train) == 3


def test_lists_without_one_for_training_are_refused(tmp_path):
    root = write_flat(tmp_path / "set", 2)
    (root / "test.txt").write_text("0\n")
    with pytest.raises(InputError, match=r"set has test.txt, but no train.txt or trainval.txt; add one, or remove"):
        check_masks(root)


@pytest.mark.parametrize("categories", [254, 255])
def test_more_categories_than_a_mask_has_values_are_refused(tmp_path, categories):
    """Class 255 would be ignored, and 256 would be background."""
    root = coco(tmp_path / "set", category_id=categories)
    for file in root.glob("*.json"):
        content = json.loads(file.read_text())
        content["categories"] = [{"id": number, "name": f"c{number}"} for number in range(1, categories + 1)]
        file.write_text(json.dumps(content))
    if categories == 255:
        with pytest.raises(InputError, match=r"has 255 categories, but masks have 254 at most"):
            load_segmentation(root, image_size=8, skip_bad_images=True)
        return
    with pytest.warns(UserWarning, match="4 masks of .* show class 0 alone"):
        data = load_segmentation(root, image_size=8, validation=0)
    assert data.train[0][1][0].tolist() == [254, 254, 255, 255, 3, 3, 0, 0]


def test_a_split_without_a_pixel_that_counts_is_refused_before_a_training(tmp_path):
    """A whole training would end in an error where it is measured."""
    root = write_masks(tmp_path / "set")
    for file in (root / "test" / "masks").iterdir():
        Image.new("L", (64, 48), 255).save(file)
    with pytest.raises(InputError, match=r"masks has 3 masks of a split, and all pixels are ignored"):
        load_segmentation(root, image_size=16, skip_bad_images=True)
