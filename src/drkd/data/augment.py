"""Augmentation of whole batches, on the device, replayable.

The random numbers are a function of (seed, epoch, index, view) and of nothing else: every method of a comparison, any
batch size, any number of devices and a resumed run all see the same images.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Seeds = int | NDArray[np.int64]
"""One seed, or one for each image."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image, in this order.

    Attributes:
        resized_crop: a random part of the image, 8 to 100% of its area, 3:4 to 4:3 in shape, scaled to the image's
            size (Inception's; done by the loader, where the whole image is at hand).
        pad: random crop of the image's size from the image padded with this many black pixels.
        flip: mirror left and right, every second time.
        degrees: rotate about the centre by up to this angle either way; nearest pixel, black corners.
    """

    resized_crop: bool = False
    pad: int = 0
    flip: bool = False
    degrees: float = 0.0


AUGMENTATIONS = {
    "none": Augmentation(),
    "shift": Augmentation(pad=1),
    "crop_flip": Augmentation(pad=4, flip=True),
    "cifar": Augmentation(pad=4, flip=True, degrees=15.0),
    "tiny_imagenet": Augmentation(flip=True, degrees=20.0),
    "imagenet": Augmentation(resized_crop=True, flip=True),
}
"""Augmentations by name; `cifar`, `tiny_imagenet` and `imagenet` are the papers'."""

AREA, SHAPE, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of `resized_crop`: parts of the area, ratios of width to height, attempts before the largest crop that fits."""


def augment(
    images: Tensor, index: Tensor, augmentation: Augmentation, *, seed: Seeds, epoch: int, view: int = 0
) -> Tensor:
    """Crop, flip and rotate every image by its own random numbers, as one look-up of pixels; no resized crop.

    Args:
        images: (B, C, H, W), of any float type.
        index: (B,) positions of the images in their data set, on the CPU.
        augmentation: what to do.
        seed, epoch, view: with `index`, all that the random numbers depend on.

    Returns:
        (B, C, H, W), like `images`.

    Example:
        >>> image = torch.arange(9.0).view(1, 1, 3, 3)
        >>> augment(image, torch.tensor([0]), Augmentation(pad=1), seed=0, epoch=0)[0, 0]
        tensor([[4., 5., 0.],
                [7., 8., 0.],
                [0., 0., 0.]])
    """
    if not (augmentation.pad or augmentation.flip or augmentation.degrees) or len(images) == 0:
        return images
    height, width = images.shape[2:]
    uniforms = random_numbers(seed, epoch, view, index.numpy(), count=4)
    offsets = np.floor(uniforms[:, :2] * (2 * augmentation.pad + 1)) - augmentation.pad
    mirror = np.where(uniforms[:, 2] < 0.5, -1.0, 1.0) if augmentation.flip else np.ones(len(uniforms))
    angle = np.deg2rad((2 * uniforms[:, 3] - 1) * augmentation.degrees)

    # Where does an output pixel come from? Undo the rotation, then the mirror, then the crop; coordinates in [-1, 1].
    turn = np.zeros((len(uniforms), 2, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 0, 1] = -np.sin(angle) * height / width
    turn[:, 1, 0] = np.sin(angle) * width / height

    def on_device(array: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(array, dtype=images.dtype, device=images.device)

    grid = F.affine_grid(on_device(turn), list(images.shape), align_corners=False)
    outside = grid.abs().amax(dim=-1, keepdim=True) > 1  # black, even where the uncropped image goes on
    scale = np.stack([mirror, np.ones_like(mirror)], axis=1)
    shift = offsets * 2 / np.array([width, height])
    grid = grid * on_device(scale)[:, None, None] + on_device(shift)[:, None, None]
    grid = grid.masked_fill(outside, 3.0)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def crop_box(uniforms: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of an image that a `resized_crop` takes: left, top, width and height in pixels.

    Args:
        uniforms: (2 + 2 * ATTEMPTS,) numbers in [0, 1): left and top, then area and shape of each attempt.
        width, height: of the image.

    Example:
        >>> crop_box(np.full(22, 0.5), 100, 100)
        (14, 14, 73, 73)
    """
    across, down = uniforms[0], uniforms[1]
    for area, shape in uniforms[2:].reshape(-1, 2):
        pixels = width * height * (AREA[0] + area * (AREA[1] - AREA[0]))
        ratio = SHAPE[0] * (SHAPE[1] / SHAPE[0]) ** shape
        wide, high = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
        if 0 < wide <= width and 0 < high <= height:
            return int(across * (width - wide + 1)), int(down * (height - high + 1)), wide, high
    wide, high = min(width, round(height * SHAPE[1])), min(height, round(width / SHAPE[0]))
    return (width - wide) // 2, (height - high) // 2, wide, high


def random_numbers(seed: Seeds, epoch: int, view: int, index: NDArray[np.int64], *, count: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), (B, count): a hash (SplitMix64) of (seed, epoch, view, index, column).

    `seed` may be an array (B,): a seed for each row.

    Example:
        >>> both = random_numbers(0, 3, 0, np.array([7, 8]), count=2)
        >>> bool((both[1] == random_numbers(0, 3, 0, np.array([8]), count=2)).all())
        True
    """
    key = np.zeros(1, dtype=np.uint64)
    for word in (seed, epoch, view):
        key = _mix(key + np.uint64(word) + _GOLDEN)
    rows = _mix(key + _mix(index.astype(np.uint64) + _GOLDEN))[:, None]
    bits = _mix(rows + np.arange(count, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
