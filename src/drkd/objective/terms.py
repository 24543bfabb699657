"""The summands of the equation in `objective.py`: a target to match, or a penalty on the student's logits alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from drkd.objective.losses import hard_cross_entropy, soft_cross_entropy_and_entropy
from drkd.objective.schedules import Weight
from drkd.targets import OneHot, Rectified, Target
from drkd.targets.rectify import swap
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.data.loader import Loader

LAST_EPOCH = 2**31
"""Later than any training: where schedules have reached their final value."""


class LossTerm(nn.Module):
    """What an objective adds up. Abstract: `forward` is the subclass's; the rest has a default.

    Args:
        weight: a number, or a function of (progress, completed epochs).
        name: what the summand is called among the losses.
    """

    needs: frozenset[str] = frozenset()
    """What `forward` reads beyond logits and labels, and what it wants of the batches."""

    class_mean = False
    """Whether the loss is divided by the number of classes."""

    def __init__(self, weight: Weight, name: str) -> None:
        super().__init__()
        self.weight = weight
        self.name = name

    def weight_at(self, progress: float, epoch: int) -> float:
        return self.weight(progress, epoch) if callable(self.weight) else self.weight

    def final_weight(self, num_classes: int) -> float:
        """The weight at the end of the training, on a loss that is summed over the classes."""
        del num_classes
        return self.weight_at(1.0, LAST_EPOCH)

    def describe_weight(self) -> str:
        return f"{self.name} {self.final_weight(num_classes=1):g}"

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None, index: Tensor | None, *, by_row: bool
    ) -> dict[str, Tensor]:
        """The summand before its weight, a value per row or their sum.

        `labels` bear `IGNORED` in the rows that do not count; these give 0.

        Returns:
            `loss`; where it has them `kl` and `rectified`, and `rows`, the number of rows to take the mean over.
        """
        raise NotImplementedError

    def prepare(self, samples: "Loader") -> None:
        """Take a look at the training samples before the first step, see `Target.prepare`."""

    def update(self, epoch: int) -> None:
        """Take in the step that was just made; `epoch` counts completed epochs."""

    def discard(self) -> None:
        """Forget the calls since the last update: their step was skipped."""


class Term(LossTerm):
    """One summand of the equation: a weight on the cross-entropy with a target.

    Args:
        target: who teaches.
        weight, name: see `LossTerm`.
        scale: constant factor, such as T^2.
        target_temperature, student_temperature: divide the logits of each side.
        class_mean: report and sum the KL divergence divided by the number of classes, as the public code does,
            instead of the cross-entropy.
        averaged_in_public: whether the papers' public code takes the mean over the classes; only said in words.
        without_target: what a row without a target becomes: plain cross-entropy with its `label`, or `nothing`, and
            then the mean is over the rows that have one.
    """

    def __init__(
        self,
        target: Target,
        weight: Weight = 1.0,
        *,
        name: str,
        scale: float = 1.0,
        target_temperature: float = 1.0,
        student_temperature: float = 1.0,
        class_mean: bool = False,
        averaged_in_public: bool = False,
        without_target: Literal["label", "nothing"] = "label",
    ) -> None:
        super().__init__(weight, name)
        self.target = target
        self.scale = scale
        self.target_temperature = target_temperature
        self.student_temperature = student_temperature
        self.class_mean = class_mean
        self.averaged_in_public = averaged_in_public
        self.without_target = without_target
        self.needs = target.needs

    def final_weight(self, num_classes: int) -> float:
        return super().final_weight(num_classes) * self.scale / (num_classes if self.class_mean else 1)

    def describe_weight(self) -> str:
        weight = f"{self.final_weight(num_classes=1):g}"
        if not (self.class_mean or self.averaged_in_public):
            return f"{self.name} {weight}"
        ours, theirs = (f"{weight}/K", weight) if self.class_mean else (weight, f"{weight} K")
        return f"{self.name} {ours} (public code: {theirs})"

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None, index: Tensor | None, *, by_row: bool
    ) -> dict[str, Tensor]:
        if isinstance(self.target, OneHot):
            return {
                "loss": hard_cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none" if by_row else "sum")
            }
        rows: dict[str, Tensor] = {}
        counted = labels != IGNORED
        soft, valid = self.target_for(logits.detach(), labels, inputs, index, rows)
        taught = counted if valid is None else counted & valid
        loss, fixed = soft_cross_entropy_and_entropy(
            logits, soft, student_temperature=self.student_temperature, target_temperature=self.target_temperature
        )
        rows["kl"] = (loss.detach() - fixed).where(taught, 0.0)
        if self.class_mean:
            loss = (loss - fixed) / logits.shape[1]
        loss = self.scale * loss
        if self.without_target == "nothing":
            rows["rows"] = taught
            loss = loss.where(taught, 0.0)
        elif valid is not None:
            loss = loss.where(valid, hard_cross_entropy(logits, labels, ignore_index=IGNORED))
        rows["loss"] = loss.where(counted, 0.0)
        return rows if by_row else {name: values.sum() for name, values in rows.items()}

    def target_for(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None, index: Tensor | None, rows: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """What the target says; for a rectified one, `rows` receives which rows were changed."""
        rectified = self.target if isinstance(self.target, Rectified) else None
        source = self.target if rectified is None else rectified.target
        soft, valid = source(logits, labels, inputs, index)
        if soft.shape != logits.shape:
            raise InputError(
                f"the target {type(source).__name__} gives logits {tuple(soft.shape)} for a student's "
                f"{tuple(logits.shape)}; teacher and student need the same classes"
            )
        if rectified is not None:
            before, known = soft, valid
            soft, valid = rectified.rectify(before, known, labels)
            counted = labels != IGNORED
            if rectified.rectifier is swap:  # it changes a row where it changes the label's logit: no need to read all
                label_index = labels.where(counted, 0).unsqueeze(1)
                changed = (soft.gather(1, label_index) != before.gather(1, label_index)).squeeze(1)
            else:
                changed = (soft != before).any(dim=1)
            if valid is not None and valid is not known:  # the rectifier took rows out
                changed |= ~valid if known is None else known & ~valid
            rows["rectified"] = (changed & counted).float()
        return soft.detach(), valid

    def prepare(self, samples: "Loader") -> None:
        self.target.prepare(samples)

    def update(self, epoch: int) -> None:
        self.target.update(epoch)

    def discard(self) -> None:
        self.target.discard()


class Penalty(LossTerm):
    """A weight on a function of the student's logits alone, where a method is no match with a target.

    Args:
        function: from logits (B, K) or (B, K, ...) to a value per row.
        weight, name: see `LossTerm`.

    Example:
        >>> import torch
        >>> penalty = Penalty(lambda logits: logits.square().mean(dim=1), 0.5, name="square")
        >>> penalty(torch.full((2, 3), 2.0), torch.tensor([0, IGNORED]), None, None, by_row=True)["loss"]
        tensor([4., 0.])
    """

    def __init__(self, function: Callable[[Tensor], Tensor], weight: Weight = 1.0, *, name: str) -> None:
        super().__init__(weight, name)
        self.function = function

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None, index: Tensor | None, *, by_row: bool
    ) -> dict[str, Tensor]:
        values = self.function(logits).where(labels != IGNORED, 0.0)
        return {"loss": values if by_row else values.sum()}
