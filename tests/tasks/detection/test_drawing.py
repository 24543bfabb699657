import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from drkd.tasks.detection.data import load_detection
from drkd.tasks.detection.drawing import draw_cases, image_ap
from shapes import write_voc


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_image_ap_by_hand():
    """Hits at ranks 1 and 3 of two hits among three true boxes: (1/1 + 2/3) / 3; a box is hit once."""
    target = {"boxes": boxes([0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]), "labels": torch.tensor([1, 2, 1])}
    detected = {
        "boxes": boxes([20, 0, 30, 10], [0, 0, 10, 10], [1, 0, 10, 10], [40, 0, 50, 10]),
        "labels": torch.tensor([2, 1, 1, 2]),
        "scores": torch.tensor([0.5, 0.9, 0.8, 0.4]),
    }
    assert image_ap(detected, target) == pytest.approx((1 + 2 / 3) / 3)
    assert image_ap({name: value[:0] for name, value in detected.items()}, target) == 0


@pytest.mark.parametrize("seed", range(8))
def test_image_ap_ignores_crowds_as_cocos_own_evaluation_does(seed):
    """Which detections of one class count, and which hit, by pycocotools; the mean of their precisions by hand."""
    draw = np.random.default_rng(seed)
    true = draw.uniform(0, 40, (6, 2))
    true = np.concatenate([true, true + draw.uniform(8, 40, (6, 2))], 1).astype(np.float32)
    said = (np.concatenate([true, true]) + draw.normal(0, 2, (12, 4))).astype(np.float32)
    scores, crowd = draw.permutation(12).astype(np.float32) / 12, np.array([0, 1, 0, 1, 0, 0])
    crowd[seed % 6] = 1
    coco = COCO()
    rows = [
        {"id": row + 1, "image_id": 1, "category_id": 1, "bbox": [*map(float, (a, b, c - a, d - b))]}
        for row, (a, b, c, d) in enumerate([*true, *said])
    ]
    rows = [row | {"area": row["bbox"][2] * row["bbox"][3]} for row in rows]
    truths = [row | {"iscrowd": int(each)} for row, each in zip(rows, crowd, strict=False)]
    coco.dataset = {"images": [{"id": 1}], "annotations": truths, "categories": [{"id": 1}]}
    coco.createIndex()
    found = [row | {"score": float(score)} for row, score in zip(rows[6:], scores, strict=True)]
    official = COCOeval(coco, coco.loadRes(found), "bbox")
    official.evaluate()
    judged = next(each for each in official.evalImgs if each and each["aRng"][1] > 1e9)
    hits = [bool(hit) for hit, out in zip(judged["dtMatches"][0], judged["dtIgnore"][0], strict=True) if not out]
    wanted = sum(sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit) / int((crowd == 0).sum())
    one = torch.ones(12, dtype=torch.long)
    detected = {"boxes": torch.tensor(said), "labels": one, "scores": torch.tensor(scores)}
    target = {"boxes": torch.tensor(true), "labels": one[:6], "iscrowd": torch.tensor(crowd)}
    assert image_ap(detected, target) == pytest.approx(wanted)


def test_the_best_are_drawn_above_the_worst(tmp_path, monkeypatch):
    split = load_detection(write_voc(tmp_path / "set", train=6)).train
    found = []
    for row, target in enumerate(split.targets):
        right = row in (1, 4)  # these are found, of the others nothing
        shift = 0 if right else 40
        found.append({**target, "boxes": target["boxes"] + shift, "scores": torch.ones(len(target["labels"]))})
    drawn = []
    own = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: drawn.append(self) or own(self, *args, **more))
    draw_cases(found, split, ("disc", "square"), tmp_path / "cases.png")
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert [title.split(",")[0] for title in titles[:2]] == ["best: AP50 100%", "best: AP50 100%"]
    assert {title.split(", ")[1] for title in titles[:2]} == {"001.png", "004.png"}
    assert [title.split(",")[0] for title in titles[3:]] == ["worst: AP50 0%"] * 3
    first = drawn[0].axes[0]
    assert len(first.patches) == 2 * len(split.targets[1]["boxes"])
    assert (tmp_path / "cases.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["$x^{$", "$\\undefined$", "\x1b[31m", "a\nb", "\u732b", "n" * 500, "\\", "_^{}"])
def test_names_are_drawn_as_text(tmp_path, name):
    split = load_detection(write_voc(tmp_path / "set", train=6)).train
    found = [{**target, "scores": torch.ones(len(target["labels"]))} for target in split.targets]
    draw_cases(found, split, (name, name), tmp_path / "cases.png")
    assert (tmp_path / "cases.png").stat().st_size > 1000
