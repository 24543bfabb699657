"""Schedules of weights, as functions of how far the training is: nothing to save, nothing to restore.

They are frozen data, so that an objective can be pickled and sent to another process.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from drkd.utils.checks import check_choice

Weight = float | Callable[[float, int], float]
"""A term's weight: a number, or a function of (progress in [0, 1], completed epochs)."""


AlphaSchedule = Literal["constant", "linear", "cosine", "rising"]
"""How the weight of a soft target goes over the training: see `Scheduled`."""


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


@dataclass(frozen=True)
class Scheduled:
    """A weight that decays from `alpha` to 0, by a line or half a cosine, or rises by a line from 0 to it.

    Example:
        >>> [Scheduled(0.4, shape)(0.5, 0) for shape in ("linear", "rising")]
        [0.2, 0.2]
        >>> round(Scheduled(0.4, "cosine")(0.25, 0), 4)
        0.3414
    """

    alpha: float
    shape: Literal["linear", "cosine", "rising"]

    def __call__(self, progress: float, epoch: int) -> float:
        del epoch  # the progress says it finer
        if self.shape == "rising":
            return self.alpha * progress
        if self.shape == "linear":
            return self.alpha * (1 - progress)
        return self.alpha * (1 + math.cos(math.pi * progress)) / 2


def weights_of(alpha: float, schedule: AlphaSchedule) -> tuple[Weight, Weight]:
    """The weights of the labels and of the soft target, which add up to 1.

    Raises:
        InputError: for an unknown schedule.

    Example:
        >>> weights_of(0.25, "constant")
        (0.75, 0.25)
    """
    check_choice("alpha_schedule", schedule, ("constant", "linear", "cosine", "rising"))
    if schedule == "constant":
        return 1 - alpha, alpha
    soft = Scheduled(alpha, schedule)
    return Complement(soft), soft
