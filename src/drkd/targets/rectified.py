"""The target that corrects another one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from drkd.targets.base import Target, Taught
from drkd.targets.rectify import RECTIFIERS
from drkd.targets.rules import OneHot
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.data.loader import Loader

Rectifier = Literal["swap", "smooth", "drop"] | Callable[[Tensor, Tensor], Tensor | Taught]
"""A name in `drkd.targets.rectify`, or a function of (logits, labels) to corrected logits, or to `(logits, valid)`."""


class Rectified(Target):
    """Another target, corrected with the labels wherever it is wrong.

    Args:
        target: the source of finite logits; `OneHot` is refused, since labels need no correction.
        rectifier: `swap`, `smooth` or `drop` (see `drkd.targets.rectify`), or a function of (logits, labels) that returns
            corrected logits, or `(logits, valid)` to take rows out.

    Example:
        >>> import torch
        >>> from drkd.targets import Frozen
        >>> target = Rectified(Frozen(lambda inputs: inputs))
        >>> target(torch.zeros(1, 3), torch.tensor([2]), inputs=torch.tensor([[5.0, 1.0, 2.0]]))[0]
        tensor([[2., 1., 5.]])
    """

    def __init__(self, target: Target, rectifier: Rectifier = "swap") -> None:
        super().__init__()
        if isinstance(target, (OneHot, Rectified)):
            raise InputError(
                f"`Rectified` needs a target with finite logits of its own, got {type(target).__name__}; "
                "pass Frozen, Ema, Memory, Virtual or Uniform"
            )
        if isinstance(rectifier, str) and rectifier not in RECTIFIERS:
            raise InputError(f"unknown rectifier {rectifier!r}; choose from {', '.join(RECTIFIERS)} or pass a function")
        self.target = target
        self.rectifier = RECTIFIERS[rectifier] if isinstance(rectifier, str) else rectifier
        self.needs = target.needs

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        before, valid = self.target(logits, labels, inputs, index)
        return self.rectify(before, valid, labels)

    def rectify(self, logits: Tensor, valid: Tensor | None, labels: Tensor) -> Taught:
        """Correct what the wrapped target gave; a row stays valid only where both say so."""
        rectified = self.rectifier(logits, labels)
        if isinstance(rectified, Tensor):
            return rectified, valid
        after, still_valid = rectified
        if valid is None or still_valid is None:
            return after, valid if still_valid is None else still_valid
        return after, valid & still_valid

    def prepare(self, samples: "Loader") -> None:
        self.target.prepare(samples)

    def update(self, epoch: int = 0) -> None:
        self.target.update(epoch)

    def discard(self) -> None:
        self.target.discard()
