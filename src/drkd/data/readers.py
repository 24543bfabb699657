"""Readers: one function per layout, from files to a `Raw` data set."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from drkd.data.augment import Augmentation
from drkd.data.images import LazyImages, common_size, load_images
from drkd.data.layouts import LISTINGS, find_layout
from drkd.data.listing import Listing, judge_classes, keys_of, origins_of
from drkd.data.preprocessing import Preprocessing, scaled
from drkd.data.problems import Problem, describe_problems, refuse
from drkd.data.record import relative_name
from drkd.data.votes import votes_of
from drkd.utils.errors import InputError

Images = Tensor | LazyImages
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

MIXED_SIZE = 64
"""Default side length for images of differing sizes."""

DIFFER = (
    f"the images differ in size or are not square: scaled and cropped to {MIXED_SIZE}x{MIXED_SIZE}; choose with "
    "--image-size"
)

CIFAR_STATISTICS: Statistics = ((0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615))
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TINY_STATISTICS: Statistics = ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))


@dataclass(frozen=True)
class Raw:
    """A data set as it was found: images and labels by split (`train`, and `val` or `test` where there are any).

    Attributes:
        classes: class names, in the order of the labels.
        splits: (images uint8 (N, C, H, W), labels int64 (N,)) by name.
        augmentation: its usual augmentation, or the name of it.
        statistics: mean and deviation per channel, as fractions of full brightness; None to measure them.
        margin, interpolation: see `drkd.data.images.LazyImages`.
        fixed_test: number of samples that make up the test split where the files bring none.
        left_out: images that could not be read and were left out, by split.
        names: the images' paths below the data's folder, by split; empty where they are no files.
        probs: of splits whose images annotators voted on, the distributions of votes (N, K).
        keys: what training images are divided by where a split is missing, their paths within the class folders;
            without them the division is stratified.
        origins: table and row of images that are in tables, by split.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[Images, Tensor]]
    augmentation: str | Augmentation = "crop_flip"
    statistics: Statistics | None = None
    margin: float = 1.0
    interpolation: str = "bilinear"
    fixed_test: float | int = 0.2
    left_out: Mapping[str, list[Problem]] = field(default_factory=dict)
    names: Mapping[str, list[str]] = field(default_factory=dict)
    keys: Sequence[str] = ()
    probs: Mapping[str, Tensor] = field(default_factory=dict)
    origins: Mapping[str, list[str]] = field(default_factory=dict)

    def origins_of(self, split: str) -> list[str]:
        """Where each image of a split is, if it is no file."""
        numbered = () if self.names.get(split) else range(len(self.splits[split][1]))
        return self.origins.get(split) or [f"{split} {row}" for row in numbered]


