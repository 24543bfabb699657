"""Readers: one function per layout, from files to a `Raw` data set."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drkd.data.images import LazyImages, Source, common_size, load_images
from drkd.errors import InputError

Images = Tensor | LazyImages
Statistics = tuple[tuple[float, ...], tuple[float, ...]]

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
MIXED_SIZE = 64
"""Side length for pictures of differing sizes where none is asked for."""

CIFAR_STATISTICS: Statistics = ((0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615))
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TINY_STATISTICS: Statistics = ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262))


@dataclass(frozen=True)
class Raw:
    """A data set as it was found: pictures and labels by split (`train`, and `val` or `test` where there are any).

    Attributes:
        classes: class names, in the order of the labels.
        splits: (images uint8 (N, C, H, W), labels int64 (N,)) by name.
        augmentation: the name of its usual augmentation.
        statistics: mean and deviation per channel, as fractions of full brightness; None to measure them.
        fixed_test: number of samples that make up the test split where the files bring none.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[Images, Tensor]]
    augmentation: str = "crop_flip"
    statistics: Statistics | None = None
    fixed_test: float | int = field(default=0.2)


def read_digits(image_size: int | None = None) -> Raw:
    """scikit-learn's 1,797 handwritten digits, 8x8, grey: embedded, nothing to fetch."""
    from sklearn.datasets import load_digits
    from torchvision.transforms.v2.functional import resize

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    if image_size not in (None, 8):
        images = resize(images, [image_size, image_size])
    labels = torch.from_numpy(digits.target).long()
    return Raw(tuple("0123456789"), {"train": (images, labels)}, "shift", fixed_test=360)


def read_cifar(name: str, root: Path, download: bool, image_size: int | None = None) -> Raw:
    """CIFAR-10 or CIFAR-100 in the original Python layout, through torchvision."""
    from torchvision import datasets
    from torchvision.transforms.v2.functional import resize

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    place = root / kind.base_folder
    try:
        parts = {split: kind(str(root), train=split == "train", download=download) for split in ("train", "test")}
    except (RuntimeError, OSError) as reason:
        tried = "tried to download it: " + str(reason) if download else "downloading was not asked for"
        raise InputError(
            f"{name} is not at {place} ({tried}); run again with --download where there is a network, unpack the "
            f"archive from its home page there, or give --data a folder with it or with Parquet files"
        ) from reason
    splits: dict[str, tuple[Images, Tensor]] = {}
    for split, part in parts.items():
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        if image_size not in (None, 32):
            images = resize(images, [image_size, image_size])
        splits[split] = (images, torch.tensor(part.targets))
    return Raw(tuple(parts["train"].classes), splits, "cifar", CIFAR_STATISTICS)


def read_tiny_imagenet(root: Path, image_size: int | None) -> Raw:
    """Tiny ImageNet as published: `wnids.txt`, `train/<wnid>/images/*`, `val/images/*` with `val_annotations.txt`.

    Its labelled `val` is the test split; its `test` bears no labels.
    """
    if not (root / "wnids.txt").is_file():
        raise InputError(
            f"tiny_imagenet is expected at {root} (wnids.txt, words.txt, train/, val/), which is not there; unpack the "
            "published archive tiny-imagenet-200.zip there, or give --data the folder"
        )
    wnids = sorted((root / "wnids.txt").read_text().split())
    annotations = root / "val" / "val_annotations.txt"
    for place in (root / "words.txt", annotations, *(root / "train" / wnid / "images" for wnid in wnids)):
        if not place.exists():
            raise InputError(f"{place} is missing; unpack the published archive whole")
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    train = [(path, label_of[wnid]) for wnid in wnids for path in sorted((root / "train" / wnid / "images").iterdir())]
    rows = [line.split("\t") for line in annotations.read_text().splitlines() if line]
    strangers = [row for row in rows if len(row) < 2 or row[1] not in label_of]
    if strangers:
        raise InputError(f"{annotations} has a line without a class of wnids.txt: {' '.join(strangers[0])!r}")
    test = [(root / "val" / "images" / row[0], label_of[row[1]]) for row in rows]
    names = dict(line.split("\t", 1) for line in (root / "words.txt").read_text().splitlines() if "\t" in line)
    classes = tuple(f"{wnid} {names.get(wnid, wnid).split(',')[0]}" for wnid in wnids)
    splits = {"train": _labelled(train, image_size or 64), "test": _labelled(test, image_size or 64)}
    return Raw(classes, splits, "tiny_imagenet", TINY_STATISTICS)


def read_imagenet(root: Path, image_size: int | None) -> Raw:
    """ImageNet-1k as a folder per class: `train/<wnid>/*` and `val/<wnid>/*`; its `val` is the test split.

    Pictures are decoded on demand. For training a random part is scaled to `image_size` (224); for measuring the
    shorter side is scaled to 256/224 of it and the centre cropped.
    """
    if not ((root / "train").is_dir() and (root / "val").is_dir()):
        raise InputError(
            f"imagenet is expected at {root}/train/<wnid>/*.JPEG and {root}/val/<wnid>/*.JPEG, which is not there; it "
            "cannot be downloaded without an account: unpack the archives from its home page (val sorted by class), or "
            f"link {root} to where they are"
        )
    classes, files = _by_class({"train": root / "train", "test": root / "val"})
    size = image_size or 224
    splits: dict[str, tuple[Images, Tensor]] = {
        split: (LazyImages([path for path, _ in part], size, 3, margin=256 / 224), torch.tensor([y for _, y in part]))
        for split, part in files.items()
    }
    return Raw(classes, splits, "imagenet", IMAGENET_STATISTICS)


