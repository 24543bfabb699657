"""Probabilities that are as sure as they are right: one temperature for all logits (arXiv 1706.04599).

Dividing logits by a temperature changes neither their order nor which class is the most probable one. So accuracy and
every comparison of methods stay as they are; NLL and calibration error change.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from drkd.utils.arguments import check_arguments
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError, NonFiniteLossError

BOUNDS = (0.01, 100.0)
"""The least and the largest temperature."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T that minimises the NLL of `logits / T`, in float64, from 0.01 to 100, to six digits.

    If every prediction is correct, the NLL has no minimum: it falls until all probabilities are 1. Each label then
    counts as the runner-up's with a weight of 1 / (N + 2), as Platt proposed, the doubt left after N correct
    predictions.

    Args:
        logits: (N, K), finite.
        labels: (N,) classes, for a softmax; or (N, K) of 0 and 1, for a sigmoid per class, which share one
            temperature. Labels of -100 do not count.

    Returns:
        The temperature; 1 if none is better than another, for instance without samples.

    Raises:
        InputError: for shapes that do not fit.
        NonFiniteLossError: for logits that are NaN or infinite.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])
        >>> T = fit_temperature(logits, torch.tensor([0, 0, 0, 1]))
        >>> round((logits / T).softmax(1)[0, 0].item(), 5)
        0.75
    """
    check_arguments(fit_temperature, locals())
    if logits.ndim != 2 or labels.shape not in (logits.shape, logits.shape[:1]):
        raise InputError(
            f"`fit_temperature` needs logits (N, K) and labels (N,) or (N, K), got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if not logits.isfinite().all():
        raise NonFiniteLossError("cannot fit a temperature to NaN or infinite logits: the network has diverged")
    rows, targets = _counted(logits.detach().cpu().double(), labels.detach().cpu().long())
    if not len(rows):
        return 1.0
    right = rows.gather(1, targets[:, None]).squeeze(1)
    others = rows.scatter(1, targets[:, None], -math.inf)
    doubt = 1 / (len(rows) + 2) if bool((right >= others.max(dim=1).values).all()) else 0.0
    runner_up = others.argmax(dim=1)

    def nll(log_temperature: float) -> float:
        scaled = rows * math.exp(-log_temperature)
        found = F.cross_entropy(scaled, targets).item()
        return (1 - doubt) * found + doubt * F.cross_entropy(scaled, runner_up).item() if doubt else found

    from scipy.optimize import minimize_scalar  # half a second, which no training should begin with

    low, high = map(math.log, BOUNDS)
    best = minimize_scalar(nll, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return float(f"{math.exp(best.x):.6g}") if best.fun < nll(0.0) else 1.0


def _counted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that count, with a class each; several labels at once are a row of "no" and "yes" each."""
    if labels.ndim == 2:
        logits, labels = torch.stack([torch.zeros_like(logits), logits], dim=2).flatten(0, 1), labels.flatten()
    counted = labels != IGNORED
    return logits[counted], labels[counted]