def read_digits(wanted: Preprocessing) -> Raw:
    """scikit-learn's 1,797 handwritten digits, 8x8, grey: embedded, nothing to fetch."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    splits: dict[str, tuple[Images, Tensor]] = {"train": (scaled(images, wanted), labels)}
    return _as_wanted(Raw(tuple("0123456789"), splits, "shift", fixed_test=360), wanted)


def read_cifar(name: str, root: Path, download: bool, wanted: Preprocessing) -> Raw:
    """CIFAR-10 or CIFAR-100 in the original Python layout, through torchvision."""
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    location = root / kind.base_folder
    try:
        parts = {split: kind(str(root), train=split == "train", download=download) for split in ("train", "test")}
    except (RuntimeError, OSError) as reason:
        tried = "tried to download it: " + str(reason) if download else "--download was not given"
        state = "is damaged or incomplete" if location.is_dir() else "is not"
        raise InputError(
            f"{name} {state} at {location} ({tried}); run again with --download with network access, unpack the "
            f"archive from its home page there, or give --data a folder with it or with Parquet files"
        ) from reason
    splits: dict[str, tuple[Images, Tensor]] = {}
    for split, part in parts.items():
        images = scaled(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), wanted)
        labels = torch.tensor(part.targets)
        if labels.min() < 0 or labels.max() >= len(part.classes):
            raise InputError(
                f"{location} has labels from {labels.min()} to {labels.max()} for {len(part.classes)} classes in its "
                f"{split} split; unpack the archive again"
            )
        splits[split] = (images, labels)
    return _as_wanted(Raw(tuple(parts["train"].classes), splits, "cifar", CIFAR_STATISTICS), wanted)


def _as_wanted(raw: Raw, wanted: Preprocessing) -> Raw:
    """`raw`, marked as cropped and scaled as wanted."""
    return replace(raw, margin=wanted.margin or raw.margin, interpolation=wanted.interpolation or raw.interpolation)


def read(
    name: str, image_size: int | Preprocessing | None = None, *, download: bool = False, skip_bad_images: bool = False
) -> Raw:
    """The data set that a name or a path stands for.

    Args:
        name: one of `BY_NAME`, or the path of a folder.
        image_size: scale and crop images to this side length, or as a network wants them; their own by default.
        download: let torchvision fetch CIFAR.
        skip_bad_images: leave out images that cannot be read.

    Raises:
        InputError: for whatever `drkd check` calls an error; all images that cannot be read together.
    """
    layout, root = find_layout(name)
    wanted = image_size if isinstance(image_size, Preprocessing) else Preprocessing(image_size)
    if layout == "digits":
        return read_digits(wanted)
    if layout in ("cifar10", "cifar100"):
        return read_cifar(layout, root, download, wanted)
    listing = LISTINGS[layout](root, refuse)
    advice = (
        "remove or replace {}, train with --skip-bad-images to leave {} out, or list every problem with "
        + f"`drkd check {name}`"
    )
    if layout == "tiny_imagenet":
        wanted = replace(wanted, image_size=wanted.image_size or 64)
        return _decoded(root, listing, wanted, skip_bad_images, advice, "tiny_imagenet", TINY_STATISTICS)
    if layout == "imagenet":
        # a random part of the whole image is scaled for training; for measuring, 256/224 of the size is cropped
        wanted = replace(wanted, image_size=wanted.image_size or 224, margin=wanted.margin or 256 / 224)
        return _decoded(root, listing, wanted, skip_bad_images, advice, "imagenet", IMAGENET_STATISTICS, lazy=True)
    return _decoded(root, listing, wanted, skip_bad_images, advice)


def _decoded(
    root: Path,
    listing: Listing,
    wanted: Preprocessing,
    skip: bool,
    advice: str,
    augmentation: str = "crop_flip",
    statistics: Statistics | None = None,
    *,
    lazy: bool = False,
) -> Raw:
    """The images of a listing; what cannot be read is left out, or refused all at once."""
    samples = {split: list(part) for split, part in listing.splits.items()}
    size = wanted.image_size
    if size is None:
        size = common_size([source for part in samples.values() for source, _ in part])
    splits: dict[str, tuple[Images, Tensor]] = {}
    left_out: dict[str, list[Problem]] = {}
    for split, part in samples.items():
        failed: dict[int, Problem] = {}
        images = load_images(
            [source for source, _ in part],
            size or MIXED_SIZE,
            margin=wanted.margin or 1.0,
            interpolation=wanted.interpolation or "bilinear",
            lazy=lazy,
            failed=failed,
            thorough=skip,
        )
        labels = torch.tensor([label for _, label in part])
        if failed:
            kept = torch.tensor([row for row in range(len(part)) if row not in failed], dtype=torch.int64)
            images = images.select(kept) if isinstance(images, LazyImages) else images[kept]
            labels = labels[kept]
            samples[split] = [part[row] for row in kept.tolist()]
        splits[split] = (images, labels)
        left_out[split] = list(failed.values())
    bad = [problem for problems in left_out.values() for problem in problems]
    if bad and not skip:
        raise InputError(describe_problems(bad, advice))
    for split, (_, labels) in splits.items():
        if not len(labels):
            raise InputError(f"no image of the {split} split can be read: {describe_problems(left_out[split])}")
    if found := judge_classes("the training split", "train", listing.classes, splits["train"][1].tolist()):
        refuse(found)
    if size is None:
        warnings.warn(DIFFER, stacklevel=2)
    names = {
        split: [relative_name(source, root) for source, _ in part if isinstance(source, Path)]
        for split, part in samples.items()
    }
    keys, votes = keys_of(samples["train"], listing), votes_of(samples, len(listing.classes))
    raw = Raw(listing.classes, splits, augmentation, statistics, left_out=left_out, names=names, keys=keys)
    origins = {split: origins_of(part, root) for split, part in samples.items()}
    return replace(_as_wanted(raw, wanted), probs=votes, origins=origins)
