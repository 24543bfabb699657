"""From a name or a path to the three splits of a run.

The test split is the same for every seed. The run's seed fixes what is held out for validation, which samples a limit
keeps and which labels noise changes; noise changes training and validation labels, never those of the test split.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from drkd.data import layouts, readers
from drkd.data.augment import Augmentation
from drkd.data.augment_names import parse_augmentation
from drkd.data.by_name import draw_test, draw_validation
from drkd.data.images import LazyImages
from drkd.data.preprocessing import Preprocessing
from drkd.data.problems import named
from drkd.data.record import DataRecord, FileRecord, rows_hash, with_splits
from drkd.data.statistics import measure_statistics
from drkd.data.stratified import limited, stratified, with_noise
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.text import counted

DATASETS = {
    "digits": "scikit-learn's handwritten digits: 1,797 grey 8x8 images, 10 classes, embedded",
    "cifar10": "CIFAR-10 under ./data, 32x32, 10 classes (torchvision; --download fetches it)",
    "cifar100": "CIFAR-100 under ./data, 32x32, 100 classes (torchvision; --download fetches it)",
    "tiny_imagenet": "Tiny ImageNet as published under ./data/tiny-imagenet-200, 64x64, 200 classes",
    "imagenet": "ImageNet-1k under ./data/imagenet, train/<wnid> and val/<wnid>, 224x224, 1000 classes",
    "FOLDER": "a folder per class, under train/val/test or directly; Tiny ImageNet as published; Parquet files",
}
"""Names that `load_data` knows, with a description of one line."""

VALIDATION = 0.1
"""Fraction of the training split that is held out for validation by default."""


@dataclass(frozen=True)
class Split:
    """Samples: `inputs` uint8 (N, C, H, W), in memory or decoded on demand, and `labels` int64 (N,).

    Inputs of another dtype are not images (see `from_tensors`) and are served unchanged. `names` are the paths of image
    files inside the data's folder. `probs` (N, K) are label distributions from several annotators' votes; training
    learns from them, and everything else uses the class with most votes in `labels`. `origins` say where samples that
    are no files came from: a file and its row, or a split as it was read and its row.
    """

    inputs: Tensor | LazyImages
    labels: Tensor
    names: Sequence[str] = ()
    probs: Tensor | None = None
    origins: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> "Split":
        """Some of the samples, renumbered from 0."""
        if not isinstance(index, Tensor) or index.is_floating_point() or index.is_complex() or index.dim() != 1:
            came = f"{index.dtype} {tuple(index.shape)}" if isinstance(index, Tensor) else type(index).__name__
            raise InputError(f"`select` needs a tensor of positions (N,), got {came}; pass torch.as_tensor")
        if index.dtype != torch.bool and len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise InputError(
                f"`select` needs positions from 0 to {len(self) - 1}, got {int(index.min())} to {int(index.max())}"
            )
        index = index.nonzero().flatten() if index.dtype == torch.bool else index
        inputs = self.inputs.select(index) if isinstance(self.inputs, LazyImages) else self.inputs[index]
        rows = index.tolist()
        names, origins = ([known[row] for row in rows] if known else () for known in (self.names, self.origins))
        return Split(inputs, self.labels[index], names, None if self.probs is None else self.probs[index], origins)


@dataclass(frozen=True)
class Data:
    """A data set, ready for a run.

    Attributes:
        name: the name or path that it was loaded by.
        classes: class names, in the order of the labels.
        train, val, test: the splits.
        augmentation: applied to training images.
        mean, std: per channel, as fractions of full brightness.
        margin: how much larger than `image_size` images are scaled before their centre is cropped.
        interpolation: by which they are scaled, `bilinear` or `bicubic`.
        skipped_images: unreadable images of each split that were skipped; see `load_data`.
        record: what a run records of it, to detect changed data.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    augmentation: Augmentation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    margin: float = 1.0
    interpolation: str = "bilinear"
    skipped_images: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(("train", "val", "test"), 0))
    record: DataRecord | None = None

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.train.inputs.shape[1])

    @property
    def image_size(self) -> int:
        """Side length of the images."""
        return int(self.train.inputs.shape[-1])


