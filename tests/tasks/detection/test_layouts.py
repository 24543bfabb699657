"""Folders of boxes as they are published, unpacked and copied about."""

import json
import os
import re

import pytest

from drkd import InputError
from drkd.tasks.detection.checking import check_boxes
from drkd.tasks.detection.data import load_detection
from shapes import draw, write_coco, write_voc, write_xml


def errors(root):
    return [str(problem) for problem in check_boxes(root).problems if problem.severity == "error"]


def warned(root):
    return [str(problem) for problem in check_boxes(root).problems if problem.severity == "warning"]


def edit(root, change, split="train"):
    """Rewrite the instances of a split."""
    location = root / "annotations" / f"instances_{split}.json"
    content = json.loads(location.read_text())
    change(content)
    location.write_text(json.dumps(content))
    return location


def test_coco_as_published(tmp_path):
    root = write_coco(tmp_path / "coco", test=0)
    for split, new in (("train", "train2017"), ("val", "val2017")):
        (root / split).rename(root / new)
        own = root / "annotations" / f"instances_{split}.json"
        own.rename(own.with_name(f"instances_{new}.json"))
        for kind in ("captions", "person_keypoints", "panoptic", "stuff"):
            own.with_name(f"{kind}_{new}.json").write_text('{"images": [], "annotations": []}')
    (root / "annotations" / "image_info_test-dev2017.json").write_text('{"images": [], "categories": []}')
    (root / "annotations" / "._instances_train2017.json").write_bytes(b"\x00\x05\x16\x07")
    assert check_boxes(root).problems == ()
    assert check_boxes(root).images == {"train": 8, "val": 3}


def test_two_files_that_could_be_meant(tmp_path):
    root = write_coco(tmp_path / "coco")
    (root / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(InputError, match=r"2 files for the train split: .*instances_train.json, .*train2014.json"):
        check_boxes(root)


def test_a_file_of_no_split_is_named(tmp_path):
    root = write_coco(tmp_path / "coco")
    (root / "annotations" / "instances_minival.json").write_text("{}")
    assert [line.split("/")[-1] for line in warned(root)] == [
        "instances_minival.json is left out: it belongs to no split"
    ]
    with pytest.warns(UserWarning, match=r"minival.json is left out"):
        load_detection(root)


def test_windows_separators_and_numbers_in_quotes(tmp_path):
    root = write_coco(tmp_path / "coco")

    def change(content):
        for image in content["images"]:
            image |= {"file_name": f"train\\{image['file_name']}", "id": str(image["id"]), "width": "64"}
        for row in content["annotations"]:
            row["bbox"] = [str(side) for side in row["bbox"]]

    plain = load_detection(root).train.targets
    edit(root, change)
    load_detection.__globals__["_read"].cache_clear()
    again = load_detection(root)
    assert errors(root) == []
    assert [row["boxes"].tolist() for row in again.train.targets] == [row["boxes"].tolist() for row in plain]


def test_categories_of_one_name_are_one_class(tmp_path):
    root = write_coco(tmp_path / "coco")
    edit(root, lambda content: content["categories"].append({"id": 5, "name": "disc"}))
    edit(root, lambda content: content["annotations"][0].update(category_id=5))
    assert errors(root) == []
    assert any("several categories called disc" in line for line in warned(root))
    with pytest.warns(UserWarning, match="one class"):
        data = load_detection(root)
    assert data.classes == ("disc", "square")
    assert int(data.train.targets[0]["labels"][0]) == 1


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "..\\secret.png", "n" * 5000])
def test_an_image_outside_the_folder_is_refused(tmp_path, name):
    root = write_coco(tmp_path / "coco")
    draw(0)[0].save(tmp_path / "secret.png")
    name = name if name != "/secret.png" else str(tmp_path / "secret.png")
    edit(root, lambda content: content["images"][0].update(file_name=name))
    assert len(errors(root)) == 1
    assert "nowhere below" in errors(root)[0]
    with pytest.raises(InputError, match="nowhere below"):
        load_detection(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX's named pipes")
@pytest.mark.parametrize("file", ["annotations/instances_train.json", "train/000.png"])
def test_a_pipe_in_coco_is_refused_at_once(tmp_path, file):
    root = write_coco(tmp_path / "coco")
    (root / file).unlink()
    os.mkfifo(root / file)
    with pytest.raises(InputError, match=r"not a regular file|nowhere below"):
        load_detection(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX's named pipes")
@pytest.mark.parametrize("file", ["Annotations/000.xml", "JPEGImages/000.png", "ImageSets/Main/train.txt"])
def test_a_pipe_in_voc_is_refused_at_once(tmp_path, file):
    root = write_voc(tmp_path / "voc")
    (root / file).unlink()
    os.mkfifo(root / file)
    with pytest.raises(InputError, match="not a regular file"):
        load_detection(root)


def test_names_with_spaces_and_flags(tmp_path):
    root = write_voc(tmp_path / "voc", train=4, val=2, test=0)
    for old, new in (("000", "photo 1"), ("001", "photo one")):
        for path in [*root.glob(f"*/{old}.*")]:
            path.rename(path.with_stem(new))
    (root / "ImageSets/Main/train.txt").write_text("photo 1\nphoto one  1\n002 -1\n003\n", encoding="utf-8-sig")
    assert errors(root) == []
    assert [file.stem for file in load_detection(root, validation=0).train.images.files] == [
        "photo 1",
        "photo one",
        "002",
        "003",
    ]


@pytest.mark.parametrize("lists", [True, False])
def test_what_systems_leave_in_voc_is_no_annotation(tmp_path, lists):
    root = write_voc(tmp_path / "set" / "voc", lists=lists)
    before = check_boxes(root.parent).images
    for path in ("Annotations/._000.xml", "JPEGImages/._000.png", "JPEGImages/Thumbs.db"):
        (root / path).write_bytes(b"\x00\x05\x16\x07")
    (root.parent / "__MACOSX" / "Annotations").mkdir(parents=True)
    (root.parent / "__MACOSX" / "Annotations" / "000.xml").write_bytes(b"")
    assert check_boxes(root.parent).images == before
    assert errors(root.parent) == warned(root.parent) == []


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([64, 9, 1, 5], None),
        ([-1, 9, 1, 5], None),
        ([9, 48, 5, 1], None),
        ([9, -1, 5, 1], None),
        ([63, 9, 2, 5], [63, 9, 64, 14]),
    ],
)
def test_a_box_of_which_nothing_lies_on_the_image_is_refused(tmp_path, box, kept):
    """Boxes may reach a pixel beyond the edge and are cut off there: of these nothing would be left to train on."""
    root = write_coco(tmp_path / "coco")
    edit(root, lambda content: content["annotations"][0].update(bbox=box))
    if kept is not None:
        assert load_detection(root).train.targets[0]["boxes"][0].tolist() == kept
        return
    [line] = errors(root)
    assert "lies beyond the edge of the image of 64x48 pixels" in line
    with pytest.raises(InputError, match="lies beyond the edge"):
        load_detection(root)


