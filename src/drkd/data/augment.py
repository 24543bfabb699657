"""Augmentation of whole batches, on the device, replayable.

The random numbers are a function of (seed, epoch, index, view) and of nothing else: every method of a comparison, any
batch size, any number of devices and a resumed run all see the same images.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from drkd.utils.device import send

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

AREA, SHAPE, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of `resized_crop`: fractions of the area, ratios of width to height, attempts before the largest crop that fits."""

OF_CROP, OF_JITTER, OF_ERASING, OF_POLICY = slice(4, 26), slice(26, 31), slice(31, 54), 54
"""Which of an image's random numbers each part takes: those of `augment` are the first 4, those of a policy the last,
three for each operation."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image, in this order.

    Attributes:
        resized_crop: a random crop, 8 to 100% of the area, 3:4 to 4:3 in shape, scaled to the image's size
            (Inception's; done by the loader, which has the whole image).
        pad: random crop of the image's size from the image padded with this many black pixels.
        flip: mirror left and right with probability 1/2.
        degrees: rotate about the centre by up to this angle either way; nearest pixel, black corners.
        policy: `trivial` (TrivialAugment, arXiv 2103.10158, its wide space) or `randaugment` (RandAugment, arXiv
            1909.13719), in the form that torchvision gives them; see `drkd.data.operations`.
        operations, magnitude: of `randaugment`: how many operations an image gets, and how strong, from 0 to 30.
        jitter: largest changes of brightness, contrast and saturation, as factors, and of hue, in turns (0.5 at most);
            in random order.
        erasing: probability that a random rectangle becomes the mean colour (random erasing, arXiv 1708.04896).
        smallest_area: of `resized_crop`, a fraction of the image.
    """

    resized_crop: bool = False
    pad: int = 0
    flip: bool = False
    degrees: float = 0.0
    policy: Literal["none", "trivial", "randaugment"] = "none"
    operations: int = 2
    magnitude: int = 9
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    erasing: float = 0.0
    smallest_area: float = AREA[0]

    @property
    def by_image(self) -> bool:
        """Whether an operation is chosen for each image: such are made on the processor, whatever the device."""
        return self.policy != "none" or any(self.jitter)

    @property
    def numbers(self) -> int:
        """How many random numbers an image takes beside those that `augment` draws."""
        if not (self.resized_crop or self.by_image or self.erasing):
            return 0
        return OF_POLICY + 3 * (self.operations if self.policy == "randaugment" else 1)


AUGMENTATIONS = {
    "none": Augmentation(),
    "shift": Augmentation(pad=1),
    "crop_flip": Augmentation(pad=4, flip=True),
    "cifar": Augmentation(pad=4, flip=True, degrees=15.0),
    "tiny_imagenet": Augmentation(flip=True, degrees=20.0),
    "imagenet": Augmentation(resized_crop=True, flip=True),
}
"""Augmentations by name; `cifar`, `tiny_imagenet` and `imagenet` are the papers'. `drkd.data.augment_names` adds to
them."""


def augment(
    images: Tensor,
    index: Tensor,
    augmentation: Augmentation,
    *,
    seed: int,
    epoch: int,
    view: int | NDArray[np.int64] = 0,
) -> Tensor:
    """Crop, flip and rotate every image by its own random numbers, looking up each pixel once; nothing else.

    Args:
        images: (B, C, H, W), of any dtype; float32 or float64 where `augmentation` rotates.
        index: (B,) int64 positions of the images in their data set, on the CPU.
        augmentation: what to do.
        seed, epoch, view: with `index`, all that the random numbers depend on; `view` may be (B,), one per image.

    Returns:
        (B, C, H, W), of the dtype and on the device of `images`.

    Example:
        >>> image = torch.arange(9.0).view(1, 1, 3, 3)
        >>> augment(image, torch.tensor([0]), Augmentation(pad=1), seed=0, epoch=0)[0, 0]
        tensor([[4., 5., 0.],
                [7., 8., 0.],
                [0., 0., 0.]])
    """
    if not (augmentation.pad or augmentation.flip or augmentation.degrees) or len(images) == 0:
        return images
    uniforms = random_numbers(seed, epoch, view, index.numpy(), count=4)
    offsets = np.floor(uniforms[:, :2] * (2 * augmentation.pad + 1)).astype(np.int64) - augmentation.pad
    mirrored = (uniforms[:, 2] < 0.5) & augmentation.flip
    if not augmentation.degrees:
        return _crop(images, offsets, mirrored, augmentation.pad)
    return _rotate(images, offsets, mirrored, np.deg2rad((2 * uniforms[:, 3] - 1) * augmentation.degrees))


