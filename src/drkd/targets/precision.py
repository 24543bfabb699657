"""In which precision a frozen network is asked: in bfloat16 where that keeps its answers."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from drkd.utils.checks import check_fraction

TeacherPrecision = Literal["float32", "bfloat16"]

ROWS = 128
"""Samples whose answers are compared, at most."""


@dataclass(frozen=True)
class Tolerance:
    """How much a network's answers may change in bfloat16; beyond it is asked in float32.

    Attributes:
        deviation: the largest change of a logit, as a fraction of the largest logit.
        agreement: the least fraction of rows whose class stays the same.

    Example:
        >>> one, other = torch.tensor([[2.0, 1.0], [0.0, 4.0]]), torch.tensor([[2.0, 1.1], [0.0, 4.0]])
        >>> Tolerance().broken_by(one, other), Tolerance(deviation=0.01).broken_by(one, other)
        (None, 'a logit would change by 0.025 of the largest one, more than 0.01')
    """

    deviation: float = 0.03
    agreement: float = 0.97

    def __post_init__(self) -> None:
        check_fraction("deviation", self.deviation)
        check_fraction("agreement", self.agreement)

    def broken_by(self, exact: Tensor, rounded: Tensor) -> str | None:
        """Why logits (B, K, ...) are too far from the `exact` ones; None where they are not."""
        exact, rounded = exact.double(), rounded.double()
        if not rounded.isfinite().all():
            return "a logit would not be finite"
        scale = exact.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        deviation = float((exact - rounded).abs().max() / scale)
        if deviation > self.deviation:
            return f"a logit would change by {deviation:.2g} of the largest one, more than {self.deviation:g}"
        agreement = float((exact.argmax(dim=1) == rounded.argmax(dim=1)).double().mean())
        if agreement < self.agreement:
            return f"{agreement:.1%} of the rows would keep their class, fewer than {self.agreement:.0%}"
        return None


def computing_in(precision: TeacherPrecision | None, device: str) -> AbstractContextManager[Any]:
    """A context in which networks compute in `precision`, whatever is around it; None leaves that as it is."""
    if precision is None:
        return nullcontext()
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


@torch.no_grad()
def why_not_bfloat16(network: nn.Module, inputs: Tensor, tolerance: Tolerance) -> str | None:
    """Why `network` is not to be asked in bfloat16, by its answers about `inputs`; None where it may be.

    Example:
        >>> why_not_bfloat16(nn.Flatten(), torch.ones(2, 3), Tolerance()) is None
        True
    """
    with computing_in("float32", inputs.device.type):
        exact = network(inputs)
    try:
        with computing_in("bfloat16", inputs.device.type):
            rounded = network(inputs)
    except RuntimeError as reason:  # an operation that there is in float32 only
        return str(reason).splitlines()[0]
    return tolerance.broken_by(exact, rounded)
