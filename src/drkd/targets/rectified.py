"""The target that corrects another one."""

from collections.abc import Callable

from torch import Tensor

from drkd.targets.base import StudentBatch, Target, TargetOutput, ask
from drkd.targets.rectify import labels_at, rectifier_of, swap, swap_at, swap_in_order
from drkd.targets.rules import OneHot
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError

Rectifier = str | Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor | None]]
"""A name that `rectifier_of` takes, or a function of (logits, labels) to corrected logits, or to `(logits, valid)`."""


class Rectified(Target):
    """Another target, corrected with the labels wherever it is wrong.

    Args:
        target: the source of finite logits; `OneHot` is refused, since labels need no correction.
        rectifier: `swap`, `bayes`, `bayes:WRONG`, `smooth` or `drop` (see `drkd.targets.rectify`), or a function of
            (logits, labels) that returns corrected logits, or `(logits, valid)` to drop rows. If labels name several
            classes, it receives their distributions, shaped like the logits; rows that do not count are uniform.

    Example:
        >>> import torch
        >>> from drkd.targets import Frozen
        >>> target = Rectified(Frozen(lambda inputs: inputs))
        >>> output = target(StudentBatch(torch.zeros(1, 3), torch.tensor([2]), inputs=torch.tensor([[5.0, 1.0, 2.0]])))
        >>> output.logits, output.changed
        (tensor([[2., 1., 5.]]), tensor([True]))
    """

    def __init__(self, target: Target, rectifier: Rectifier = "swap") -> None:
        check_arguments(Rectified.__init__, locals())
        super().__init__()
        if isinstance(target, (OneHot, Rectified)):
            raise InputError(
                f"`Rectified` needs a target with finite logits of its own, got {type(target).__name__}; "
                "pass Frozen, Ema, Memory, Virtual or Uniform"
            )
        self.target = target
        self.rectifier = rectifier_of(rectifier) if isinstance(rectifier, str) else rectifier
        self.needs = target.needs

    def forward(self, batch: StudentBatch) -> TargetOutput:
        output = ask(self.target, batch)
        before, valid, labels = output.logits, output.valid, batch.labels
        if before is None:
            raise InputError(f"`Rectified` needs logits, and {type(self.target).__name__} gave none; use it alone")
        if batch.mixed is not None:
            labels = batch.mixed.probs
        if self.rectifier is swap and batch.mixed is not None:
            after, changed = swap_in_order(before, labels, batch.mixed.most_named)
            return TargetOutput(after, valid, changed if valid is None else changed & valid)
        if self.rectifier is swap:  # it knows what it changes, from the label's logit alone
            checked = batch.all_counted
            label_index, counted = (
                (labels.unsqueeze(1), None) if checked else labels_at(before, labels, IGNORED, "Rectified")
            )
            after, changed = swap_at(before, label_index, counted)
            return TargetOutput(after, valid, changed if valid is None else changed & valid)
        rectified = self.rectifier(before, labels)
        after, kept = (rectified, None) if isinstance(rectified, Tensor) else rectified
        changed = (after != before).any(dim=1)
        if kept is not None:
            changed = changed | ~kept
        if valid is not None:  # a row without a target has nothing to rectify
            changed = changed & valid
        return TargetOutput(after, kept if valid is None else valid if kept is None else valid & kept, changed)
