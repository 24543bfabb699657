"""The learning rate as a plain function of the step: nothing to save, nothing to restore."""

import math

from drkd.config import ScheduleOptions


def learning_rate(step: int, settings: ScheduleOptions, steps_per_epoch: int) -> float:
    """The learning rate of optimizer step `step` (the first is 0).

    `step` multiplies by `gamma` at each of the `milestones`, fractions of the training (the papers' are the defaults:
    times 0.2 at 30, 60 and 80% of the epochs), `cosine` falls to 0 along half a cosine, `constant` never changes. Over
    the first `warmup_epochs` the rate climbs linearly to its scheduled value.

    Example:
        >>> step_schedule = ScheduleOptions(lr=0.1, epochs=10)
        >>> [round(learning_rate(step, step_schedule, steps_per_epoch=1), 5) for step in (0, 3, 6, 9)]
        [0.1, 0.02, 0.004, 0.0008]
        >>> learning_rate(0, ScheduleOptions(lr=1.0, epochs=10, warmup_epochs=1), steps_per_epoch=4)
        0.25
    """
    if settings.schedule == "step":
        epoch = step // steps_per_epoch
        passed = sum(epoch >= round(milestone * settings.epochs) for milestone in settings.milestones)
        rate = settings.lr * settings.gamma**passed
    elif settings.schedule == "cosine":
        rate = settings.lr * (1 + math.cos(math.pi * step / (steps_per_epoch * settings.epochs))) / 2
    else:
        rate = settings.lr
    warmup_steps = settings.warmup_epochs * steps_per_epoch
    return rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps else rate