def load_data(
    name: str | Path = "digits",
    *,
    seed: int = 0,
    validation: float = VALIDATION,
    limit_train: int | None = None,
    limit_test: int | None = None,
    label_noise: float = 0.0,
    image_size: int | Preprocessing | None = None,
    augment: str | None = None,
    download: bool = False,
    skip_bad_images: bool = False,
) -> Data:
    """Read a data set and split it for the run with `seed`.

    Args:
        name: one of `DATASETS`, or the path of a folder.
        seed: fixes the validation split, what a limit keeps of the training split, the noise.
        validation: fraction of the training split that is held out if the files have no validation split; 0 for none,
            whatever the files have. For a folder per class it is drawn file by file, by a hash of name and seed, like
            the 20% for testing if there is neither a test nor a validation split; otherwise it is stratified.
        limit_train: keep this many training samples, stratified; validation and test stay whole.
        limit_test: keep this many test samples, stratified; the same for every seed.
        label_noise: fraction of the training and validation labels that is replaced by another class.
        image_size: scale and crop images to this side length, or as a network wants them (its mean and deviation
            replace the data's); by default their own.
        augment: see `drkd.data.augment_names.parse_augmentation`; the data set's usual one by default.
        download: let torchvision download a missing data set.
        skip_bad_images: skip unreadable images, with a warning; they are counted in `skipped_images`.

    Raises:
        InputError: for an unknown name, missing files, limits that leave a class empty, and unreadable images, all of
            them at once. For images decoded on demand only headers are read at first.

    Example:
        >>> data = load_data("digits", limit_train=200)
        >>> len(data.train), len(data.val), len(data.test), data.image_size
        (200, 144, 360, 8)
    """
    check_arguments(load_data, locals())
    how = Division(seed, validation, limit_train, limit_test, label_noise)
    chosen = None if augment is None else parse_augmentation(augment)
    files = layouts.list_files(str(name))
    listed = f"{Path(name).resolve()} {DataRecord((), files).fingerprint}"
    wanted = image_size if isinstance(image_size, Preprocessing) else Preprocessing(image_size)
    raw = _read(str(name), replace(wanted, mean=None, std=None), download, skip_bad_images, listed)
    if download:
        files = layouts.list_files(str(name))
    return divided(str(name), raw, wanted, how, augmentation=chosen, files=files)


@dataclass(frozen=True)
class Division:
    """How a data set is divided; see `load_data`.

    Raises:
        InputError: for fractions out of range.
    """

    seed: int = 0
    validation: float = VALIDATION
    limit_train: int | None = None
    limit_test: int | None = None
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_noise < 1:
            raise InputError(f"label noise must lie in [0, 1), got {self.label_noise}")
        if not 0 <= self.validation < 1:
            raise InputError(f"the validation fraction must lie in [0, 1), got {self.validation}")


