"""Whether an exported file answers as the network does: both on the same real images."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from drkd.export.runtimes import Logits, Pixels, Session
from drkd.training.metrics import calibration_error
from drkd.utils.errors import ParityError

BATCH = 64
"""Images per call; the first call is with one, so that another batch size is seen as well."""


@dataclass(frozen=True)
class Tolerance:
    """What an exported file may differ by.

    Attributes:
        difference: largest difference of a logit, as a fraction of the network's largest logit, or absolute where that
            is below 1; None for any.
        agreement: smallest fraction of the images that get the same class.
        accuracy_drop: what accuracy may lose, as a fraction.

    One image that changes its class is always within agreement and accuracy: of few images it is many percent.
    """

    difference: float | None
    agreement: float
    accuracy_drop: float


FLOAT = Tolerance(difference=1e-3, agreement=0.999, accuracy_drop=0.001)
INT8 = Tolerance(difference=None, agreement=0.9, accuracy_drop=0.02)


@dataclass(frozen=True)
class Parity:
    """What was found; accuracies, agreement and calibration errors are fractions.

    Attributes:
        samples: how many images.
        largest_difference: of a logit, absolute.
        largest_logit: of the network, absolute.
        agreement: fraction of the images that both give the same class.
        accuracy_before, accuracy_after: of the network and of the file.
        ece_before, ece_after: calibration error of their probabilities, at the network's temperature; None where
            logits are not finite, and in what older versions wrote.
    """

    samples: int
    largest_difference: float
    largest_logit: float
    agreement: float
    accuracy_before: float
    accuracy_after: float
    ece_before: float | None = None
    ece_after: float | None = None

    metric: ClassVar[str] = "accuracy"
    same: ClassVar[str] = "same class"
    differs: ClassVar[str] = "logit"

    @property
    def before(self) -> float:
        """What the network achieves."""
        return self.accuracy_before

    @property
    def after(self) -> float:
        """What the file achieves."""
        return self.accuracy_after

    def describe(self, temperature: float = 1.0) -> str:
        """In words, as `drkd export` prints it; the temperature is that of the calibration errors."""
        return (
            f"accuracy {100 * self.accuracy_before:.2f}% before, {100 * self.accuracy_after:.2f}% after; "
            f"the same class for {100 * self.agreement:.2f}%; largest logit difference {self.largest_difference:.2g} "
            f"(largest logit {self.largest_logit:.3g}); ECE {100 * (self.ece_before or 0):.2f}% before, "
            f"{100 * (self.ece_after or 0):.2f}% after, at temperature {temperature:.3g}"
        )


def compare_logits(before: Logits, after: Logits, labels: NDArray[np.int64], temperature: float = 1.0) -> Parity:
    """Logits (N, K) of the network and of its export, and the labels (N,), or (N, K) of several at once.

    The temperature is that of the probabilities; it changes the calibration errors only.

    Example:
        >>> before, after = np.float32([[2, 0], [1, 0]]), np.float32([[2, 0], [0, 1]])
        >>> found = compare_logits(before, after, np.array([0, 0]))
        >>> found.largest_difference, found.agreement, found.accuracy_before, found.accuracy_after
        (1.0, 0.5, 1.0, 0.5)
    """
    if labels.ndim == 2:  # a yes or no for each class
        known = labels >= 0
        guesses, answers, labels = (before > 0)[known], (after > 0)[known], labels[known]
        rows = [np.stack([0 * logits, logits], axis=-1)[known] for logits in (before, after)]
    else:
        guesses, answers = before.argmax(axis=1), after.argmax(axis=1)
        rows = [before, after]
    errors = [_error(each / temperature, named == labels) for each, named in zip(rows, (guesses, answers), strict=True)]
    return Parity(
        samples=len(before),
        largest_difference=float(np.abs(before.astype(np.float64) - after).max()),
        largest_logit=float(np.abs(before).max()),
        agreement=float((guesses == answers).mean()),
        accuracy_before=float((guesses == labels).mean()),
        accuracy_after=float((answers == labels).mean()),
        ece_before=errors[0],
        ece_after=errors[1],
    )


def _error(logits: NDArray[np.floating], right: NDArray[np.bool_]) -> float | None:
    """The calibration error of logits (N, K); None where some are not finite."""
    if not np.isfinite(logits).all():
        return None
    return calibration_error(torch.from_numpy(logits).softmax(dim=1).max(dim=1).values, torch.from_numpy(right))


def logits_of(session: Session, pixels: Pixels) -> Logits:
    """Logits (N, K) of pixels (N, C, H, W): the first image alone, the rest in batches."""
    bounds = [0, *range(1, len(pixels), BATCH), len(pixels)]
    return np.concatenate([session(pixels[start:end]) for start, end in pairwise(bounds)])


def refuse_beyond(tolerance: Tolerance, found: Parity, what: str, advice: str = "") -> None:
    """Do nothing within the tolerance.

    Args:
        tolerance: what may differ.
        found: what does.
        what: the file, for the message.
        advice: what else could be done, for the message.

    Raises:
        ParityError: that names the first bound that is passed.

    Example:
        >>> refuse_beyond(FLOAT, Parity(100, 0.5, 10.0, 1.0, 0.9, 0.9), "model.onnx")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        drkd.utils.errors.ParityError: model.onnx differs from the network: a logit by 0.5 where 0.01 are allowed...
    """
    one = 1 / found.samples
    scale = max(1.0, found.largest_logit)
    drop = found.accuracy_before - found.accuracy_after
    agreement = min(tolerance.agreement, 1 - one)
    allowed = max(tolerance.accuracy_drop, one)
    reason = option = ""
    if not np.isfinite(found.largest_difference):
        reason = "some logits are not finite"
    elif tolerance.difference is not None and found.largest_difference > tolerance.difference * scale:
        bound = tolerance.difference * scale
        reason = f"a logit differs by {found.largest_difference:.3g} (allowed: {bound:.3g})"
        option = "--max-difference"
    elif found.agreement < agreement - 1e-9:
        reason = f"only {100 * found.agreement:.2f}% get the same class (required: {100 * agreement:.2f}%)"
        option = "--min-agreement"
    elif drop > allowed + 1e-9:
        reason = f"accuracy falls by {100 * drop:.2f} points (allowed: {100 * allowed:.2f})"
        option = "--max-drop"
    if reason:
        way = f"allow it with {option}" if option else "export from a network that has not diverged"
        raise ParityError(f"{what} is rejected: on {found.samples} images {reason}; {advice}{way}")
