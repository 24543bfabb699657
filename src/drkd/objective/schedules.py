"""Schedules of weights, as plain functions of how far the training is: nothing to save, nothing to restore."""

from collections.abc import Callable

Weight = float | Callable[[float, int], float]
"""A term's weight: a number, or a function of (progress in [0, 1], completed epochs)."""


def growing(final: float, epochs: int | None = None) -> Callable[[float, int], float]:
    """A weight that grows linearly to `final` (PS-KD, arXiv 2006.12000).

    With `epochs` it is the published staircase `final * (epoch + 1) / epochs`; without, `final * progress`.

    Example:
        >>> growing(0.8, epochs=4)(0.0, 0), growing(0.8)(0.5, 2)
        (0.2, 0.4)
    """

    def weight(progress: float, epoch: int) -> float:
        return final * progress if epochs is None else final * min(1.0, (epoch + 1) / epochs)

    return weight


def linear(initial: float, final: float) -> Callable[[float, int], float]:
    """A weight that goes linearly from `initial` to `final` over the training (MaxSup, arXiv 2502.15798).

    Example:
        >>> linear(0.1, 0.2)(0.0, 0), linear(0.0, 1.0)(0.25, 3)
        (0.1, 0.25)
    """

    def weight(progress: float, epoch: int) -> float:
        del epoch  # the progress says it finer
        return initial + (final - initial) * progress

    return weight


def complement(weight: Callable[[float, int], float]) -> Callable[[float, int], float]:
    """The weight that adds up to 1 with `weight`.

    Example:
        >>> complement(growing(0.8))(0.5, 0)
        0.6
    """
    return lambda progress, epoch: 1 - weight(progress, epoch)
