"""The images that `benchmarks/peers.py` gives to everybody, and the loaders of the peers.

A folder of photos has `train/CLASS/*.jpg` and a small `test/CLASS/*.jpg`; images in memory are the first rows of a
Parquet file in Hugging Face's image layout.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PAD = 4
"""What drkd's `crop_flip` pads before it crops."""


def first_rows(source: Path, out: Path, images: int) -> None:
    """A data set of the first `images` training rows of CIFAR-10 in Parquet, and 100 test rows."""
    import pyarrow.parquet as pq

    out.mkdir(parents=True)
    for split, count in (("train", images), ("test", 100)):
        pq.write_table(pq.read_table(source / f"{split}.parquet").slice(0, count), out / f"{split}.parquet")


def make_photos(out: Path, images: int, width: int, height: int) -> None:
    """JPEGs of colour gradients under blobs and grain, two classes; about as many bytes per pixel as a camera's."""
    for number in range(images + 8):
        rng = np.random.default_rng([width, number])
        split, label = ("train" if number < images else "test"), ("fine", "coarse")[number % 2]
        cells = 24 if label == "fine" else 6
        blobs = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = rng.integers(-14, 15, (height // 2, width // 2), dtype=np.int16).repeat(2, axis=0).repeat(2, axis=1)
        folder = out / split / label
        folder.mkdir(parents=True, exist_ok=True)
        grainy = np.clip(pixels[: 2 * (height // 2), : 2 * (width // 2)] + grain[..., None], 0, 255)
        Image.fromarray(grainy.astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=88)


def augmented(size: int, *, photos: bool, tensor: bool = True) -> transforms.Compose:
    """Crop and flip, image by image, as torchvision's users write it; photos are scaled and cropped first."""
    scale = [transforms.Resize(size), transforms.CenterCrop(size)] if photos else []
    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)] if tensor else [_as_array]
    return transforms.Compose(
        [*scale, transforms.RandomCrop(size, padding=PAD), transforms.RandomHorizontalFlip(), *last]
    )


def _as_array(image: Image.Image) -> np.ndarray:
    """What timm's loader collates: uint8 (C, H, W); it normalises whole batches."""
    return np.asarray(image).transpose(2, 0, 1)


class InMemory(Dataset):
    """Decoded images of a Parquet file, augmented one by one, as `torchvision.datasets.CIFAR10` does it."""

    def __init__(self, folder: Path, transform: Any) -> None:
        import pyarrow.parquet as pq

        table = pq.read_table(folder / "train.parquet")
        self.labels = table["label"].to_pylist()
        self.images = np.stack([np.asarray(_decoded(row["bytes"])) for row in table["image"].to_pylist()])
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), self.labels[row]


def _decoded(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def dataset_of(folder: Path, size: int) -> Dataset:
    """The training images of either kind for a peer."""
    if (folder / "train.parquet").exists():
        return InMemory(folder, augmented(size, photos=False))
    return datasets.ImageFolder(str(folder / "train"), augmented(size, photos=True))


def loader_of(folder: Path, size: int, batch: int, workers: int) -> DataLoader:
    """torch's loader; its workers stay from epoch to epoch."""
    return DataLoader(
        dataset_of(folder, size),
        batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=False,
    )


def timm_loader(folder: Path, size: int, batch: int, workers: int) -> Any:
    """timm's loader, which collates bytes and normalises whole batches, with the same augmentation as the others."""
    import torch
    from timm.data import ImageDataset, create_loader

    photos = not (folder / "train.parquet").exists()
    images: Any = ImageDataset(str(folder / "train")) if photos else InMemory(folder, None)
    loader = create_loader(
        images,
        input_size=(3, size, size),
        batch_size=batch,
        is_training=True,
        mean=MEAN,
        std=STD,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=False,
        device=torch.device("cpu"),
    )
    images.transform = augmented(size, photos=photos, tensor=False)  # create_loader has set its own
    return loader
