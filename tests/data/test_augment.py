"""Augmentation equals torchvision's, image by image, and is a function of (seed, epoch, index, view)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as T

from drkd.data.augment import AUGMENTATIONS, Augmentation, augment, random_numbers

MIXED = Augmentation(pad=3, flip=True, degrees=20.0)
ROUNDING = 1e-3  # fraction of the pixels that a rotation may take from the other side of a rounding boundary


def sample_images(count, size=32, channels=3):
    return torch.rand(count, channels, size, size) + 0.1  # never black: the fill differs from every pixel


def parameters(index, augmentation, **key):
    """(left, top, flipped, degrees) of one image, from the documented order of its random numbers."""
    across, down, flip, turn = random_numbers(**{"view": 0, **key}, index=np.array([index]), count=4)[0]
    locations = 2 * augmentation.pad + 1
    return int(across * locations), int(down * locations), flip < 0.5, (2 * turn - 1) * augmentation.degrees


def torchvision_augment(images, index, augmentation, **key):
    done = []
    for image, i in zip(images, index.tolist(), strict=True):
        left, top, flipped, degrees = parameters(i, augmentation, **key)
        size = image.shape[-1]
        made = T.crop(T.pad(image, [augmentation.pad]), top, left, size, size)
        if augmentation.flip and flipped:
            made = T.horizontal_flip(made)
        if augmentation.degrees:
            made = T.rotate(made, degrees, interpolation=InterpolationMode.NEAREST, fill=0)
        done.append(made)
    return torch.stack(done)


def flipped_rows(count, epoch=0):
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(count, 1, 2, 2)
    return augment(image, torch.arange(count), Augmentation(flip=True), seed=0, epoch=epoch)[:, 0, 0, 0] == 2


@pytest.mark.parametrize("size", [8, 15, 32])
@pytest.mark.parametrize("augmentation", [Augmentation(pad=1), Augmentation(pad=4), Augmentation(flip=True)])
def test_crop_and_flip_equal_torchvision_exactly(augmentation, size):
    images, index = sample_images(40, size), torch.arange(100, 140)
    key = {"seed": 5, "epoch": 2, "view": 1}
    expected = torchvision_augment(images, index, augmentation, **key)
    assert not torch.equal(expected, images)
    assert torch.equal(augment(images, index, augmentation, **key), expected)


@pytest.mark.parametrize("size", [8, 33, 64])
@pytest.mark.parametrize("augmentation", [Augmentation(degrees=15.0), Augmentation(degrees=180.0), MIXED])
def test_rotation_equals_torchvision_up_to_rounding(augmentation, size):
    images, index = sample_images(32, size), torch.arange(32)
    expected = torchvision_augment(images, index, augmentation, seed=1, epoch=0)
    differing = augment(images, index, augmentation, seed=1, epoch=0) != expected
    assert differing.float().mean() <= ROUNDING


@pytest.mark.parametrize("name", ["shift", "crop_flip", "cifar", "tiny_imagenet"])
def test_every_named_augmentation_equals_torchvision(name):
    images, index = sample_images(24), torch.arange(24)
    expected = torchvision_augment(images, index, AUGMENTATIONS[name], seed=3, epoch=7)
    differing = augment(images, index, AUGMENTATIONS[name], seed=3, epoch=7) != expected
    assert differing.float().mean() <= ROUNDING


def test_the_papers_augmentations_have_their_numbers():
    assert AUGMENTATIONS["cifar"] == Augmentation(pad=4, flip=True, degrees=15.0)
    assert AUGMENTATIONS["tiny_imagenet"] == Augmentation(pad=0, flip=True, degrees=20.0)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_an_image_is_the_same_in_any_batch(order, count, seed, epoch):
    images, index = sample_images(12, 8), torch.arange(12)
    whole = augment(images, index, MIXED, seed=seed, epoch=epoch)
    some = torch.tensor(order[:count])
    assert torch.equal(augment(images[some], index[some], MIXED, seed=seed, epoch=epoch), whole[some])


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"view": 1}])
def test_another_seed_epoch_or_view_gives_other_images(change):
    images, index, key = sample_images(50), torch.arange(50), {"seed": 0, "epoch": 0, "view": 0}
    first = augment(images, index, MIXED, **key)
    second = augment(images, index, MIXED, **(key | change))
    differing = (first != second).flatten(1).any(dim=1)
    assert differing.float().mean() > 0.9


def test_two_indices_of_one_image_differ():
    one = sample_images(1).expand(50, -1, -1, -1)
    done = augment(one, torch.arange(50), MIXED, seed=0, epoch=0)
    assert len(torch.unique(done, dim=0)) == 50


def test_seed_epoch_and_view_do_not_stand_in_for_each_other():
    index = np.arange(20)
    keys = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]
    drawn = np.stack([random_numbers(*key, index, count=4) for key in keys])
    assert len(np.unique(drawn)) == drawn.size


def test_random_numbers_are_uniform_and_their_columns_independent():
    drawn = random_numbers(0, 0, 0, np.arange(20_000), count=4)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.T:
        counts = np.histogram(column, bins=20, range=(0, 1))[0]
        assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.03


def test_half_of_the_images_are_flipped():
    assert flipped_rows(4000).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_flips_of_two_epochs_are_independent():
    both = flipped_rows(4000, epoch=0) & flipped_rows(4000, epoch=1)
    assert both.float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_crop_offsets_are_uniform_over_their_whole_range():
    coded = torch.arange(1.0, 50.0).view(1, 1, 7, 7).expand(5000, 1, 7, 7)
    centre = augment(coded, torch.arange(5000), Augmentation(pad=2), seed=0, epoch=0)[:, 0, 3, 3]
    locations, counts = torch.unique(centre, return_counts=True)
    assert locations.tolist() == [1.0 + row * 7 + column for row in range(1, 6) for column in range(1, 6)]
    assert (counts - 200).abs().max() < 5 * 200**0.5


def test_angles_reach_both_ends_and_no_further():
    angles = [parameters(i, MIXED, seed=0, epoch=0)[3] for i in range(500)]
    assert -20 <= min(angles) < -19
    assert 19 < max(angles) <= 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_none_leaves_images_alone(dtype):
    images = sample_images(4, 8).to(dtype)
    done = augment(images, torch.arange(4), AUGMENTATIONS["none"], seed=0, epoch=0)
    assert torch.equal(done, images)
    assert done.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_output_is_like_the_input(dtype):
    images = sample_images(4, 9, channels=1).to(dtype)
    done = augment(images, torch.arange(4), MIXED, seed=0, epoch=0)
    assert (done.shape, done.dtype, done.device) == (images.shape, dtype, images.device)


def test_the_input_is_not_written_to():
    images = sample_images(8)
    before = images.clone()
    augment(images, torch.arange(8), MIXED, seed=0, epoch=0)
    assert torch.equal(images, before)


def test_no_pixel_value_is_invented():
    images = sample_images(16, 12, channels=1)
    done = augment(images, torch.arange(16), MIXED, seed=0, epoch=0)
    for before, after in zip(images, done, strict=True):
        assert set(after.flatten().tolist()) <= {0.0, *before.flatten().tolist()}


@pytest.mark.parametrize("augmentation", [AUGMENTATIONS["crop_flip"], MIXED])
def test_pixels_stay_on_their_device(augmentation):
    """A meta tensor has no values: nothing may read them on the way."""
    images = torch.rand(6, 3, 9, 7, device="meta")
    done = augment(images, torch.arange(6), augmentation, seed=0, epoch=0)
    assert (done.shape, done.device) == (images.shape, images.device)


def test_an_empty_batch_stays_empty():
    nothing = torch.zeros(0, dtype=torch.long)
    assert augment(torch.rand(0, 3, 8, 8), nothing, MIXED, seed=0, epoch=0).shape == (0, 3, 8, 8)