def read_folder(root: Path, image_size: int | None) -> Raw:
    """A folder per class, under `train`, `val` and `test` folders or directly under `root`."""
    found = _split_places(root, lambda path: path.is_dir()) or {"train": [root]}
    classes, files = _by_class({split: place for split, (place, *_) in found.items()})
    size = image_size or _size_of([path for part in files.values() for path, _ in part])
    return Raw(classes, {split: _labelled(part, size) for split, part in files.items()})


def read_parquet(root: Path, image_size: int | None) -> Raw:
    """Parquet files in the Hugging Face image layout: `image` {bytes, path} and `label`, named after their split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = _split_places(root, lambda path: path.suffix == ".parquet")
    if not found or "train" not in found:
        raise InputError(f"{root} needs Parquet files named train*.parquet (and val* or test*), got none for training")
    classes: tuple[str, ...] = ()
    files: dict[str, list[tuple[Source, int]]] = {}
    for split, paths in found.items():
        files[split] = []
        for path in paths:
            try:
                table = pq.read_table(path)
            except (pa.ArrowInvalid, OSError) as reason:
                raise InputError(f"cannot read {path}: {reason}; remove or replace it") from reason
            kinds = {column.name: column.type for column in table.schema}
            if not ("bytes" in _fields(kinds.get("image")) and pa.types.is_integer(kinds.get("label", pa.null()))):
                raise InputError(
                    f"{path} needs the columns image (a struct with bytes) and label (integers), got "
                    + ", ".join(f"{column} ({kind})" for column, kind in kinds.items())
                )
            classes = classes or _class_names(table.schema.metadata)
            pictures = [row and row["bytes"] for row in table.column("image").to_pylist()]
            labels_here = table.column("label").to_pylist()
            if None in pictures or None in labels_here:
                raise InputError(f"{path} has rows without the bytes of a picture or without a label; leave them out")
            files[split] += zip(pictures, labels_here, strict=True)
    labels = [label for part in files.values() for _, label in part]
    classes = classes or tuple(str(label) for label in range(max(labels) + 1))
    if min(labels) < 0 or max(labels) >= len(classes):
        raise InputError(f"{root} has labels from {min(labels)} to {max(labels)} for {len(classes)} classes")
    size = image_size or _size_of([source for part in files.values() for source, _ in part])
    return Raw(classes, {split: _labelled(part, size) for split, part in files.items()})


def _by_class(places: Mapping[str, Path]) -> tuple[tuple[str, ...], dict[str, list[tuple[Source, int]]]]:
    """Class names, and the pictures of each split with their labels."""
    classes = tuple(sorted(path.name for path in places["train"].iterdir() if _visible_folder(path)))
    if len(classes) < 2:
        raise InputError(f"{places['train']} needs at least 2 folders, one per class, got {len(classes)}")
    files: dict[str, list[tuple[Source, int]]] = {}
    for split, place in places.items():
        names = {path.name for path in place.iterdir() if _visible_folder(path)}
        if names - set(classes):
            raise InputError(
                f"{place} has classes that the training split lacks: {', '.join(sorted(names - set(classes)))}"
            )
        files[split] = [(path, label) for label, name in enumerate(classes) for path in _pictures(place / name)]
        if not files[split]:
            raise InputError(f"{place} holds no pictures ({', '.join(sorted(PICTURES))})")
    return classes, files


def _labelled(files: Sequence[tuple[Source, int]], size: int) -> tuple[Images, Tensor]:
    return load_images([source for source, _ in files], size), torch.tensor([label for _, label in files])


def _size_of(sources: Sequence[Source]) -> int:
    size = common_size(sources)
    if size is None:
        warnings.warn(
            f"the pictures differ in size or are not square: scaled and cropped to {MIXED_SIZE}x{MIXED_SIZE}; "
            "choose with --image-size",
            stacklevel=2,
        )
    return size or MIXED_SIZE


def _split_places(root: Path, wanted: Any) -> dict[str, list[Path]]:
    """The folders or files of each split, by how their names begin; empty where there is no training split."""
    places = sorted(path for path in root.iterdir() if wanted(path))
    found = {
        split: [path for path in places if path.stem.lower().split("-")[0] in names]
        for split, names in SPLIT_FOLDERS.items()
    }
    return {split: paths for split, paths in found.items() if paths} if found["train"] else {}


def _visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _pictures(folder: Path) -> list[Path]:
    """The pictures below `folder`, in order; other files are counted in a warning."""
    if not folder.exists():
        return []
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    pictures = [path for path in files if path.suffix.lower() in PICTURES]
    if len(pictures) < len(files):
        warnings.warn(f"{folder}: {len(files) - len(pictures)} files are no pictures and were left out", stacklevel=2)
    return pictures


def _fields(kind: Any) -> list[str]:
    """Names of the fields of a pyarrow struct, none for any other type."""
    import pyarrow as pa

    return [field.name for field in kind] if kind is not None and pa.types.is_struct(kind) else []


def _class_names(metadata: dict[bytes, bytes] | None) -> tuple[str, ...]:
    features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return tuple(features.get("label", {}).get("names", ()))
