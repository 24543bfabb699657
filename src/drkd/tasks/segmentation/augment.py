"""Augmentation of an image and its mask together, replayable: random numbers go by (seed, epoch, index).

scale_crop:LOW,HIGH   scaled by a random factor and cut, or padded, to its size again
flip                  mirrored with probability 1/2
jitter:B,C,S,H        other brightness, contrast, saturation and hue; the mask stays
"""

import difflib
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.data.augment_names import parse_augmentation
from drkd.data.operations import jitter
from drkd.tasks.segmentation.masks import IGNORE, PADDING
from drkd.utils.errors import InputError

NUMBERS = 9
"""Random numbers of an image: scale, across, down, mirror, and five of the jitter."""

FLIP = 3
"""The number that decides on mirroring."""

DEFAULT = "scale_crop+flip"

SCALES = (0.5, 2.0)
"""Of `scale_crop`, as torchvision's networks were trained with."""


@dataclass(frozen=True)
class PairAugmentation:
    """What is done to a training image and its mask, in this order.

    Attributes:
        scale: least and greatest factor; None for no scaling.
        flip: mirror left and right with probability 1/2.
        jitter: largest changes of brightness, contrast and saturation, as factors, and of hue, in turns.
    """

    scale: tuple[float, float] | None = None
    flip: bool = False
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


PLAIN = PairAugmentation()


def parse_pair_augmentation(text: str) -> PairAugmentation:
    """The augmentation that `--augment` names: `none`, or parts joined by `+`.

    Raises:
        InputError: for an unknown part, or numbers out of range.

    Example:
        >>> parse_pair_augmentation("scale_crop:0.5,1+flip").scale
        (0.5, 1.0)
    """
    found = PLAIN
    for part in text.split("+"):
        word, colon, after = part.strip().partition(":")
        if word == "none" and not colon and text.strip() == "none":
            continue
        if word == "flip" and not colon:
            found = replace(found, flip=True)
        elif word == "scale_crop":
            found = replace(found, scale=_scales(after, text) if colon else SCALES)
        elif word == "jitter":
            found = replace(found, jitter=parse_augmentation(part.strip()).jitter)
        else:
            close = difflib.get_close_matches(word, ["scale_crop", "flip", "jitter"], n=1)
            hint = f"; did you mean {close[0]}?" if close and close[0] != word else ""
            raise InputError(
                f"--augment of segmentation should be none, or scale_crop[:LOW,HIGH], flip and jitter[:B,C,S,H] joined "
                f"by +, got {part.strip()!r}{hint}"
            )
    return found


def _scales(after: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(number) for number in after.split(","))
        if not 0.1 <= low <= high <= 10:
            raise ValueError
    except ValueError:
        raise InputError(
            f"--augment {text}: expected scale_crop:LOW,HIGH with factors from 0.1 to 10, such as scale_crop:0.5,2"
        ) from None
    return low, high


def augment_pair(
    image: Tensor, mask: Tensor, how: PairAugmentation, numbers: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """An image and its mask, changed.

    Args:
        image: uint8 (3, S, S).
        mask: uint8 (S, S).
        how: what to do.
        numbers: (NUMBERS,) random numbers in [0, 1).

    Returns:
        Of the same shapes. What lies outside of the image is its padding's colour, and ignored in the mask.

    Example:
        >>> mask = torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8)
        >>> _, moved = augment_pair(torch.zeros(3, 2, 2).byte(), mask, PairAugmentation(flip=True), np.zeros(9))
        >>> moved.tolist()
        [[1, 0], [3, 2]]
    """
    if how.scale is not None:
        image, mask = _scale_crop(image, mask, how.scale, numbers)
    if how.flip and numbers[FLIP] < 0.5:
        image, mask = image.flip(-1), mask.flip(-1)
    if any(how.jitter):
        image = jitter(image, numbers[FLIP + 1 :], how.jitter)
    return image, mask


def _scale_crop(
    image: Tensor, mask: Tensor, scales: tuple[float, float], numbers: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """Larger: a random part of it, scaled to its size. Smaller: the whole, at a random place."""
    size = mask.shape[-1]
    low, high = map(math.log, scales)
    scale = math.exp(low + (high - low) * numbers[0])
    side = max(1, round(size / scale) if scale > 1 else round(size * scale))
    left, top = (int(number * (size - side + 1)) for number in numbers[1:3])
    here = (slice(top, top + side), slice(left, left + side))
    if scale > 1:
        return _resized(image[:, *here], mask[here], size)
    small, small_mask = _resized(image, mask, side)
    around = torch.tensor(PADDING, dtype=torch.uint8).view(3, 1, 1).repeat(1, size, size)
    labels = torch.full_like(mask, IGNORE)
    around[:, *here], labels[here] = small, small_mask
    return around, labels


def _resized(image: Tensor, mask: Tensor, side: int) -> tuple[Tensor, Tensor]:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    scaled = resize(image, [side, side], InterpolationMode.BILINEAR, antialias=True)
    return scaled, resize(mask[None], [side, side], InterpolationMode.NEAREST_EXACT)[0]
