"""A loader serves what the parts of an augmentation make of each image, in any batch, from memory or from files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import drkd
from drkd.data.augment import OF_CROP, augment, random_numbers, with_smallest_area
from drkd.data.augment_names import parse_augmentation
from drkd.data.datasets import Split
from drkd.data.decoding import decode
from drkd.data.images import LazyImages, random_crops
from drkd.data.loader import Loader
from drkd.data.operations import erase, operate
from drkd.utils.errors import InputError

AUGMENT = "cifar+resized_crop:0.4+randaugment:2,20+jitter:0.3+erasing"
KEY = {"seed": 3, "epoch": 2}


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=60, augment=AUGMENT)


def served(data, split, **options):
    """Images by their index."""
    loader = Loader(data, split, **{"batch_size": 20, "training": True, "seed": KEY["seed"], **options})
    batches = list(loader.batches(KEY["epoch"]))
    return torch.cat([b.inputs for b in batches])[torch.cat([b.index for b in batches]).argsort()]


def test_the_parts_in_their_order_make_the_images(data):
    how, index = data.augmentation, torch.arange(len(data.train))
    uniforms = random_numbers(KEY["seed"], KEY["epoch"], 0, index.numpy(), count=how.numbers)
    images = random_crops(data.train.inputs, index, with_smallest_area(uniforms[:, OF_CROP], how.smallest_area))
    images = operate(augment(images.float(), index, how, **KEY).to(torch.uint8), uniforms, how)
    images = images.float().div(255).sub(data.mean[0]).div(data.std[0])
    assert torch.equal(served(data, data.train), erase(images, uniforms, how.erasing))


def test_batches_ranks_and_files_change_no_image(data, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(60)]
    for file, pixels in zip(files, data.train.inputs, strict=True):
        Image.fromarray(pixels[0].numpy()).save(file)
    lazy = Split(LazyImages(files, 8, 1), data.train.labels)
    plain = replace(data, augmentation=replace(data.augmentation, resized_crop=False))  # Pillow scales otherwise
    whole = served(plain, plain.train)
    assert torch.equal(served(plain, plain.train, batch_size=7), whole)
    for workers in (0, 3):
        assert torch.equal(served(plain, lazy, workers=workers), whole)
    loader = Loader(plain, plain.train, batch_size=20, training=True, seed=KEY["seed"], rank=1, world_size=2)
    for batch in loader.batches(KEY["epoch"]):
        assert torch.equal(batch.inputs, whole[batch.index])


@pytest.mark.parametrize("workers", [0, 3])
def test_files_are_cropped_as_the_numbers_of_their_view_say(data, tmp_path, workers):
    files = [tmp_path / f"{number}.png" for number in range(60)]
    for file, pixels in zip(files, data.train.inputs, strict=True):
        Image.fromarray(pixels[0].numpy()).resize((30, 20)).save(file)
    how = parse_augmentation("resized_crop:0.4")
    uniforms = random_numbers(KEY["seed"], KEY["epoch"], 0, np.arange(60), count=how.numbers)
    crops = with_smallest_area(uniforms[:, OF_CROP], how.smallest_area)
    pixels = torch.from_numpy(np.stack([decode(file, 8, 1, 1.0, one) for file, one in zip(files, crops, strict=True)]))
    lazy = Split(LazyImages(files, 8, 1), data.train.labels)
    found = served(replace(data, augmentation=how), lazy, workers=workers, batch_size=7)
    assert torch.equal(found, pixels.float().div(255).sub(data.mean[0]).div(data.std[0]))


def test_all_bad_images_of_a_batch_are_named(data, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(3)]
    Image.new("L", (8, 8)).save(files[0])
    files[1].write_bytes(b"no image")
    files[2].write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.png") as raised:
        list(Loader(data, Split(LazyImages(files, 8, 1), torch.zeros(3).long()), batch_size=3, training=True).batches())
    assert "2.png" in str(raised.value)
    assert "0.png" not in str(raised.value)


def test_other_splits_and_other_epochs(data):
    again = served(data, data.train)
    assert torch.equal(served(data, data.train), again)
    assert not torch.equal(served(data, data.train, seed=4), again)
    expected = data.val.inputs.float().div(255).sub(data.mean[0]).div(data.std[0])
    assert torch.equal(served(data, data.val, training=False), expected)


def test_smaller_crops_are_no_smaller_than_asked():
    uniforms = with_smallest_area(random_numbers(0, 0, 0, torch.arange(200).numpy(), count=57)[:, OF_CROP], 0.5)
    boxes = [drkd.data.augment.crop_box(numbers, 100, 100) for numbers in uniforms]
    areas = torch.tensor([width * height for _, _, width, height in boxes]) / 1e4
    assert 0.49 < areas.min() < 0.55
    assert areas.max() > 0.95
