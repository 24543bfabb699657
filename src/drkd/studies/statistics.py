"""Paired statistics over seeds: every method of a seed saw the same batches from the same initial weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_PAIRS = 3
"""The fewest pairs for a test."""


@dataclass(frozen=True)
class Paired:
    """A difference between two methods over the seeds that both have.

    Attributes:
        mean_difference: of the first minus the second.
        ci95: 95% interval of the mean difference (Student's t); None below two seeds.
        p_value: two-sided paired t-test; None below three seeds, or where all differences are one number other than 0.
        seeds: how many.
    """

    mean_difference: float
    ci95: tuple[float, float] | None
    p_value: float | None
    seeds: int


def mean_and_deviation(values: Sequence[float | None]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (None below two values) of those that are there.

    Example:
        >>> mean_and_deviation([1.0, None, 3.0])
        (2.0, 1.4142135623730951)
    """
    there = [value for value in values if value is not None]
    if not there:
        return math.nan, None
    mean = math.fsum(there) / len(there)
    if len(there) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in there) / (len(there) - 1))


def paired(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Paired | None:
    """Compare two lists of one number per seed; None where they share no seed.

    Example:
        >>> result = paired([0.9, 0.8, 0.9], [0.8, 0.8, 0.7])
        >>> round(result.mean_difference, 3), [round(end, 3) for end in result.ci95], round(result.p_value, 3)
        (0.1, [-0.148, 0.348], 0.225)
    """
    from scipy import special

    differences = [a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if not differences:
        return None
    count = len(differences)
    mean, deviation = mean_and_deviation(differences)
    if deviation is None:
        return Paired(mean, None, None, count)
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        p_value = 1.0 if abs(mean) <= 1e-12 and count >= FEWEST_PAIRS else None
        return Paired(mean, (mean, mean), p_value, count)
    error = deviation / math.sqrt(count)
    half = float(special.stdtrit(count - 1, 0.975)) * error
    p_value = 2 * float(special.stdtr(count - 1, -abs(mean) / error)) if count >= FEWEST_PAIRS else None
    return Paired(mean, (mean - half, mean + half), p_value, count)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for several tests (1979); None stays None and does not count.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[i] = highest
    return corrected
