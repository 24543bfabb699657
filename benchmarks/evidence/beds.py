"""Test beds: photos as a frozen pretrained network sees them, with the labels that people or chance gave them.

    python benchmarks/evidence/beds.py DATA cub100 --size 160 --file FILE      # ask the network once; seconds follow

DATA holds `cub100/`, `cifar10/`, `cifar10n/labels.npz` and `weights/efficientnet_lite0.safetensors`.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import drkd
from drkd.data.preprocessing import Preprocessing
from drkd.training.features import features_of
from drkd.utils.files import read_tensors, write_tensors


def features(
    folder: Path, name: str, file: Path, size: int, *, first_train: int | None = None, first_test: int | None = None
) -> dict[str, Tensor]:
    """`train` and `test` (N, 1280), with `train_labels` and `test_labels`: from the file, or from the network.

    Args:
        folder, name: where the images are.
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
