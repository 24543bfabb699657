"""Draws by a seed that go by the labels: parts with classes in proportion, labels made wrong."""

import numpy as np
import torch
from torch import Tensor

from drkd.utils.errors import InputError


def stratified(
    labels: Tensor, size: float | int, *, seed: int, what: str, advice: str = "give a test split"
) -> tuple[Tensor, Tensor]:
    """Positions that remain and positions that are taken, both sorted, classes in proportion.

    Raises:
        InputError: where a class would have none of either; it ends with `advice`.
    """
    from sklearn.model_selection import train_test_split

    _, counts = np.unique(labels.numpy(), return_counts=True)
    classes = len(counts)
    try:
        rest, taken = train_test_split(
            np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels.numpy()
        )
    except ValueError as reason:
        raise InputError(
            f"cannot take {size} of {len(labels)} samples as {what}: each of {classes} classes needs one there and "
            f"one that remains, the smallest has {counts.min()}; add images, or {advice}"
        ) from reason
    return torch.from_numpy(np.sort(rest)), torch.from_numpy(np.sort(taken))


def limited(labels: Tensor, size: int, *, seed: int, what: str) -> Tensor:
    """Positions of `size` samples, sorted: classes in proportion, at least one of each.

    Raises:
        InputError: if there are more classes than that.

    Example:
        >>> limited(torch.tensor([0, 0, 0, 1]), 3, seed=0, what="the limited split").tolist()[-1]
        3
    """
    _, class_of, counts = np.unique(labels.numpy(), return_inverse=True, return_counts=True)
    classes, rest = len(counts), len(labels) - size
    if size < classes:
        raise InputError(f"{what} needs at least {classes} samples, one of each class, got {size}")
    if counts.min() > 1 and rest >= classes:  # else scikit-learn refuses
        _, drawn = stratified(labels, size, seed=seed, what=what)
        if len(set(labels[drawn].tolist())) == classes:
            return drawn
    shares = counts * size / len(labels)
    taken = np.maximum(shares.astype(np.int64), 1)
    while taken.sum() < size:
        taken[np.where(taken < counts, shares - taken, -np.inf).argmax()] += 1
    while taken.sum() > size:  # rare classes have more than their share
        taken[np.where(taken > 1, taken - shares, -np.inf).argmax()] -= 1
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(class_of == label))[:count] for label, count in enumerate(taken.tolist())]
    return torch.from_numpy(np.sort(np.concatenate(rows)))


def with_noise(labels: Tensor, fraction: float, num_classes: int, *, seed: list[int]) -> Tensor:
    """`labels` with exactly `round(fraction * N)` of them moved to another class, drawn evenly."""
    rng = np.random.default_rng(seed)
    noisy = labels.numpy().copy()
    rows = rng.permutation(len(noisy))[: round(fraction * len(noisy))]
    noisy[rows] = (noisy[rows] + rng.integers(1, num_classes, size=len(rows))) % num_classes
    return torch.from_numpy(noisy)