def divided(
    name: str,
    raw: readers.Raw,
    wanted: Preprocessing,
    how: Division,
    *,
    augmentation: Augmentation | None,
    files: Mapping[str, FileRecord],
) -> Data:
    """A data set as it was found, divided for a run.

    Args:
        name: what it is called.
        raw: its images and labels.
        wanted: how a network wants its images.
        how: it is divided.
        augmentation: in place of its usual one.
        files: what it was read from.
    """
    splits, skipped = divide(raw, validation=how.validation, seed=how.seed)
    left_out = [problem for problems in raw.left_out.values() for problem in problems]
    if left_out:
        counts = ", ".join(f"{split} {count}" for split, count in skipped.items())
        warnings.warn(
            f"left out: {counted(len(left_out), 'unreadable image')} ({counts}): {named(left_out)}", stacklevel=3
        )
    images = splits["train"].inputs
    mean, std = wanted.statistics(int(images.shape[1])) or raw.statistics or measure_statistics(images)
    splits["train"] = _limited(splits["train"], how.limit_train, seed=how.seed, what="training")
    splits["test"] = _limited(splits["test"], how.limit_test, seed=0, what="test")
    files = with_splits(files, {split: samples.names for split, samples in splits.items()})
    record = DataRecord(raw.classes, files, "" if raw.names.get("train") else rows_hash(splits))
    if how.label_noise and any(split.probs is not None for split in splits.values()):
        raise InputError(f"{name} has annotators' votes, which label noise does not change; leave --label-noise out")
    for stream, split in enumerate(("train", "val")):
        noisy = with_noise(splits[split].labels, how.label_noise, len(raw.classes), seed=[how.seed, stream])
        splits[split] = replace(splits[split], labels=noisy)
    usual = raw.augmentation if isinstance(raw.augmentation, Augmentation) else parse_augmentation(raw.augmentation)
    return Data(
        name,
        raw.classes,
        **splits,
        augmentation=augmentation or usual,
        mean=mean,
        std=std,
        margin=raw.margin,
        interpolation=raw.interpolation,
        skipped_images=skipped,
        record=record,
    )


def divide(raw: readers.Raw, *, validation: float, seed: int) -> tuple[dict[str, Split], dict[str, int]]:
    """The three splits of a data set, and how many images each lost: those of its own files where it has any.

    Raises:
        InputError: if a class has too few samples to be divided.
    """
    splits = {
        split: Split(*samples, raw.names.get(split, ()), raw.probs.get(split), raw.origins_of(split))
        for split, samples in raw.splits.items()
    }
    skipped = {split: len(problems) for split, problems in raw.left_out.items()}
    if "test" not in splits and "val" in splits:
        splits["test"], skipped["test"] = splits.pop("val"), skipped.pop("val", 0)
    train, keys = splits["train"], raw.keys
    if "test" not in splits:
        if keys:
            rest, taken = draw_test(keys, raw.fixed_test, train.labels, raw.classes)
            keys = [keys[row] for row in rest.tolist()]
        else:
            rest, taken = stratified(train.labels, raw.fixed_test, seed=0, what="the test split")
        train, splits["test"] = train.select(rest), train.select(taken)
    splits["train"] = train
    if validation == 0:
        splits["val"] = train.select(torch.arange(0))
    elif "val" not in splits and keys:
        rest, taken = draw_validation(keys, validation, train.labels, raw.classes, seed=seed)
        splits["train"], splits["val"] = train.select(rest), train.select(taken)
    elif "val" not in splits:
        splits["train"], splits["val"] = hold_out(train, validation, seed=seed)
    return splits, {split: skipped.get(split, 0) for split in ("train", "val", "test")}


def hold_out(train: Split, fraction: float, *, seed: int) -> tuple[Split, Split]:
    """The rest of the training split, and the validation split taken from it, stratified.

    Raises:
        InputError: if a class has too few samples to be divided.
    """
    advice = "choose another --validation (0: none)"
    rest, taken = stratified(train.labels, fraction, seed=seed, what="the validation split", advice=advice)
    return train.select(rest), train.select(taken)


@lru_cache(maxsize=2)
def _read(name: str, wanted: Preprocessing, download: bool, skip_bad_images: bool, listed: str) -> readers.Raw:
    del listed  # other files, or files that have changed, are read again
    return readers.read(name, wanted, download=download, skip_bad_images=skip_bad_images)


def _limited(split: Split, limit: int | None, *, seed: int, what: str) -> Split:
    """`limit` of the samples, stratified; all of them without a limit."""
    if limit is None or limit == len(split):
        return split
    if limit > len(split):
        raise InputError(f"the limit of {limit} {what} samples exceeds the {len(split)} there are")
    return split.select(limited(split.labels, limit, seed=seed, what=f"the limited {what} split"))