def test_an_image_in_two_splits_is_refused(tmp_path):
    """What is trained on must not be measured; names that a list of VOC has twice count once."""
    voc = write_voc(tmp_path / "voc", train=4, val=2, test=0)
    (voc / "ImageSets/Main/train.txt").write_text("000\n001\n001\n")
    assert check_boxes(voc).images == {"train": 2, "val": 2}
    (voc / "ImageSets/Main/val.txt").write_text("001\n002\n")
    coco = write_coco(tmp_path / "coco")
    edit(coco, lambda content: content["images"].append({"id": 99, "file_name": "000.png"}))
    edit(coco, lambda content: content["images"].append({"id": 98, "file_name": "../train/003.png"}), split="val")
    found = {voc: ["1 image in two splits: JPEGImages/001.png"], coco: ["1 image twice in a split: train/000.png"]}
    found[coco].append("1 image in two splits: train/003.png")
    for root, lines in found.items():
        assert errors(root) == [f"{root} lists {line}; keep one entry of each" for line in lines]
        with pytest.raises(InputError, match="in two splits"):
            load_detection(root, skip_bad_images=True)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.filterwarnings("ignore:.* have no boxes")
def test_a_split_without_boxes_is_refused_before_a_training(tmp_path, split, crowds):
    """A whole training would end in an error where it is measured."""
    root = write_coco(tmp_path / "coco")

    def change(content):
        content["annotations"] = [row | {"iscrowd": 1} for row in content["annotations"]] if crowds else []

    edit(root, change, split)
    with pytest.raises(InputError, match=f"the {split} split of .* has 3 images, but no box to measure against"):
        load_detection(root)


def test_a_second_year_is_named(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / year)
    [line] = warned(tmp_path)
    assert re.search(r"VOC2012 is left out.*VOC2007", line)
    with pytest.warns(UserWarning, match="VOC2012 is left out"):
        load_detection(tmp_path)


def test_trainval_holds_the_images_of_val(tmp_path):
    root = write_voc(tmp_path / "voc")
    lists = root / "ImageSets" / "Main"
    lists.joinpath("train.txt").rename(lists / "trainval.txt")
    assert check_boxes(root).images == {"train": 8, "test": 3}


def test_lists_without_one_for_training_are_refused(tmp_path):
    """The images of the test list would be trained on."""
    root = write_voc(tmp_path / "voc")
    (root / "ImageSets/Main/train.txt").unlink()
    with pytest.raises(InputError, match=r"Main has val.txt and test.txt, but no train.txt or trainval.txt; add one"):
        check_boxes(root)


def test_images_and_annotations_that_do_not_pair(tmp_path):
    root = write_voc(tmp_path / "voc", train=9, val=0, test=0, lists=False)
    draw(50)[0].save(root / "JPEGImages" / "alone.png")
    draw(0)[0].save(root / "JPEGImages" / "000.bmp")
    lines = warned(root)
    assert any("1 images without an XML file" in line and "alone" in line for line in lines)
    assert any("belongs to 000.bmp, 000.png: 000.png is taken" in line for line in lines)


def test_a_name_that_leads_out_of_the_folder(tmp_path):
    root = write_voc(tmp_path / "voc", train=4, val=2, test=0)
    write_xml(tmp_path / "secret.xml", [], (64, 48))
    (root / "ImageSets/Main/train.txt").write_text("../../secret\n001\n")
    assert ["lies outside the folder" in line for line in errors(root)] == [True]
