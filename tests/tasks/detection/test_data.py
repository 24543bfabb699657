import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import horizontal_flip

from drkd import InputError
from drkd.tasks.detection.batches import DetectionLoader, mirror
from drkd.tasks.detection.checking import check_boxes
from drkd.tasks.detection.data import load_detection
from drkd.tasks.detection.reading import read_annotations
from drkd.tasks.detection.splits import DetectionSplit
from shapes import draw, write_coco, write_voc, write_xml

WRITERS = {
    "voc": write_voc,
    "coco": write_coco,
    "coco_beside": lambda root, **sizes: write_coco(root, beside=True, **sizes),
}


def as_drawn(seed):
    """What `draw` says, as a split has it."""
    image, things = draw(seed)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    labels = torch.tensor([{"disc": 1, "square": 2}[name] for name, *_ in things])
    return pixels, torch.tensor([box for _, *box in things], dtype=torch.float32), labels


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_images_and_boxes_that_were_drawn(layout, tmp_path):
    data = load_detection(WRITERS[layout](tmp_path / "set"))
    assert data.classes == ("disc", "square")
    assert (len(data.train), len(data.val), len(data.test)) == (8, 3, 3)
    for split, first in ((data.train, 0), (data.val, 8), (data.test, 11)):
        for row in range(len(split)):
            pixels, boxes, labels = as_drawn(first + row)
            assert torch.equal(split.images[row], pixels)
            assert torch.equal(split.targets[row]["boxes"], boxes)
            assert torch.equal(split.targets[row]["labels"], labels)


def test_voc_may_lie_in_a_folder_of_its_own(tmp_path):
    write_voc(tmp_path / "set" / "BCCD")
    assert len(load_detection(tmp_path / "set").train) == 8


def test_images_are_scaled_down_with_their_boxes(tmp_path):
    root = write_voc(tmp_path / "set")
    whole, half = load_detection(root), load_detection(root, image_size=24)
    assert half.train.images[0].shape == (3, 24, 32)
    torch.testing.assert_close(half.train.targets[0]["boxes"], whole.train.targets[0]["boxes"] / 2)


def test_without_lists_names_choose_a_fifth_for_the_test_and_with_the_seed_the_validation(tmp_path):
    root = write_voc(tmp_path / "set", train=20, val=0, test=0, lists=False)
    first, second = load_detection(root, seed=0), load_detection(root, seed=1)
    assert [len(part) for part in (first.train, first.val, first.test)] == [15, 1, 4]
    assert first.test.images.files == second.test.images.files
    assert first.val.images.files != second.val.images.files
    files = [*first.train.images.files, *first.val.images.files, *first.test.images.files]
    assert len(set(files)) == 20
    assert len(load_detection(root, validation=0).val) == 0
    first.train.images.files[0].unlink()
    (root / "Annotations" / f"{first.train.images.files[0].stem}.xml").unlink()
    fewer = load_detection(root, seed=0)
    assert fewer.train.images.files == first.train.images.files[1:]
    assert (fewer.val.images.files, fewer.test.images.files) == (first.val.images.files, first.test.images.files)
    assert fewer.record.fingerprint != first.record.fingerprint
    assert {file.split for file in first.record.files.values()} == {"train", "val", "test", None}  # None: annotations


def test_val_is_the_test_split_where_there_is_none(tmp_path):
    data = load_detection(write_coco(tmp_path / "set", test=0), validation=0.25)
    assert [len(part) for part in (data.train, data.val, data.test)] == [4, 4, 3]
    assert data.test.images.files[0].parent.name == "val"


def test_limits_keep_so_many_images(tmp_path):
    root = write_voc(tmp_path / "set")
    data = load_detection(root, limit_train=4, limit_test=2, seed=3)
    assert (len(data.train), len(data.val), len(data.test)) == (4, 3, 2)
    assert load_detection(root, limit_train=4, seed=3).train.images.files == data.train.images.files
    assert load_detection(root, limit_train=4, seed=4).train.images.files != data.train.images.files
    with pytest.raises(InputError, match="limit of 4 test images exceeds the 3 there are"):
        load_detection(root, limit_test=4)


