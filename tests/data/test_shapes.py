"""The embedded made images."""

import numpy as np
import pytest
import torch

from drkd import InputError
from drkd.data.shapes import CLASSES, SEEN, draw
from drkd.tasks.detection import load_detection
from drkd.tasks.segmentation import load_segmentation


@pytest.mark.parametrize("seed", range(20))
def test_boxes_enclose_what_is_seen(seed):
    drawn = draw(np.random.default_rng(seed), 64)
    mask = np.asarray(drawn.mask)
    for label in range(1, len(CLASSES)):
        inside = np.zeros_like(mask, dtype=bool)
        for name, (left, top, right, bottom) in drawn.boxes:
            if name == label:
                part = mask[top:bottom, left:right] == label
                assert all(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))
                inside[top:bottom, left:right] = True
        assert ((mask == label) & ~inside).sum() < 6 * SEEN  # forms of which less is seen


def test_boxes_and_masks_are_of_the_same_images():
    boxes, masks = load_detection("shapes", image_size=32), load_segmentation("shapes", image_size=32)
    assert boxes.classes == CLASSES[1:]
    assert masks.classes == CLASSES
    assert len(boxes.test) == len(masks.test) == 120
    assert len(boxes.train) + len(boxes.val) == 240
    assert torch.equal(boxes.test.images[7], masks.test[7][0])
    other = load_detection("shapes", image_size=32, seed=1)
    assert boxes.record.fingerprint != other.record.fingerprint
    assert torch.equal(boxes.test.images[7], other.test.images[7])


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    (tmp_path / "shapes").mkdir()
    monkeypatch.chdir(tmp_path)
    for load in (load_detection, load_segmentation):
        with pytest.raises(InputError, match="shapes"):
            load("shapes")
