"""Operations that are chosen for each image: TrivialAugment, RandAugment, colour jitter; and random erasing.

They are torchvision's (`torchvision.transforms.v2.functional`), with random numbers of ours, so that they replay. All
but erasing are made on the processor, small images with the same operation and magnitude together where that is exact:
so the bytes of an image depend neither on the others of its batch nor on the device.
"""

import math
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.data.augment import OF_ERASING, OF_JITTER, OF_POLICY, Augmentation
from drkd.data.images import in_threads
from drkd.utils.device import send
from drkd.utils.errors import InputError

BINS = 31
"""Strengths of an operation, from none to its largest."""

THREADED = 3 * 96 * 96
"""Values of an image from which several threads pay, and images are changed one by one: beyond the sums of integers
that float32 holds, a mean over several might be rounded otherwise."""

ALONE = ("Sharpness",)
"""Operations that take images one by one: a convolution may round otherwise for other batches."""

ERASED_AREA, ERASED_SHAPE, ERASING_ATTEMPTS = (0.02, 0.33), (0.3, 3.3), 10
"""Of `erase`: fractions of the area, ratios of height to width, attempts before nothing is erased; torchvision's."""

ORDERS = tuple(permutations(range(4)))
"""In which brightness, contrast, saturation and hue may change."""

Function = Callable[[Tensor, float], Tensor]


class Operation(NamedTuple):
    """An operation of a policy.

    Attributes:
        name: as torchvision calls it.
        trivial, rand: its magnitude at full strength under TrivialAugment and RandAugment; None where it has none.
        signed: whether the magnitude is negative for half of the images.
        weakest: its magnitude at strength 0.
    """

    name: str
    trivial: float | None = None
    rand: float | None = None
    signed: bool = False
    weakest: float = 0.0


OPERATIONS = (
    Operation("Identity"),
    Operation("ShearX", 0.99, 0.3, signed=True),
    Operation("ShearY", 0.99, 0.3, signed=True),
    Operation("TranslateX", 32.0, 150 / 331, signed=True),  # pixels, but no more than the width; a fraction of it
    Operation("TranslateY", 32.0, 150 / 331, signed=True),
    Operation("Rotate", 135.0, 30.0, signed=True),
    Operation("Brightness", 0.99, 0.9, signed=True),
    Operation("Color", 0.99, 0.9, signed=True),
    Operation("Contrast", 0.99, 0.9, signed=True),
    Operation("Sharpness", 0.99, 0.9, signed=True),
    Operation("Posterize", 6.0, 4.0),  # bits that are dropped
    Operation("Solarize", 0.0, 0.0, weakest=1.0),  # the threshold, as a fraction of white
    Operation("AutoContrast"),
    Operation("Equalize"),
)
"""Each is chosen as often as any other."""


def operate(
    images: Tensor, uniforms: NDArray[np.float64], augmentation: Augmentation, *, workers: int | None = None
) -> Tensor:
    """Apply the policy and the colour jitter of `augmentation` to every image.

    Args:
        images: uint8 (B, 1 or 3, H, W), on the processor.
        uniforms: (B, `augmentation.numbers`) random numbers in [0, 1), see `drkd.data.augment.random_numbers`.
        augmentation: what to do.
        workers: threads, for large images; changes no image.

    Raises:
        InputError: for images that are neither grey nor RGB.

    Example:
        >>> from drkd.data.augment import random_numbers
        >>> how = Augmentation(policy="trivial")
        >>> uniforms = random_numbers(0, 0, 0, np.arange(4), count=how.numbers)
        >>> operate(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), uniforms, how).shape
        torch.Size([4, 3, 8, 8])
    """
    if images.shape[1] not in (1, 3):
        raise InputError(
            f"trivial, randaugment and jitter need images of 1 or 3 channels, got {images.shape[1]}; leave them out"
        )
    if len(images) == 0:
        return images

    large = images[0].numel() >= THREADED
    images, threads = images.clone(), workers if large else 0
    every = [drawn(numbers, augmentation, *images.shape[2:]) for numbers in uniforms]

    def change(group: tuple[tuple[str, float], list[int]]) -> None:
        (name, magnitude), rows = group
        images[rows] = apply(images[rows], name, magnitude)

    def colour(row: int) -> None:
        images[row] = jitter(images[row], uniforms[row, OF_JITTER], augmentation.jitter)

    for step in range(len(every[0])):
        groups: dict[tuple[str, float, int], list[int]] = {}
        for row, operations in enumerate(every):
            name, magnitude = operations[step]
            groups.setdefault((name, magnitude, row if large or name in ALONE else -1), []).append(row)
        deque(in_threads(change, [(key[:2], rows) for key, rows in groups.items()], threads), maxlen=0)
    if any(augmentation.jitter):
        deque(in_threads(colour, range(len(images)), threads), maxlen=0)
    return images


def drawn(numbers: NDArray[np.float64], augmentation: Augmentation, height: int, width: int) -> list[tuple[str, float]]:
    """Names and magnitudes of the operations that an image's random numbers choose, in order.

    Example:
        >>> drawn(np.full(57, 0.5), Augmentation(policy="trivial"), 32, 32)
        [('Color', 0.4950000047683716)]
    """
    chosen = []
    for which, strength, sign in [] if augmentation.policy == "none" else numbers[OF_POLICY:].reshape(-1, 3):
        operation = OPERATIONS[int(which * len(OPERATIONS))]
        if augmentation.policy == "trivial":
            largest, step = operation.trivial, int(strength * BINS)
        else:
            largest, step = operation.rand, augmentation.magnitude
        if largest is not None and operation.name.startswith("Translate"):
            side = width if operation.name == "TranslateX" else height
            largest = min(largest, side) if augmentation.policy == "trivial" else largest * side
        magnitude = 0.0 if largest is None else _magnitudes(operation.weakest, largest)[step]
        chosen.append((operation.name, -magnitude if operation.signed and sign < 0.5 else magnitude))
    return chosen


