"""Splits: the test never moves, validation moves with the seed, a limit and noise touch only what they should."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import drkd
from drkd.data import load_data
from drkd.data.augment import AUGMENTATIONS
from drkd.data.stratified import limited
from drkd.utils.errors import InputError

TRAIN, VAL, TEST = 1293, 144, 360


def same(a, b):
    return torch.equal(a.inputs, b.inputs) and torch.equal(a.labels, b.labels)


def shares(labels):
    return torch.bincount(labels, minlength=10) / len(labels)


def changed(noisy, clean):
    return (noisy.labels != clean.labels).sum().item()


def write_fixed_splits(root):
    """Two classes of 30 different images in train, val and test each: no split moves with the seed."""
    for location, split in enumerate(("train", "val", "test")):
        for label, name in enumerate(("left", "right")):
            (root / split / name).mkdir(parents=True)
            for i in range(30):
                Image.new("RGB", (8, 8), (i, label, location)).save(root / split / name / f"{i}.png")
    return root


def rows(split):
    """The samples as a set, each by its pixels."""
    return {tuple(image.flatten().tolist()) for image in split.inputs}


def test_digits_are_the_embedded_ones():
    data = load_data("digits")
    assert (data.channels, data.image_size, data.classes) == (1, 8, tuple("0123456789"))
    assert (len(data.train), len(data.val), len(data.test)) == (TRAIN, VAL, TEST)
    assert data.train.inputs.dtype == torch.uint8
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0, 255)


def test_the_splits_share_no_sample_and_lose_none():
    data = load_data("digits", seed=4)
    parts = [rows(split) for split in (data.train, data.val, data.test)]
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts)) == TRAIN + VAL + TEST


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 2**32 - 1))
def test_the_test_split_does_not_move_with_the_seed(seed):
    assert same(load_data("digits", seed=seed).test, load_data("digits", seed=0).test)


def test_the_test_split_does_not_move_with_limit_or_noise():
    assert same(load_data("digits", limit_train=50, label_noise=0.4).test, load_data("digits").test)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_split_is_stratified(seed):
    data = load_data("digits", seed=seed, limit_train=300)
    everything = shares(torch.cat([load_data("digits", seed=seed).train.labels, data.val.labels, data.test.labels]))
    for split in (data.train, data.val, data.test):
        assert ((shares(split.labels) - everything).abs() * len(split)).max() < 1.5


def test_validation_is_a_tenth_of_the_training_split():
    data = load_data("digits", seed=2)
    assert len(data.val) == pytest.approx((len(data.train) + len(data.val)) / 10, abs=1)


def test_validation_moves_with_the_seed():
    assert not same(load_data("digits", seed=1).val, load_data("digits", seed=2).val)


def test_the_same_seed_gives_the_same_splits():
    first, second = (load_data("digits", seed=7, limit_train=100) for _ in range(2))
    assert same(first.train, second.train)
    assert same(first.val, second.val)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_validation_is_the_same_with_and_without_a_limit(noise):
    limited = load_data("digits", seed=3, limit_train=100, label_noise=noise)
    assert same(limited.val, load_data("digits", seed=3, label_noise=noise).val)


@settings(max_examples=15, deadline=None)
@given(st.integers(10, TRAIN))
@example(TRAIN - 1)
def test_a_limit_is_exact(limit):
    assert len(load_data("digits", limit_train=limit).train) == limit


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.data())
def test_a_limit_keeps_a_sample_of_each_class_and_the_proportions_however_few_there_are(counts, draw):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    size = draw.draw(st.integers(len(counts), len(labels)))
    taken = limited(labels, size, seed=1, what="the split")
    assert len(taken) == len(taken.unique()) == size
    assert torch.equal(taken, limited(labels, size, seed=1, what="the split"))
    shares = labels[taken].bincount(minlength=len(counts))
    assert shares.min() >= 1
    if all(count * size >= len(labels) for count in counts):
        assert (shares - torch.tensor(counts) * size / len(labels)).abs().max() < 1 + 1e-4


def test_a_limit_loses_no_rare_class():
    images, labels = torch.zeros(502, 4, 4, dtype=torch.uint8), torch.tensor([0] * 500 + [1] * 2)
    data = drkd.as_data({"train": (images, labels), "test": (images, labels)}, validation=0, limit_train=10)
    assert data.train.labels.bincount().tolist() == [9, 1]


def test_a_limit_keeps_samples_of_the_training_split():
    whole, limited = load_data("digits", seed=5), load_data("digits", seed=5, limit_train=80)
    assert rows(limited.train) < rows(whole.train)


def test_a_limit_moves_with_the_seed(tmp_path):
    root = write_fixed_splits(tmp_path)
    whole, other = load_data(root, seed=0), load_data(root, seed=1)
    assert same(whole.train, other.train)
    assert rows(load_data(root, seed=0, limit_train=20).train) != rows(load_data(root, seed=1, limit_train=20).train)


def test_a_limit_of_everything_changes_nothing():
    assert same(load_data("digits", limit_train=TRAIN).train, load_data("digits").train)


@pytest.mark.parametrize("limit", [TRAIN + 1, 10**6])
def test_a_limit_above_what_there_is_is_an_error(limit):
    with pytest.raises(InputError, match=f"limit of {limit} training samples exceeds the {TRAIN} there are"):
        load_data("digits", limit_train=limit)


@pytest.mark.parametrize("limit", [-1, 0, 9])
def test_a_limit_that_leaves_a_class_empty_is_an_error(limit):
    with pytest.raises(InputError, match=f"training split needs at least 10 samples, one of each class, got {limit}"):
        load_data("digits", limit_train=limit)


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 0.99), st.integers(0, 1000))
def test_noise_changes_exactly_its_part_of_the_labels(noise, seed):
    noisy, clean = load_data("digits", seed=seed, label_noise=noise), load_data("digits", seed=seed)
    assert changed(noisy.train, clean.train) == round(noise * TRAIN)
    assert changed(noisy.val, clean.val) == round(noise * VAL)
    assert same(noisy.test, clean.test)


def test_noise_leaves_the_images_in_place():
    noisy, clean = load_data("digits", label_noise=0.5), load_data("digits")
    assert torch.equal(noisy.train.inputs, clean.train.inputs)


def test_noise_is_a_part_of_the_limited_split():
    noisy, clean = (load_data("digits", limit_train=200, label_noise=noise) for noise in (0.25, 0.0))
    assert changed(noisy.train, clean.train) == 50


def test_noise_gives_every_other_class_alike():
    noisy, clean = load_data("digits", label_noise=0.9), load_data("digits")
    steps = torch.bincount((noisy.train.labels - clean.train.labels) % 10, minlength=10)[1:]
    assert (steps - 0.1 * TRAIN).abs().max() < 5 * (0.1 * TRAIN) ** 0.5


def test_noise_is_reproducible():
    first, second = (load_data("digits", seed=6, label_noise=0.3) for _ in range(2))
    assert torch.equal(first.train.labels, second.train.labels)


def test_noise_does_not_leak_into_later_calls():
    before = load_data("digits").train.labels.clone()
    load_data("digits", label_noise=0.9)
    assert torch.equal(load_data("digits").train.labels, before)


def test_noise_does_not_leak_into_splits_that_never_move(tmp_path):
    root = write_fixed_splits(tmp_path)
    before = load_data(root)
    kept = before.train.labels.clone(), before.val.labels.clone()
    noisy = load_data(root, label_noise=0.5)
    assert changed(noisy.train, before.train) == changed(noisy.val, before.val) == 30
    for split, labels in zip((load_data(root).train, load_data(root).val), kept, strict=True):
        assert torch.equal(split.labels, labels)


def test_noise_moves_with_the_seed_and_differs_between_splits(tmp_path):
    root = write_fixed_splits(tmp_path)
    first, second = (load_data(root, seed=seed, label_noise=0.5) for seed in (0, 1))
    assert not torch.equal(first.train.labels, second.train.labels)
    assert not torch.equal(first.train.labels, first.val.labels)


def test_mean_and_deviation_are_of_the_whole_training_split():
    data, limited = load_data("digits", seed=1), load_data("digits", seed=1, limit_train=100)
    pixels = data.train.inputs.double() / 255
    assert data.mean == pytest.approx((pixels.mean().item(),), abs=1e-6)
    assert data.std == pytest.approx((pixels.std().item(),), abs=1e-6)
    assert (limited.mean, limited.std) == (data.mean, data.std)


def test_the_augmentation_is_the_usual_one_or_the_one_asked_for():
    assert load_data("digits").augmentation == AUGMENTATIONS["shift"]
    assert load_data("digits", augment="none").augmentation == AUGMENTATIONS["none"]


@pytest.mark.parametrize(("name", "meant"), [("digit", "digits"), ("cifar-10", "cifar10"), ("cifar_100", "cifar100")])
def test_an_unknown_name_asks_did_you_mean(name, meant):
    with pytest.raises(InputError, match=rf"'{name}'; did you mean {meant}\?"):
        load_data(name)


def test_a_name_like_no_other_points_to_the_list():
    with pytest.raises(InputError, match="drkd list datasets"):
        load_data("no/such/folder")


@pytest.mark.parametrize("noise", [-0.1, 1.0, 1.5, float("nan")])
def test_noise_out_of_range_is_an_error(noise):
    with pytest.raises(InputError, match=rf"\[0, 1\), got {noise}"):
        load_data("digits", label_noise=noise)


def test_an_unknown_augmentation_lists_the_known_ones():
    with pytest.raises(InputError, match="'mixup'; choose from none, shift, crop_flip, cifar, tiny_imagenet"):
        load_data("digits", augment="mixup")


def test_digits_can_be_enlarged_for_networks_that_need_it():
    small, large = load_data("digits"), load_data("digits", image_size=32)
    assert large.test.inputs.shape == (360, 1, 32, 32)
    assert torch.equal(small.test.labels, large.test.labels)
    shrunk = torch.nn.functional.avg_pool2d(large.test.inputs.float(), 4)
    both = torch.stack([shrunk.flatten(), small.test.inputs.float().flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.95


def test_without_validation_everything_is_trained_on():
    data = load_data("digits", validation=0)
    assert (len(data.train), len(data.val), len(data.test)) == (1437, 0, 360)
    with pytest.raises(InputError, match="val split of digits is empty"):
        drkd.evaluate(torch.nn.Flatten(), data, "val")


def test_without_validation_the_files_own_is_unused_and_the_last_epoch_is_kept(tmp_path):
    data = load_data(write_fixed_splits(tmp_path), validation=0)
    assert (len(data.train), len(data.val), len(data.test)) == (60, 0, 60)
    torch.manual_seed(0)
    student = drkd.create_model("mlp", num_classes=2, image_size=data.image_size, channels=data.channels)
    assert drkd.fit(student, drkd.cross_entropy(), data, epochs=3, lr=1e-6).best_epoch == 2


def test_the_validation_fraction_can_be_chosen():
    assert len(load_data("digits", validation=0.2).val) == 288
    with pytest.raises(InputError, match=r"must lie in \[0, 1\), got 1.5"):
        load_data("digits", validation=1.5)


def test_a_limited_test_split_is_stratified_and_the_same_for_every_seed():
    tests = [load_data("digits", limit_test=40, seed=seed).test for seed in (0, 7)]
    assert torch.equal(tests[0].inputs, tests[1].inputs)
    assert torch.bincount(tests[0].labels).tolist() == [4] * 10
    with pytest.raises(InputError, match="limit of 361 test samples exceeds the 360"):
        load_data("digits", limit_test=361)


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet", "cifar10"])
def test_a_named_data_set_that_is_not_there_says_where_it_is_expected(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = {"tiny_imagenet": "data/tiny-imagenet-200", "imagenet": "data/imagenet", "cifar10": "data/cifar-10"}[
        name
    ]
    with pytest.raises(InputError, match=location):
        load_data(name)


@pytest.mark.parametrize(
    ("name", "location"), [("cifar10", "data/cifar-10-batches-py"), ("cifar100", "data/cifar-100-python")]
)
def test_missing_cifar_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch, name, location):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{name} is not at {location}.*--download"):
        load_data(name)
    assert list(tmp_path.iterdir()) == []