def test_every_problem_is_listed_with_its_file(tmp_path):
    root = write_voc(tmp_path / "set")
    xml = root / "Annotations"
    write_xml(xml / "000.xml", [("disc", 5, 5, 70, 20)], (64, 48))
    write_xml(xml / "001.xml", [("disc", 9, 9, 9, 20), ("square", 30, 9, 20, 20)], (64, 48))
    write_xml(xml / "002.xml", [("disc", 1, 1, 9, 9)], (48, 64))
    (xml / "003.xml").write_text("<annotation>")
    (root / "JPEGImages" / "004.png").write_bytes(b"no image")
    (root / "JPEGImages" / "005.png").unlink()
    write_xml(xml / "008.xml", [("star", 1, 1, 9, 9)], (64, 48))
    (xml / "009.xml").unlink()
    write_xml(xml / "011.xml", [("disc", "nan", 1, 9, 9)], (64, 48))
    found = []
    annotations = read_annotations(root, found.append)
    reported = sorted((re.sub(r".*/", "", each.location), each.kind) for each in found)
    assert reported == [
        ("000.xml", "box outside"),
        ("001.xml", "empty box"),
        ("001.xml", "empty box"),
        ("002.xml", "other size"),
        ("003.xml", "damaged file"),
        ("004.png", "unreadable image"),
        ("005.xml", "missing image"),
        ("008.xml", "unknown class"),
        ("009.xml", "missing file"),
        ("011.xml", "damaged box"),
    ]
    assert annotations.skipped == {"train": 6, "val": 2, "test": 1}
    with pytest.raises(InputError) as caught:
        load_detection(root)
    assert str(caught.value).startswith("10 problems: ")
    assert all(location in str(caught.value) for location, _ in reported)
    assert "box 1 (disc at 5, 5, 70, 20) reaches outside the image of 64x48 pixels" in str(caught.value)


def test_check_finds_what_a_training_refuses_and_damage_besides(tmp_path):
    root = write_voc(tmp_path / "set")
    write_xml(root / "Annotations" / "000.xml", [("disc", 5, 5, 70, 20)], (64, 48))
    write_xml(root / "Annotations" / "001.xml", [], (64, 48))
    damaged = root / "JPEGImages" / "002.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    found = check_boxes(root)
    assert found.images == {"train": 8, "val": 3, "test": 3}
    assert found.count("error") == {"box outside": 1, "unreadable image": 1}
    assert found.count("warning") == {"no boxes": 1}
    assert [problem.severity for problem in found.problems] == ["error", "error", "warning"]
    with pytest.raises(InputError, match=r"2 problems: .*000\.xml.*002\.png cannot be read"):
        load_detection(root)
    with pytest.warns(UserWarning, match=r"left out|no boxes"):
        data = load_detection(root, skip_bad_images=True)
    assert data.skipped_images == {"train": 2, "val": 0, "test": 0}
    assert [len(part.images) for part in (data.train, data.val, data.test)] == [6, 3, 3]


def test_bad_images_can_be_left_out(tmp_path):
    root = write_voc(tmp_path / "set")
    write_xml(root / "Annotations" / "000.xml", [("disc", 5, 5, 70, 20)], (64, 48))
    with pytest.warns(UserWarning, match="left out: .*000.xml"):
        data = load_detection(root, skip_bad_images=True)
    assert len(data.train) == 7
    assert data.skipped_images == {"train": 1, "val": 0, "test": 0}


def test_images_without_boxes_are_kept_and_reported(tmp_path):
    root = write_voc(tmp_path / "set")
    write_xml(root / "Annotations" / "000.xml", [], (64, 48))
    with pytest.warns(UserWarning, match="1 images of .* have no boxes"):
        data = load_detection(root)
    assert data.train.targets[0]["boxes"].shape == (0, 4)
    assert data.train.targets[0]["labels"].dtype == torch.int64


def test_a_box_one_pixel_beyond_is_cut_off(tmp_path):
    root = write_voc(tmp_path / "set")
    write_xml(root / "Annotations" / "000.xml", [("disc", -1, 5, 65, 20)], (64, 48))
    assert load_detection(root).train.targets[0]["boxes"].tolist() == [[0, 5, 64, 20]]


