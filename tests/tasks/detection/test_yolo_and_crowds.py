"""YOLO labels; crowds and difficult objects, which the official evaluations ignore; augmentations on boxes."""

import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import drkd
from detectors import make
from drkd import InputError
from drkd.tasks.detection.augment import apply, parse_augmentation
from drkd.tasks.detection.batches import DetectionLoader
from drkd.tasks.detection.checking import check_boxes
from drkd.tasks.detection.data import load_detection
from drkd.tasks.detection.metrics import measure
from shapes import CLASSES, draw, split_seeds, write_voc


def write_yolo(root, *, inside=False, names="data.yaml"):
    for split, seeds in split_seeds(8, 3, 3).items():
        images, labels = (root / (f"{split}/{kind}" if inside else f"{kind}/{split}") for kind in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for seed in seeds:
            image, things = draw(seed)
            image.save(images / f"{seed:03}.png")
            rows = [
                f"{CLASSES.index(name)} {(a + c) / 128} {(b + d) / 96} {(c - a) / 64} {(d - b) / 48}\n"
                for name, a, b, c, d in things
            ]
            (labels / f"{seed:03}.txt").write_text("".join(rows))
    known = {"data.yaml": json.dumps({"names": list(CLASSES)}), "classes.txt": "\n".join(CLASSES)}
    (root / names).write_text(known[names])
    return root


@pytest.mark.parametrize(("inside", "names"), [(False, "data.yaml"), (True, "classes.txt")])
def test_yolo_is_what_voc_is(inside, names, tmp_path):
    ours = load_detection(write_yolo(tmp_path / "yolo", inside=inside, names=names))
    voc = load_detection(write_voc(tmp_path / "voc"))
    assert ours.classes == voc.classes
    for split in ("train", "val", "test"):
        pairs = zip(getattr(ours, split).targets, getattr(voc, split).targets, strict=True)
        for mine, theirs in pairs:
            torch.testing.assert_close(mine, theirs)


def test_what_is_wrong_with_yolo_labels_is_said(tmp_path):
    root = write_yolo(tmp_path / "yolo")
    labels = root / "labels" / "train"
    (labels / "000.txt").write_text("0 0.5 0.5 0.1\n")
    (labels / "001.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    (labels / "002.txt").write_text("0 0.9 0.5 0.5 0.1\n")
    (labels / "003.txt").unlink()
    (labels / "other.txt").write_text("")
    kinds = {each.kind for each in check_boxes(root).problems}
    assert kinds == {"damaged file", "unknown class", "box outside", "no boxes", "other file"}
    (root / "data.yaml").unlink()
    with pytest.raises(InputError, match=r"no class names; add data.yaml"):
        check_boxes(root)


def test_difficult_objects_are_not_trained_on_and_count_neither_way(tmp_path):
    root = write_voc(tmp_path / "voc", train=4, val=1, test=1)
    for file in (root / "Annotations").glob("*.xml"):
        file.write_text(file.read_text().replace("</bndbox>", "</bndbox><difficult>1</difficult>", 1))
    data = load_detection(root)
    target = data.train.targets[0]
    assert target["iscrowd"].tolist() == [1, *[0] * (len(target["labels"]) - 1)]
    served = next(DetectionLoader(data, data.train, batch_size=4, training=True).batches())
    assert sum(len(each["labels"]) for each in served.targets) == sum(len(t["labels"]) - 1 for t in data.train.targets)
    assert set(served.targets[0]) == {"boxes", "labels"}


def test_crowds_count_as_in_cocos_own_evaluation():
    rng = np.random.default_rng(0)
    targets, found, images, truths, results = [], [], [], [], []
    for image in range(6):
        corner = rng.uniform(0, 60, (4, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(15, 40, (4, 2))], 1).astype(np.float32)
        labels, crowd = rng.integers(1, 3, 4), rng.integers(0, 2, 4)
        guess = (boxes + rng.normal(0, 3, boxes.shape)).astype(np.float32)
        scores = rng.uniform(size=4).astype(np.float32)
        targets.append({k: torch.tensor(v) for k, v in (("boxes", boxes), ("labels", labels), ("iscrowd", crowd))})
        found.append({k: torch.tensor(v) for k, v in (("boxes", guess), ("labels", labels), ("scores", scores))})
        images.append({"id": image})
        for row in range(4):
            sides = [[*each[:2], *(each[2:] - each[:2])] for each in (boxes[row], guess[row])]
            same = {"image_id": image, "category_id": int(labels[row]), "id": len(truths) + 1}
            area = float(sides[0][2] * sides[0][3])
            truths.append({**same, "bbox": [*map(float, sides[0])], "area": area, "iscrowd": int(crowd[row])})
            results.append({**same, "bbox": [*map(float, sides[1])], "score": float(scores[row])})
    coco = COCO()
    coco.dataset = {"images": images, "annotations": truths, "categories": [{"id": 1}, {"id": 2}]}
    coco.createIndex()
    official = COCOeval(coco, coco.loadRes(results), "bbox")
    for step in (official.evaluate, official.accumulate, official.summarize):
        step()
    ours = measure(found, targets, ("a", "b"))
    assert (ours.map, ours.map50) == pytest.approx(tuple(official.stats[:2]), abs=1e-6)
    without = [{k: v for k, v in target.items() if k != "iscrowd"} for target in targets]
    assert measure(found, without, ("a", "b")).map != ours.map


def test_augmented_boxes_stay_on_what_they_show():
    """A red square on grey: after any crop and zoom the pixels inside of its box are red."""
    image = torch.full((3, 96, 128), 117, dtype=torch.uint8)
    image[:, 30:70, 40:90] = torch.tensor([250, 10, 10], dtype=torch.uint8)[:, None, None]
    target = {"boxes": torch.tensor([[40.0, 30.0, 90.0, 70.0]]), "labels": torch.tensor([1])}
    shapes = set()
    for seed in range(12):
        made, there = apply(("zoom", "crop"), image, target, seed=seed)
        again, _ = apply(("zoom", "crop"), image, target, seed=seed)
        assert torch.equal(made, again)
        shapes.add(tuple(made.shape))
        for left, top, right, bottom in there["boxes"].round().int().tolist():
            assert (made[0, top:bottom, left:right] == 250).all()
    assert len(shapes) > 3


def test_augmentation_is_replayed_whatever_was_served_before(tmp_path):
    data = load_detection(write_voc(tmp_path / "voc"), augment="ssd")
    assert (data.flip, data.operations) == parse_augmentation("flip+jitter+zoom+crop")

    def served(epoch, start=0):
        loader = DetectionLoader(data, data.train, batch_size=4, training=True, seed=3)
        return [image for batch in loader.batches(epoch, start) for image in batch.images]

    before = torch.get_rng_state()
    assert all(map(torch.equal, served(1)[4:], served(1, start=1)))
    assert torch.equal(torch.get_rng_state(), before)
    assert [one.shape for one in served(1)] != [one.shape for one in served(2)]
    with pytest.raises(InputError, match=r"ps_kd.*remembers positions, which --augment jitter.zoom.crop moves"):
        drkd.fit(make("ssd"), drkd.ps_kd(), data, epochs=1)


@pytest.mark.parametrize(("text", "message"), [("cifar", "got 'cifar'"), ("none+crop", "combines none with others")])
def test_augmentations_that_are_none_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_augmentation(text)
