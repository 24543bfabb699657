"""Augmentation and batches are bitwise those of the oracle that makes them one at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd.data import loader as loader_module
from drkd.data.augment import AUGMENTATIONS, Augmentation, augment
from drkd.data.datasets import Data, Split
from drkd.data.loader import Loader
from oracles import serving

NAMED = [AUGMENTATIONS[name] for name in ("none", "shift", "crop_flip", "cifar", "tiny_imagenet")]
DTYPES = (torch.float32, torch.float64)
property_of = settings(max_examples=150, deadline=None, derandomize=True)

augmentations = st.one_of(
    st.sampled_from(NAMED),
    st.builds(Augmentation, pad=st.integers(0, 6), flip=st.booleans(), degrees=st.sampled_from([0.0, 15.0, 180.0])),
)
sides, channels = st.integers(1, 40), st.integers(1, 4)
seeds, epochs = st.integers(0, 2**40), st.integers(0, 1000)
needs = st.sets(st.just("replay")).map(frozenset)


def random_bytes(count, channels, height, width):
    draw = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, channels, height, width), generator=draw, dtype=torch.uint8)


def same_bits(ours, theirs):
    return ours.dtype == theirs.dtype and ours.shape == theirs.shape and torch.equal(ours, theirs)


def make_loader(split, augmentation, **options):
    channels = split.inputs.shape[1]
    mean, std = (0.4914, 0.4822, 0.4465, 0.3)[:channels], (0.2471, 0.2435, 0.2616, 0.3)[:channels]
    data = Data("noise", tuple("abcde"), split, split, split, augmentation=augmentation, mean=mean, std=std)
    return Loader(data, split, **options)


@property_of
@given(augmentations, sides, sides, channels, st.lists(st.integers(0, 10**9), max_size=9), seeds, epochs, st.data())
def test_any_image_is_augmented_as_the_oracle_does(augmentation, height, width, channels, index, seed, epoch, data):
    views = data.draw(st.lists(st.integers(0, 3), min_size=len(index), max_size=len(index)))
    pixels, index = random_bytes(len(index), channels, height, width), torch.tensor(index, dtype=torch.int64)
    for dtype in DTYPES:
        images = pixels.to(dtype) / 255
        ours = augment(images, index, augmentation, seed=seed, epoch=epoch, view=torch.tensor(views).long().numpy())
        for row, view in enumerate(views):
            one = slice(row, row + 1)
            theirs = serving.augment(images[one], index[one], augmentation, seed=seed, epoch=epoch, view=view)
            assert same_bits(ours[one], theirs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16, torch.float16])
def test_images_of_any_dtype_are_cropped_and_flipped_exactly(dtype):
    pixels, index = random_bytes(40, 3, 9, 14), torch.arange(40)
    for augmentation in (AUGMENTATIONS["shift"], AUGMENTATIONS["crop_flip"]):
        theirs = serving.augment(pixels.float(), index, augmentation, seed=3, epoch=1)
        assert same_bits(augment(pixels.to(dtype), index, augmentation, seed=3, epoch=1), theirs.to(dtype))


@pytest.mark.parametrize(("count", "side"), [(128, 32), (128, 64), (4, 224)])
@pytest.mark.parametrize("augmentation", NAMED)
def test_batches_of_usual_sizes_are_augmented_as_the_oracle_does(augmentation, count, side):
    images, index = random_bytes(count, 3, side, side) / 255, torch.arange(count)
    ours, theirs = (made(images, index, augmentation, seed=1, epoch=2) for made in (augment, serving.augment))
    assert same_bits(ours, theirs)


@property_of
@given(
    augmentations,
    st.integers(1, 60),
    st.integers(4, 20),
    sides,
    channels,
    needs,
    st.integers(1, 4),
    seeds,
    epochs,
    st.data(),
)
def test_any_batch_of_any_epoch_is_the_oracles(
    augmentation, count, size, height, channels, needs, ranks, seed, epoch, data
):
    """However many batches are made at a time, and from whichever on."""
    split = Split(random_bytes(count, channels, height, 7), torch.arange(count) % 5)
    rank, training = data.draw(st.integers(0, ranks - 1)), data.draw(st.booleans())
    options = {"batch_size": size, "training": training, "seed": seed, "needs": needs}
    loader = make_loader(split, augmentation, rank=rank, world_size=ranks, **options)
    start = data.draw(st.integers(0, len(loader) - 1))
    shown = augmentation if training else Augmentation()
    for at in (epoch, epoch + 1):
        theirs = list(serving.batches(loader, at, shown))[start:]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loader_module, "BLOCK_BYTES", data.draw(st.sampled_from([0, 10_000, 2**20])))
            ours = list(loader.batches(at, start))
        assert len(ours) == len(theirs)
        for batch, expected in zip(ours, theirs, strict=True):
            assert all(same_bits(own, other) for own, other in zip(batch[:3], expected, strict=True))


def test_batches_made_together_share_no_inputs():
    split = Split(random_bytes(20, 1, 3, 5), torch.arange(20) % 5)
    batches = list(make_loader(split, AUGMENTATIONS["shift"], batch_size=6, training=True).batches())
    assert len({batch.inputs.untyped_storage().data_ptr() for batch in batches}) == len(batches) > 1
    assert all(batch.inputs.data_ptr() % 64 == 0 for batch in batches)
