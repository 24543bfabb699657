import pytest
import torch

from drkd import InputError
from drkd.tasks.detection.metrics import measure


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_against_a_count_by_hand():
    """Of two discs one is found exactly and first, one missed; the square is found with an overlap of 0.62, as second.

    AP50 of discs: precision 1 up to a recall of 1/2: 51 of COCO's 101 recall points. Recall 1/2 at every overlap.
    AP50 of squares: a wrong one comes first, so precision is 1/2 at every recall; found at 0.5, 0.55 and 0.6 only.
    """
    targets = [
        {"boxes": boxes([0, 0, 10, 10], [30, 30, 50, 50]), "labels": torch.tensor([1, 1])},
        {"boxes": boxes([0, 0, 10, 10]), "labels": torch.tensor([2])},
    ]
    found = [
        {"boxes": boxes([0, 0, 10, 10]), "labels": torch.tensor([1]), "scores": torch.tensor([0.9])},
        {
            "boxes": boxes([60, 60, 70, 70], [0, 0, 6.2, 10]),
            "labels": torch.tensor([2, 2]),
            "scores": torch.tensor([0.8, 0.7]),
        },
    ]
    measured = measure(found, targets, ["disc", "square", "star"])
    disc, square = measured.per_class["disc"], measured.per_class["square"]
    assert set(measured.per_class) == {"disc", "square"}
    assert disc == pytest.approx({"map": 51 / 101, "map50": 51 / 101, "ar": 0.5, "boxes": 2})
    assert square == pytest.approx({"map": 0.5 * 3 / 10, "map50": 0.5, "ar": 3 / 10, "boxes": 1})
    assert measured.map == pytest.approx((51 / 101 + 0.15) / 2)
    assert measured.map50 == pytest.approx((51 / 101 + 0.5) / 2)
    assert measured.ar == pytest.approx(0.4)


def test_a_class_that_is_only_claimed_counts_nowhere():
    targets = [{"boxes": boxes([0, 0, 10, 10]), "labels": torch.tensor([1])}]
    found = [
        {
            "boxes": boxes([0, 0, 10, 10], [0, 0, 10, 10]),
            "labels": torch.tensor([2, 1]),
            "scores": torch.tensor([0.9, 0.8]),
        }
    ]
    measured = measure(found, targets, ["disc", "square"])
    assert measured.map == 1
    assert list(measured.per_class) == ["disc"]


def test_a_split_without_boxes_cannot_be_measured():
    empty = {"boxes": boxes(), "labels": torch.zeros(0, dtype=torch.int64)}
    with pytest.raises(InputError, match="no boxes to measure against"):
        measure([{**empty, "scores": torch.zeros(0)}], [empty], ["disc"])
