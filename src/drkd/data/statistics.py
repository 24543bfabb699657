"""Mean and deviation of images, as fractions of full brightness."""

import torch
from torch import Tensor

from drkd.data.images import LazyImages
from drkd.data.readers import Statistics


def measure_statistics(images: Tensor | LazyImages, most: int = 5000) -> Statistics:
    """Mean and deviation per channel over up to `most` images (N, C, H, W), evenly spaced."""
    rows = torch.arange(0, len(images), max(1, len(images) // most))
    counts = torch.zeros(images.shape[1], 256, dtype=torch.float64)  # of each value: exact, and soon counted
    for first in range(0, len(rows), 100):
        some = images[rows[first : first + 100]]
        counts += torch.stack([torch.bincount(one.flatten(), minlength=256) for one in some.transpose(0, 1)])
    levels, number = torch.arange(256, dtype=torch.float64) / 255, counts.sum(dim=1)
    mean = counts @ levels / number
    std = ((counts * (levels - mean[:, None]) ** 2).sum(dim=1) / (number - 1)).sqrt().clamp(min=1e-3)
    return tuple(round(v, 6) for v in mean.tolist()), tuple(round(v, 6) for v in std.tolist())