@lru_cache
def _magnitudes(weakest: float, largest: float) -> list[float]:
    return torch.linspace(weakest, largest, BINS).tolist()  # in float32, as torchvision has them


def apply(image: Tensor, name: str, magnitude: float) -> Tensor:
    """One operation on uint8 images (..., C, H, W); what moves out of sight leaves black.

    Example:
        >>> apply(torch.tensor([[[0, 100], [200, 255]]], dtype=torch.uint8), "Posterize", 6.0)
        tensor([[[  0,  64],
                 [192, 192]]], dtype=torch.uint8)
    """
    from torchvision.transforms.v2 import functional as T

    def moved(translate: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)) -> Any:
        corner = [0.0, 0.0] if any(shear) else None
        return T.affine(image, 0.0, list(translate), 1.0, list(shear), center=corner)

    degrees = math.degrees(math.atan(magnitude))
    functions: dict[str, Callable[[], Any]] = {
        "Identity": lambda: image,
        "ShearX": lambda: moved(shear=(degrees, 0.0)),
        "ShearY": lambda: moved(shear=(0.0, degrees)),
        "TranslateX": lambda: moved((int(magnitude), 0)),
        "TranslateY": lambda: moved((0, int(magnitude))),
        "Rotate": lambda: T.rotate(image, magnitude),
        "Brightness": partial(T.adjust_brightness, image, 1 + magnitude),
        "Color": partial(T.adjust_saturation, image, 1 + magnitude),
        "Contrast": partial(T.adjust_contrast, image, 1 + magnitude),
        "Sharpness": partial(T.adjust_sharpness, image, 1 + magnitude),
        "Posterize": lambda: T.posterize(image, 8 - round(magnitude)),
        "Solarize": lambda: T.solarize(image, 255 * magnitude),
        "AutoContrast": lambda: T.autocontrast(image),
        "Equalize": lambda: T.equalize(image),
    }
    changed: Tensor = functions[name]()
    return changed


def jitter(image: Tensor, numbers: NDArray[np.float64], most: tuple[float, float, float, float]) -> Tensor:
    """Change brightness, contrast, saturation and hue of a uint8 image (C, H, W), in random order.

    Args:
        image: 1 or 3 channels; grey has neither saturation nor hue.
        numbers: 5 random numbers in [0, 1): one for each change, and one for the order.
        most: see `Augmentation.jitter`.

    Example:
        >>> jitter(torch.full((1, 1, 2), 100, dtype=torch.uint8), np.array([1.0, 0, 0, 0, 0]), (0.4, 0.0, 0.0, 0.0))
        tensor([[[140, 140]]], dtype=torch.uint8)
    """
    from torchvision.transforms.v2 import functional as T

    functions: tuple[Function, ...] = (T.adjust_brightness, T.adjust_contrast, T.adjust_saturation, T.adjust_hue)
    for which in ORDERS[int(numbers[4] * len(ORDERS))]:
        largest, middle = most[which], 0.0 if which == 3 else 1.0
        low = -largest if which == 3 else max(0.0, 1 - largest)
        if largest:
            image = functions[which](image, float(low + numbers[which] * (middle + largest - low)))
    return image


def erase(images: Tensor, uniforms: NDArray[np.float64], probability: float) -> Tensor:
    """Set a random rectangle of some images to 0, the mean colour of normalised images; in place.

    Args:
        images: (B, C, H, W), normalised.
        uniforms: (B, ...) random numbers in [0, 1), see `drkd.data.augment.OF_ERASING`.
        probability: that an image gets one.

    Returns:
        `images`.

    Example:
        >>> from drkd.data.augment import random_numbers
        >>> images = erase(torch.ones(2000, 1, 8, 8), random_numbers(0, 0, 0, np.arange(2000), count=57), 0.5)
        >>> bool(0.45 < (images.amin(dim=(1, 2, 3)) == 0).double().mean() < 0.55)
        True
    """
    height, width = images.shape[2:]
    numbers = uniforms[:, OF_ERASING]
    attempts = numbers[:, 3:].reshape(len(numbers), ERASING_ATTEMPTS, 2)
    area = height * width * (ERASED_AREA[0] + attempts[..., 0] * (ERASED_AREA[1] - ERASED_AREA[0]))
    shape = ERASED_SHAPE[0] * (ERASED_SHAPE[1] / ERASED_SHAPE[0]) ** attempts[..., 1]
    high, wide = np.round(np.sqrt(area * shape)), np.round(np.sqrt(area / shape))
    fits = (high < height) & (wide < width)
    first = np.arange(len(numbers)), fits.argmax(axis=1)
    high, wide = high[first], wide[first]
    top, left = np.floor(numbers[:, 1] * (height - high + 1)), np.floor(numbers[:, 2] * (width - wide + 1))
    erased = (numbers[:, 0] < probability) & fits.any(axis=1)
    bounds = torch.from_numpy(np.stack([top, top + high * erased, left, left + wide])).to(images.dtype)
    box = send(bounds, images.device)[..., None]
    down, across = (torch.arange(side, device=images.device) for side in (height, width))
    rows = (down >= box[0]) & (down < box[1])
    columns = (across >= box[2]) & (across < box[3])
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
