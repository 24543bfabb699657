"""Test beds: photos as a frozen pretrained network sees them, with the labels that people or chance gave them.

Nothing to run here: `rectifiers.py` does. The network is asked once; its features are reduced to their first principal
components, which needs no labels, and kept in a file. What is trained on them is a classifier (`heads.py`).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import drkd
from drkd.data.preprocessing import Preprocessing
from drkd.data.stratified import with_noise
from drkd.training.features import features_of
from drkd.utils.files import read_tensors, write_tensors

COMPONENTS = 128
IMAGES = {"cub100": ("cub100", 160), "cifar10": ("cifar10", 64), "cifar10-96": ("cifar10", 96)}
"""The folder of a bed's images, and their size."""

FIRST_TRAIN, FIRST_TEST = {"cifar10": 10_000}, {"cifar10": 5_000}
"""So many images of a split, where not all."""


def features(
    folder: Path, name: str, file: Path, size: int, *, first_train: int | None = None, first_test: int | None = None
) -> dict[str, Tensor]:
    """`train` and `test` (N, 1280), with `train_labels` and `test_labels`: from the file, or from the network.

    Args:
        folder: with `cub100/`, `cifar10/` and `weights/efficientnet_lite0.safetensors`.
        name: of the images in it.
        file: that keeps the features.
        size: of the images.
        first_train, first_test: so many of each split, all by default.
    """
    if not file.exists():
        weights = folder / "weights" / "efficientnet_lite0.safetensors"
        wanted = Preprocessing(size, (0.5,) * 3, (0.5,) * 3, 1.0, "bicubic")
        data = drkd.load_data(folder / name, validation=0, augment="none", image_size=wanted)
        data = replace(
            data,
            train=data.train.select(torch.arange(len(data.train))[:first_train]),
            test=data.test.select(torch.arange(len(data.test))[:first_test]),
        )
        network = drkd.create_model(
            "timm:efficientnet_lite0", num_classes=len(data.classes), image_size=size, weights=str(weights)
        ).to(memory_format=torch.channels_last)
        found = {"train_labels": data.train.labels, "test_labels": data.test.labels}
        with torch.autocast("cpu", torch.bfloat16):
            found |= {split: features_of(network, data, split) for split in ("train", "test")}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(file, found)
    return read_tensors(file)


def components(folder: Path, name: str, kept: Path) -> dict[str, Tensor]:
    """`features` of a bed, reduced to the principal components of its training images, of mean square 1."""
    images, size = IMAGES[name]
    file = kept / f"{images}-{size}-{COMPONENTS}.safetensors"
    if not file.exists():
        limits = {"first_train": FIRST_TRAIN.get(name), "first_test": FIRST_TEST.get(name)}
        found = features(folder, images, kept / f"{images}-{size}.safetensors", size, **limits)
        mean = found["train"].mean(dim=0)
        centred = (found["train"] - mean).double()
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        base = vectors[:, -COMPONENTS:].flip(1).float()
        scale = ((found["train"] - mean) @ base).square().mean().sqrt()
        write_tensors(file, {**found, **{k: ((found[k] - mean) @ base / scale) for k in ("train", "test")}})
    return read_tensors(file)


@dataclass(frozen=True)
class Bed:
    """What a classifier learns from and is measured on.

    Attributes:
        inputs, labels: of the training images; labels as they were given.
        true: their true labels.
        judged, judged_labels: what it is measured on.
        classes: how many there are.
        held, held_labels: images that a temperature is fitted on, if any; labels as they were given.
    """

    inputs: Tensor
    labels: Tensor
    true: Tensor
    judged: Tensor
    judged_labels: Tensor
    classes: int
    held: Tensor | None = None
    held_labels: Tensor | None = None

    def folds(self, count: int, seed: int) -> Tensor:
        """A fold for each training image, from 0 on, of equal sizes."""
        return torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(1000 + seed)) % count


def bed_of(folder: Path, kept: Path, name: str, seed: int, *, validation: bool, hold: bool = False) -> Bed:
    """A bed such as `cub100`, `cub100:0.4` (made wrong, by the seed) or `cifar10:worse_label` (by people).

    `cub50` is the first fifty classes of cub100, which cost a quarter.

    With `validation` a fifth of the training images, drawn by the seed, is what is judged, with labels as wrong as
    those of the rest; otherwise the test split. With `hold` a tenth of the training images is held for a temperature.
    """
    data, _, kind = name.partition(":")
    found = components(folder, "cub100" if data == "cub50" else data, kept)
    if data == "cub50":
        for split in ("train", "test"):
            few = found[f"{split}_labels"] < 50
            found[split], found[f"{split}_labels"] = found[split][few], found[f"{split}_labels"][few]
    true = found["train_labels"]
    classes = int(true.max()) + 1
    given = true
    if data.startswith("cifar10"):
        people = np.load(folder / "cifar10n" / "labels.npz")
        if not (people["clean_label"][: len(true)] == true.numpy()).all():
            raise SystemExit("labels.npz belongs to other images")
        given = torch.from_numpy(people[kind or "clean_label"][: len(true)].astype(np.int64))
    elif kind:
        given = with_noise(true, float(kind), classes, seed=[seed])
    judged = (found["test"], found["test_labels"], classes)
    if not (validation or hold):
        return Bed(found["train"], given, true, *judged)
    order = torch.randperm(len(true), generator=torch.Generator().manual_seed(seed))
    held, rest = order.tensor_split([len(true) // (5 if validation else 10)])
    learned, apart = (found["train"][rest], given[rest], true[rest]), (found["train"][held], given[held])
    return Bed(*learned, *apart, classes) if validation else Bed(*learned, *judged, *apart)
