"""Mixup and cutmix: images of two samples each, replayable.

Whether an image is mixed, how and how much are functions of (seed, epoch, index, view), as its augmentation is. Its
partner is the next sample of the batch, of all ranks together and the first after the last: the order of the samples is
random already. So every number of workers and of ranks, and every resume, sees the same images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.data.augment import random_numbers
from drkd.utils.device import send
from drkd.utils.errors import InputError
from drkd.utils.labels import MixedLabels, mix_labels

VIEW = 100
"""The view whose random numbers these are, counted from that which shows an image; the loader's own are smaller."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Mixing:
    """What part of the images is mixed, and how.

    Attributes:
        mixup: a of the Beta(a, a) that the weight of an image's own sample is drawn from (arXiv 1710.09412); 0: none.
        cutmix: the same for the part of the area that stays when a box of the partner is put in (arXiv 1905.04899).
            With both, each image is mixed by one or the other, evenly.
        prob: fraction of the images that are mixed.

    Example:
        >>> bool(Mixing()), bool(Mixing(cutmix=1.0))
        (False, True)
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    prob: float = 0.5

    def __bool__(self) -> bool:
        return self.prob > 0 and (self.mixup > 0 or self.cutmix > 0)

    def check_inputs(self, inputs: object) -> None:
        """Refuse inputs that cannot be mixed.

        Raises:
            InputError: for whole numbers that are no images, and for cutmix of what has no area.
        """
        if not self:
            return
        dtype, shape = getattr(inputs, "dtype", torch.uint8), tuple(getattr(inputs, "shape", ()))
        if not (dtype.is_floating_point or dtype == torch.uint8):
            raise InputError(f"mixup and cutmix need images or floats, got {dtype} inputs; leave both out")
        if self.cutmix and len(shape) != 4:
            raise InputError(f"cutmix needs images (N, C, H, W), got inputs {shape}; use only mixup")


def mix(
    inputs: Tensor,
    partners: Tensor,
    labels: tuple[Tensor, Tensor],
    index: tuple[Tensor, Tensor],
    mixing: Mixing,
    *,
    uniforms: Numbers,
    num_classes: int,
) -> tuple[Tensor, MixedLabels]:
    """Mix each of `inputs` (B, ...) with the one beside it in `partners`.

    Args:
        inputs, partners: floats of the same shape.
        labels, index: of both.
        mixing: what to do.
        uniforms: (B, 5) from `draw`; 1 in the first column leaves an image as it is.
        num_classes: K.

    Returns:
        New inputs, and labels with the weight that each image's own sample has: of cutmix the part of the area that it
        keeps, once the box is clipped at the borders.

    Example:
        >>> black, white = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
        >>> rows = (torch.tensor([0]), torch.tensor([1]))
        >>> half = np.array([[0.0, 0.5, 0.5, 0.25, 0.25]])
        >>> images, mixed = mix(black, white, rows, rows, Mixing(cutmix=1.0), uniforms=half, num_classes=2)
        >>> images[0, 0].sum(), mixed.weight, mixed.probs
        (tensor(4.), tensor([0.7500]), tensor([[0.7500, 0.2500]]))
    """
    chosen = uniforms[:, 0] < mixing.prob
    by_cutmix = chosen & ((uniforms[:, 1] >= 0.5) | (mixing.mixup == 0)) & (mixing.cutmix > 0)
    weight, device, per_row = np.ones(len(uniforms)), inputs.device, (-1, *[1] * (inputs.dim() - 1))
    mixed = inputs
    if mixing.mixup:
        rows = chosen & ~by_cutmix
        weight[rows] = _beta(mixing.mixup, uniforms[rows, 2])
        share = send(torch.from_numpy(weight).to(inputs.dtype), device).view(per_row)
        mixed = inputs * share + partners * (1 - share)  # not `lerp`, whose rounding may depend on where a row is
    if mixing.cutmix:
        boxes = np.zeros((len(uniforms), 4), dtype=np.int64)
        height, width = inputs.shape[2:]
        boxes[by_cutmix] = cut_boxes(
            _beta(mixing.cutmix, uniforms[by_cutmix, 2]), uniforms[by_cutmix, 3:], height, width
        )
        left, top, right, bottom = boxes.T
        weight[by_cutmix] = (1 - (right - left) * (bottom - top) / (height * width))[by_cutmix]
        left, top, right, bottom = send(torch.from_numpy(boxes), device).T[:, :, None]
        x, y = torch.arange(width, device=device), torch.arange(height, device=device)
        inside = ((x >= left) & (x < right))[:, None, None, :] & ((y >= top) & (y < bottom))[:, None, :, None]
        mixed = partners.where(inside, mixed)
    own = send(torch.from_numpy(weight).to(torch.float32), device)
    return mixed, mix_labels(*labels, own, num_classes=num_classes, partner_index=index[1])


def draw(
    seed: int,
    epoch: int,
    index: NDArray[np.int64],
    can_be_mixed: NDArray[np.bool_],
    view: int | NDArray[np.int64] = 0,
) -> Numbers:
    """The random numbers of images (B, 5): whether, which way, how much, and where across and down.

    Of a sample that comes again in an epoch, in another `view`, they are others.
    """
    uniforms = random_numbers(seed, epoch, VIEW + view, index, count=5)
    uniforms[~can_be_mixed, 0] = 1.0
    return uniforms


def cut_boxes(stays: Numbers, centres: Numbers, height: int, width: int) -> NDArray[np.int64]:
    """Left, top, right and bottom of boxes (B, 4) of about `1 - stays` of the area each, clipped at the borders.

    Args:
        stays: (B,) fractions of the area.
        centres: (B, 2) across and down, in [0, 1).
        height, width: of the images.

    Example:
        >>> cut_boxes(np.array([0.75]), np.array([[0.0, 0.5]]), 8, 8)
        array([[0, 2, 2, 6]])
    """
    sides = np.array([width, height])
    half = np.floor(sides * np.sqrt(1 - stays)[:, None] / 2).astype(np.int64)
    middle = np.floor(centres * sides).astype(np.int64)
    return np.concatenate([np.maximum(middle - half, 0), np.minimum(middle + half, sides)], axis=1)


def _beta(alpha: float, uniforms: Numbers) -> Numbers:
    """Numbers of Beta(alpha, alpha), from uniform ones by the inverse of its distribution."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv(alpha, alpha, uniforms), dtype=np.float64)
