"""Batches made one at a time, with every crop, flip and rotation as one look-up by `grid_sample`: slow and plain."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

REPLAY, PARTNER = 1, 2
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(words):
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def uniforms_of(seed, epoch, view, index, count=4):
    """SplitMix64 of (seed, epoch, view, index, column)."""
    key = np.zeros(1, dtype=np.uint64)
    for word in (seed, epoch, view):
        key = mix(key + np.uint64(word) + GOLDEN)
    rows = mix(key + mix(index.astype(np.uint64) + GOLDEN))[:, None]
    bits = mix(rows + np.arange(count, dtype=np.uint64) * GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def augment(images, index, augmentation, *, seed, epoch, view=0):
    """Float images (B, C, H, W) as `drkd.data.augment.augment` shows them."""
    if not (augmentation.pad or augmentation.flip or augmentation.degrees) or len(images) == 0:
        return images
    height, width = images.shape[2:]
    uniforms = uniforms_of(seed, epoch, view, index.numpy())
    offsets = np.floor(uniforms[:, :2] * (2 * augmentation.pad + 1)) - augmentation.pad
    mirror = np.where(uniforms[:, 2] < 0.5, -1.0, 1.0) if augmentation.flip else np.ones(len(uniforms))
    angle = np.deg2rad((2 * uniforms[:, 3] - 1) * augmentation.degrees)
    turn = np.zeros((len(uniforms), 2, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 0, 1] = -np.sin(angle) * height / width
    turn[:, 1, 0] = np.sin(angle) * width / height
    grid = F.affine_grid(torch.as_tensor(turn, dtype=images.dtype), list(images.shape), align_corners=False)
    outside = grid.abs().amax(dim=-1, keepdim=True) > 1
    scale = torch.as_tensor(np.stack([mirror, np.ones_like(mirror)], axis=1), dtype=images.dtype)
    shift = torch.as_tensor(offsets * 2 / np.array([width, height]), dtype=images.dtype)
    grid = (grid * scale[:, None, None] + shift[:, None, None]).masked_fill(outside, 3.0)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def batches(loader, epoch, augmentation):
    """(inputs, labels, index) of each batch of a loader of images in memory, without partners."""
    split, rank, world_size = loader.split, loader.rank, loader.world_size
    order = np.arange(len(split))
    if loader.training:
        order = np.random.default_rng([loader.seed, epoch]).permutation(order)
    cuts = [order[begin:end] for begin, end in pairwise(loader.bounds)]
    mean, std = loader.mean.view(1, -1, 1, 1), loader.std.view(1, -1, 1, 1)
    for number, cut in enumerate(cuts):
        parts = [(cut[rank::world_size], 0)]
        if loader.replay and number:
            parts.insert(0, (cuts[number - 1][rank::world_size], REPLAY))
        served = []
        for rows, view in parts:
            index = torch.from_numpy(rows)
            images = split.inputs[index].float().div_(255)
            images = augment(images, index, augmentation, seed=loader.seed, epoch=epoch, view=view)
            served.append((images.sub(mean).div_(std), split.labels[index], index))
        yield tuple(map(torch.cat, zip(*served, strict=True)))
