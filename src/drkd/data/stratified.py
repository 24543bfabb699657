"""Draws by a seed that go by the labels: parts with classes in proportion, labels made wrong."""

import numpy as np
import torch
from torch import Tensor

from drkd.utils.errors import InputError


def stratified(labels: Tensor, size: float | int, *, seed: int, what: str) -> tuple[Tensor, Tensor]:
    """Positions that remain and positions that are taken, both sorted, classes in proportion."""
    from sklearn.model_selection import train_test_split

    _, counts = np.unique(labels.numpy(), return_counts=True)
    classes = len(counts)
    if isinstance(size, int) and size < classes:
        raise InputError(f"{what} needs at least {classes} samples, one of each class, got {size}")
    try:
        rest, taken = train_test_split(
            np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels.numpy()
        )
    except ValueError as reason:
        raise InputError(
            f"cannot take {size} of {len(labels)} samples as {what}: each of {classes} classes needs one there and "
            f"one that remains, the smallest has {counts.min()}; add images, or choose another --validation (0: none)"
        ) from reason
    return torch.from_numpy(np.sort(rest)), torch.from_numpy(np.sort(taken))


def with_noise(labels: Tensor, fraction: float, num_classes: int, *, seed: list[int]) -> Tensor:
    """`labels` with exactly `round(fraction * N)` of them moved to another class, drawn evenly."""
    rng = np.random.default_rng(seed)
    noisy = labels.numpy().copy()
    rows = rng.permutation(len(noisy))[: round(fraction * len(noisy))]
    noisy[rows] = (noisy[rows] + rng.integers(1, num_classes, size=len(rows))) % num_classes
    return torch.from_numpy(noisy)
