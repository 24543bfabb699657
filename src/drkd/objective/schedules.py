"""Schedules, as plain functions of how far the training is: nothing to save, nothing to restore."""

import math
from collections.abc import Callable, Sequence

Weight = float | Callable[[float, int], float]
"""A term's weight: a number, or a function of (progress in [0, 1], completed epochs)."""

STEP_MILESTONES = (0.3, 0.6, 0.8)
"""Parts of the training after which the papers' step schedule divides the learning rate: epochs 60, 120, 160 of 200."""

STEP_GAMMA = 0.2
"""The papers' factor at each milestone."""


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


def learning_rate(
    step: int,
    *,
    lr: float,
    steps_per_epoch: int,
    epochs: int,
    schedule: str = "step",
    milestones: Sequence[float] = STEP_MILESTONES,
    gamma: float = STEP_GAMMA,
    warmup_epochs: float = 0.0,
) -> float:
    """The learning rate of optimizer step `step` (the first is 0).

    `step` multiplies by `gamma` at each of the `milestones`, parts of the training (the papers' are the defaults: times
    0.2 at 30, 60 and 80% of the epochs), `cosine` falls to 0 along half a
    cosine, `constant` stays. Over the first `warmup_epochs` the rate climbs linearly to its scheduled value.

    Example:
        >>> [round(learning_rate(s, lr=0.1, steps_per_epoch=1, epochs=10), 5) for s in (0, 3, 6, 9)]
        [0.1, 0.02, 0.004, 0.0008]
        >>> learning_rate(0, lr=1.0, steps_per_epoch=4, epochs=10, warmup_epochs=1)
        0.25
    """
    if schedule == "step":
        epoch = step // steps_per_epoch
        rate = lr * gamma ** sum(epoch >= round(part * epochs) for part in milestones)
    elif schedule == "cosine":
        rate = lr * (1 + math.cos(math.pi * step / (steps_per_epoch * epochs))) / 2
    else:
        rate = lr
    warmup_steps = warmup_epochs * steps_per_epoch
    return rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps else rate
