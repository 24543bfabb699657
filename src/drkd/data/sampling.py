"""Which samples an epoch shows: classes equally often, or another sample of its class beside each."""

import numpy as np
from numpy.typing import NDArray

from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError


def balanced_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many samples as there are, in random order, each class that occurs equally often, give or take one.

    A class shows its samples in turn, each once before any a second time: a rare class repeats them, a frequent one
    shows a part of them. Ignored samples are not shown.

    Args:
        labels: integers (N,).
        rng: draws the order, and which classes are shown once more where N is no multiple of their number.

    Returns:
        Positions (N,).

    Raises:
        InputError: where there is no sample that counts, or a sample has several classes.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 0, 1])
        >>> np.bincount(labels[balanced_order(labels, np.random.default_rng(0))])
        array([3, 3])
    """
    if labels.ndim != 1:
        raise InputError("balanced sampling needs one class for each sample, got mixed labels; use --sampler shuffled")
    counted = np.flatnonzero(labels != IGNORED)
    if not len(counted):
        raise InputError("balanced sampling needs samples with labels, got none")
    by_class = counted[np.argsort(labels[counted], kind="stable")]
    _, starts = np.unique(labels[by_class], return_index=True)
    classes = np.split(by_class, starts[1:])
    often, more = divmod(len(labels), len(classes))
    shown = np.full(len(classes), often)
    shown[rng.permutation(len(classes))[:more]] += 1
    drawn = [
        np.concatenate([rng.permutation(rows) for _ in range(-(-count // len(rows)))])[:count]
        for rows, count in zip(classes, shown.tolist(), strict=True)
        if count
    ]
    return rng.permutation(np.concatenate(drawn))


def repetitions(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each sample of `order` (N,) was there before.

    Example:
        >>> repetitions(np.array([7, 3, 7, 7]))
        array([0, 0, 1, 2])
    """
    places = np.argsort(order, kind="stable")
    _, starts, counts = np.unique(order[places], return_index=True, return_counts=True)
    before = np.empty_like(order)
    before[places] = np.arange(len(order)) - np.repeat(starts, counts)
    return before


def drawn_partners(labels: NDArray[np.int64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each sample another one of its class, drawn evenly; itself where it is alone.

    Args:
        labels: integers (N,); samples that are ignored are a class like any other.
        uniforms: (N,) random numbers in [0, 1).

    Returns:
        Positions (N,).

    Example:
        >>> drawn_partners(np.array([4, 4, 7]), np.array([0.5, 0.5, 0.5]))
        array([1, 0, 2])
    """
    _, classes = np.unique(labels, return_inverse=True)
    by_class = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes)
    starts, size_of = (np.cumsum(sizes) - sizes)[classes], sizes[classes]
    position_of = np.empty_like(by_class)
    position_of[by_class] = np.arange(len(classes))
    position_of -= starts
    chosen = np.floor(uniforms * np.maximum(size_of - 1, 1)).astype(np.int64)
    chosen += (chosen >= position_of) & (size_of > 1)
    partners: NDArray[np.int64] = by_class[starts + chosen]
    return partners
