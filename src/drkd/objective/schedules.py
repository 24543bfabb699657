"""Schedules of weights, as functions of how far the training is: nothing to save, nothing to restore.

They are frozen data, so that an objective can be pickled and sent to another process.
"""

from collections.abc import Callable
from dataclasses import dataclass

Weight = float | Callable[[float, int], float]
"""A term's weight: a number, or a function of (progress in [0, 1], completed epochs)."""


@dataclass(frozen=True)
class Growing:
    """A weight that grows linearly to `final` (PS-KD, arXiv 2006.12000).

    With `epochs` it is the published staircase `final * (epoch + 1) / epochs`; without, `final * progress`.

    Example:
        >>> Growing(0.8, epochs=4)(0.0, 0), Growing(0.8)(0.5, 2)
        (0.2, 0.4)
    """

    final: float
    epochs: int | None = None

    def __call__(self, progress: float, epoch: int) -> float:
        if self.epochs is None:
            return self.final * progress
        return self.final * min(1.0, (epoch + 1) / self.epochs)


@dataclass(frozen=True)
class Linear:
    """A weight that goes linearly from `initial` to `final` over the training (MaxSup, arXiv 2502.15798).

    Example:
        >>> Linear(0.1, 0.2)(0.0, 0), Linear(0.0, 1.0)(0.25, 3)
        (0.1, 0.25)
    """

    initial: float
    final: float

    def __call__(self, progress: float, epoch: int) -> float:
        del epoch  # the progress says it finer
        return self.initial + (self.final - self.initial) * progress


@dataclass(frozen=True)
class Complement:
    """The weight that adds up to 1 with `weight`.

    Example:
        >>> Complement(Growing(0.8))(0.5, 0)
        0.6
    """

    weight: Callable[[float, int], float]

    def __call__(self, progress: float, epoch: int) -> float:
        return 1 - self.weight(progress, epoch)
