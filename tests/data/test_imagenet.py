"""ImageNet's layout, and the random crops that its training images are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import drkd
from drkd.data import Data, Split
from drkd.data.augment import AREA, ATTEMPTS, AUGMENTATIONS, SHAPE, crop_box
from drkd.data.images import LazyImages
from drkd.data.loader import Loader

COUNT = 2 + 2 * ATTEMPTS


def uniforms(seed, rows=1):
    return np.random.default_rng(seed).random((rows, COUNT))


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """Two classes, wide images whose brightness rises from left to right."""
    for split, count in (("train", 3), ("val", 2)):
        for wnid in ("n01440764", "n01443537"):
            folder = tmp_path / "data" / "imagenet" / split / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                ramp = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (48, 1))
                Image.fromarray(np.stack([ramp] * 3, axis=-1)).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return drkd.load_data("imagenet", image_size=28, validation=0)


def test_its_val_is_the_test_split(imagenet):
    assert (len(imagenet.train), len(imagenet.val), len(imagenet.test)) == (6, 0, 4)
    assert imagenet.classes == ("n01440764", "n01443537")
    assert imagenet.augmentation.resized_crop
    assert imagenet.mean == (0.485, 0.456, 0.406)


def test_measuring_takes_the_centre_with_a_margin(imagenet):
    """The shorter side becomes 32 for a crop of 28: columns 18 to 46 of 64, of a ramp from 0 to 255."""
    image = imagenet.test.inputs[torch.tensor([0])][0].float()
    assert image.shape == (3, 28, 28)
    assert image[0].mean(dim=0)[0] == pytest.approx(255 * 18.5 / 64, abs=3)
    assert image[0].mean(dim=0)[-1] == pytest.approx(255 * 45.5 / 64, abs=3)


def test_training_takes_random_parts_the_same_for_the_same_epoch(imagenet):
    loader = Loader(imagenet, imagenet.train, batch_size=6, training=True, seed=1)
    first, again, later = (next(loader.batches(epoch)).inputs for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    spread = first[:, 0].amax(dim=(1, 2)) - first[:, 0].amin(dim=(1, 2))
    assert spread.min() < 0.75 * spread.max()  # parts of the ramp of differing width


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_in_memory_are_cropped_like_those_on_disk(tmp_path, interpolation):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    on_disk = LazyImages([tmp_path / "a.png"], 40, 3, interpolation=interpolation)
    parts = [Split(images, torch.tensor([0])) for images in (on_disk, torch.from_numpy(pixels).permute(2, 0, 1)[None])]
    how = {"augmentation": AUGMENTATIONS["imagenet"], "mean": (0.0,) * 3, "std": (1 / 255,) * 3}
    data = Data("noise", ("a", "b"), parts[1], parts[1], parts[1], **how, interpolation=interpolation)
    for epoch in range(8):
        one, other = (next(Loader(data, part, batch_size=1, training=True).batches(epoch)).inputs for part in parts)
        assert (one - other).abs().max() < 2.5, epoch


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 600), height=st.integers(1, 600))
def test_a_crop_lies_inside_and_has_the_asked_area_and_shape(seed, width, height):
    left, top, wide, high = crop_box(uniforms(seed)[0], width, height)
    assert left >= 0
    assert top >= 0
    assert 0 < wide <= width - left
    assert 0 < high <= height - top
    if min(width, height) >= 100 and max(width, height) < 1.2 * min(width, height):
        assert AREA[0] - 0.02 <= wide * high / (width * height) <= AREA[1]
        assert SHAPE[0] - 0.05 <= wide / high <= SHAPE[1] + 0.05


def test_areas_are_drawn_evenly():
    parts = [crop_box(row, 1000, 1000) for row in uniforms(5, rows=4000)]
    areas = np.array([wide * high / 1e6 for _, _, wide, high in parts])
    # crops above 3/4 of the area fit only in some shapes, so look at the lower half
    low = np.sort(areas[areas < 0.5])
    assert abs(np.median(low) - 0.29) < 0.02


def test_where_no_attempt_fits_the_largest_centre_crop_is_taken():
    assert crop_box(np.array([0.5, 0.5] + [0.999, 0.5] * ATTEMPTS), 1000, 100) == (433, 0, 133, 100)