def _crop(images: Tensor, offsets: NDArray[np.int64], mirrored: NDArray[np.bool_], pad: int) -> Tensor:
    """Windows of the padded images, `offsets` (B, 2) pixels right and down of the middle, then mirrored."""
    count, channels, height, width = images.shape
    turned = np.flatnonzero(mirrored)  # what mirrors a crop is a crop, as far to the left, of the mirrored image
    padded = images.new_zeros(count + len(turned), channels, height + 2 * pad, width + 2 * pad)
    inside = padded[:, :, pad : pad + height, pad : pad + width]
    inside[:count] = images
    if len(turned):
        inside[count:] = images.index_select(0, send(torch.from_numpy(turned), images.device)).flip(-1)
    image = np.where(mirrored, count - 1 + np.cumsum(mirrored), np.arange(count))
    across = pad + np.where(mirrored, -offsets[:, 0], offsets[:, 0])
    row, plane = width + 2 * pad, (width + 2 * pad) * (height + 2 * pad)
    first = torch.from_numpy(image * channels * plane + (pad + offsets[:, 1]) * row + across)
    # A view of all windows, one for each pixel that one can begin at: their strides overlap, and nothing is copied.
    windows = padded.numel() - (channels - 1) * plane - (height - 1) * row - width + 1
    return padded.as_strided((windows, channels, height, width), (1, plane, row, 1)).index_select(
        0, send(first, images.device)
    )


def _rotate(
    images: Tensor, offsets: NDArray[np.int64], mirrored: NDArray[np.bool_], angle: NDArray[np.float64]
) -> Tensor:
    """The same window and mirror, then a rotation by `angle` (B,) in radians."""
    height, width = images.shape[2:]

    def per_image(*columns: NDArray[np.float64]) -> Tensor:
        array = np.stack(columns, axis=1)[:, :, None, None]
        return send(torch.from_numpy(array).to(images.dtype), images.device)

    # Where does an output pixel come from? Undo the rotation, then the mirror, then the crop; coordinates in [-1, 1].
    # This is `F.affine_grid` without its matrix product, which is slow and whose rounding depends on the device.
    x, y = (_centres(side, images) for side in (width, height))
    cos, sin = np.cos(angle), np.sin(angle)
    grid = per_image(cos, sin * width / height) * x + per_image(-sin * height / width, cos) * y[:, None]  # (B, 2, H, W)
    outside = grid.abs().amax(dim=1, keepdim=True).gt_(1)  # 1 or 0; black, even where the uncropped image has pixels
    shift = offsets * 2 / np.array([width, height])
    grid[:, :1] *= per_image(np.where(mirrored, -1.0, 1.0))
    grid += per_image(*shift.T)
    grid[:, :1].add_(outside, alpha=4 + height / width + np.abs(shift).max())  # beyond any image; `where` is slow
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), mode="nearest", padding_mode="zeros", align_corners=False)


def _centres(side: int, like: Tensor) -> Tensor:
    """Where the centres of `side` pixels are between -1 and 1."""
    ends = torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device)
    return ends * (side - 1) / side


def with_smallest_area(uniforms: NDArray[np.float64], smallest: float) -> NDArray[np.float64]:
    """The numbers with which `crop_box` takes areas from `smallest` on in place of `AREA`'s; of (B, 2 + 2 * ATTEMPTS).

    Example:
        >>> with_smallest_area(np.full((1, 22), 0.5), 0.54)[0, :3]
        array([0.5 , 0.5 , 0.75])
    """
    low, high = AREA
    if smallest == low:
        return uniforms
    moved = uniforms.copy()
    moved[:, 2::2] = (smallest + uniforms[:, 2::2] * (high - smallest) - low) / (high - low)
    return moved


def crop_box(uniforms: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """The box that a `resized_crop` takes from an image: left, top, width and height in pixels.

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


def random_numbers(
    seed: int, epoch: int, view: int | NDArray[np.int64], index: NDArray[np.int64], *, count: int
) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), (B, count): a hash (SplitMix64) of (seed, epoch, view, index, column).

    `view` may be (B,), one per row.

    Example:
        >>> both = random_numbers(0, 3, 0, np.array([7, 8]), count=2)
        >>> bool((both[1] == random_numbers(0, 3, 0, np.array([8]), count=2)).all())
        True
    """
    key = np.zeros(1, dtype=np.uint64)
    for word in (seed, epoch, view):
        key = _mix(key + np.asarray(word).astype(np.uint64) + _GOLDEN)
    rows = _mix(key + _mix(index.astype(np.uint64) + _GOLDEN))[:, None]
    bits = _mix(rows + np.arange(count, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