def test_problems_of_coco_files(tmp_path):
    root = write_coco(tmp_path / "set")
    location = root / "annotations" / "instances_train.json"
    content = json.loads(location.read_text())
    content["annotations"] += [
        {"id": 90, "image_id": 77, "category_id": 4, "bbox": [1, 1, 5, 5]},
        {"id": 91, "image_id": 0, "category_id": 5, "bbox": [1, 1, 5, 5]},
        {"id": 92, "image_id": 0, "category_id": 4, "bbox": [1, 1, "5"]},
        {"id": 93, "image_id": 0, "category_id": 4, "bbox": [1, 1, 0, 5], "iscrowd": 1},
    ]
    content["images"].append({"id": 50, "file_name": "nowhere.png"})
    location.write_text(json.dumps(content))
    (root / "annotations" / "instances_test.json").write_text('{"images": []}')
    found = []
    read_annotations(root, found.append)
    assert sorted(each.kind for each in found) == [
        "damaged box",
        "damaged file",
        "damaged file",
        "missing image",
        "unknown class",
    ]


def test_turned_images_are_set_upright_as_their_boxes_expect(tmp_path):
    root = write_voc(tmp_path / "set")
    image, _ = draw(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(root / "JPEGImages" / "000.png", exif=exif)
    write_xml(root / "Annotations" / "000.xml", [("disc", 5, 5, 40, 60)], (48, 64))
    assert load_detection(root).train.images[0].shape == (3, 64, 48)


@pytest.mark.parametrize("content", ["nothing", "empty"])
def test_a_folder_without_boxes_is_refused(tmp_path, content):
    if content == "empty":
        (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match=r"detection needs a folder|holds no boxes"):
        load_detection(tmp_path / "set")


def test_a_split_in_memory_needs_bytes_and_a_target_each():
    pixels, boxes, labels = as_drawn(0)
    target = {"boxes": boxes, "labels": labels}
    assert torch.equal(DetectionSplit.of([pixels], [target]).select([0]).images[0], pixels)
    with pytest.raises(InputError, match=r"image 0 must be uint8 \(3, H, W\), got float32 \(3, 48, 64\)"):
        DetectionSplit.of([pixels.float()], [target])
    with pytest.raises(InputError, match="got 1 images and 2 targets"):
        DetectionSplit.of([pixels], [target, target])


def test_mirroring_agrees_with_torchvision():
    pixels, boxes, labels = as_drawn(3)
    image, target = mirror(pixels, {"boxes": boxes, "labels": labels})
    assert torch.equal(image, horizontal_flip(pixels))
    wanted = horizontal_flip(tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(48, 64)))
    assert torch.equal(target["boxes"], wanted.as_subclass(torch.Tensor))
    assert torch.equal(target["labels"], labels)


def test_any_batch_of_any_epoch_can_be_had_again(tmp_path):
    data = load_detection(write_voc(tmp_path / "set", train=9))
    loader = DetectionLoader(data, data.train, batch_size=4, training=True, seed=5)
    assert len(loader) == 2  # a single one is left over and joins
    whole = list(loader.batches(epoch=3))
    assert [len(batch.images) for batch in whole] == [4, 5]
    (again,) = DetectionLoader(data, data.train, batch_size=4, training=True, seed=5).batches(epoch=3, start=1)
    assert torch.equal(again.index, whole[1].index)
    assert all(map(torch.equal, again.images, whole[1].images))
    index = torch.cat([batch.index for batch in whole])
    assert sorted((index // 2).tolist()) == list(range(9))
    assert 0 < int((index % 2).sum()) < 9
    for batch in whole:
        for image, target, number in zip(batch.images, batch.targets, batch.index.tolist(), strict=True):
            pixels = data.train.images[number // 2].float() / 255
            assert torch.equal(image, pixels.flip(-1) if number % 2 else pixels)
            assert torch.equal(target["labels"], data.train.targets[number // 2]["labels"])
    assert not torch.equal(index, torch.cat([batch.index for batch in loader.batches(epoch=4)]))


def test_measuring_serves_images_in_order_as_they_are(tmp_path):
    data = load_detection(write_voc(tmp_path / "set"))
    batches = list(DetectionLoader(data, data.train, batch_size=5, training=False).batches())
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(0, 16, 2))
    with pytest.raises(InputError, match="none, flip, ssd"):
        load_detection(tmp_path / "set", augment="cifar")
