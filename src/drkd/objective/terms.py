"""The terms of the equation in `objective.py`: a target to match, or a penalty on the student's logits alone."""

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from drkd.objective.losses import hard_cross_entropy, mixed_cross_entropy, soft_cross_entropy_and_entropy
from drkd.objective.schedules import Weight
from drkd.targets import Ema, StudentBatch, Target
from drkd.targets.base import ask
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import IGNORED, check_choice, check_temperature
from drkd.utils.errors import InputError
from drkd.utils.labels import MixedLabels

LAST_EPOCH = 2**31
"""Later than any training: where schedules have reached their final value."""

RowReduction = Literal["none", "sum"]
"""What a term does with its rows: a value each, or their sum."""


class LossTerm(nn.Module):
    """What an objective adds up. Abstract: `forward` is the subclass's; the rest has a default.

    Args:
        weight: a number, or a function of (progress, completed epochs).
        name: of the term among the losses.
    """

    needs: frozenset[str] = frozenset()
    """What `forward` reads beyond logits and labels, and what it wants of the batches."""

    class_mean = False
    """Whether the loss is divided by the number of classes."""

    remembers = False
    """Whether it keeps what it is given for later, and so is given batches on which its weight is 0."""

    def __init__(self, weight: Weight, name: str) -> None:
        super().__init__()
        self.weight = weight
        self.name = name

    def weight_at(self, progress: float, epoch: int) -> float:
        return self.weight(progress, epoch) if callable(self.weight) else self.weight

    def effective_weight(self, num_classes: int, progress: float, epoch: int) -> float:
        """The weight at some time of the training, on a loss that is summed over the classes."""
        del num_classes
        return self.weight_at(progress, epoch)

    def final_weight(self, num_classes: int) -> float:
        """The effective weight at the end of the training."""
        return self.effective_weight(num_classes, 1.0, LAST_EPOCH)

    def describe_weight(self) -> str:
        return f"{self.name} {self.final_weight(num_classes=1):g}"

    def forward(self, logits: Tensor, batch: StudentBatch, reduction: RowReduction) -> dict[str, Tensor]:
        """The term before its weight, a value per row or their sum.

        Args:
            logits: the student's, with gradient.
            batch: the rest, and the same logits without. Rows whose label is `IGNORED` give 0.
            reduction: `none` or `sum`.

        Returns:
            `loss`; where it has them `kl` and `rectified`, and `rows`, the number of rows to take the mean over.
        """
        raise NotImplementedError


class Term(LossTerm):
    """One term of the equation: a weight on the cross-entropy with a target.

    Args:
        target: who teaches.
        weight, name: see `LossTerm`.
        scale: constant factor, such as T^2.
        target_temperature, student_temperature: divide the logits of each side; labels (`OneHot`) are not softened.
        class_mean: report and sum the KL divergence divided by the number of classes, as the public code does,
            instead of the cross-entropy; with labels, the cross-entropy divided by it.
        averaged_in_public: whether the papers' public code takes the mean over the classes; for `describe_weight` only.
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
        if not isinstance(target, Target):
            raise InputError(f"a term needs a target, got {type(target).__name__}; a network is one as Frozen(network)")
        check_arguments(Term.__init__, locals())
        for what, value in (("target_temperature", target_temperature), ("student_temperature", student_temperature)):
            check_temperature(what, value)
        check_choice("without_target", without_target, ("label", "nothing"))
        self.target = target
        self.scale = scale
        self.target_temperature = target_temperature
        self.student_temperature = student_temperature
        self.class_mean = class_mean
        self.averaged_in_public = averaged_in_public
        self.without_target = without_target
        self.needs = target.needs
        self.remembers = any(_remembers(part) for part in target.modules())

    def effective_weight(self, num_classes: int, progress: float, epoch: int) -> float:
        weight = super().effective_weight(num_classes, progress, epoch)
        return weight * self.scale / (num_classes if self.class_mean else 1)

    def describe_weight(self) -> str:
        weight = f"{self.final_weight(num_classes=1):g}"
        if not (self.class_mean or self.averaged_in_public):
            return f"{self.name} {weight}"
        ours, theirs = (f"{weight}/K", weight) if self.class_mean else (weight, f"{weight} K")
        return f"{self.name} {ours} (public code: {theirs})"

    def forward(self, logits: Tensor, batch: StudentBatch, reduction: RowReduction) -> dict[str, Tensor]:
        output, labels = ask(self.target, batch), batch.labels
        if output.logits is None:
            if self.student_temperature != 1:
                logits = logits / self.student_temperature
            if batch.mixed is not None:
                loss = _mixed_loss(logits, batch, reduction)
            else:
                loss = hard_cross_entropy(logits, labels, ignore_index=IGNORED, reduction=reduction)
            factor = self.scale / logits.shape[1] if self.class_mean else self.scale
            return {"loss": loss if factor == 1 else factor * loss}
        valid = output.valid
        if valid is not None and valid.device.type == "cpu" and valid.all():
            valid = None  # spares a cross-entropy that no row takes
        counted = None if batch.all_counted else labels != IGNORED
        taught = counted if valid is None else valid if counted is None else counted & valid
        loss, target_entropy = soft_cross_entropy_and_entropy(
            logits,
            output.logits,
            student_temperature=self.student_temperature,
            target_temperature=self.target_temperature,
        )
        rows = {"kl": _only(loss.detach() - target_entropy, taught)}
        if self.class_mean:
            loss = (loss - target_entropy) / logits.shape[1]
        if self.scale != 1:
            loss = self.scale * loss
        if self.without_target == "nothing":
            rows["rows"] = torch.ones_like(labels, dtype=torch.bool) if taught is None else taught
            loss = _only(loss, taught)
        elif valid is not None:
            mixed = batch.mixed is not None
            hard = _mixed_loss(logits, batch, "none") if mixed else hard_cross_entropy(logits, labels)
            loss = loss.where(valid, hard)
        rows["loss"] = _only(loss, counted)
        if output.changed is not None:
            rows["rectified"] = (output.changed if counted is None else output.changed & counted).float()
        return rows if reduction == "none" else {name: values.sum() for name, values in rows.items()}


class Penalty(LossTerm):
    """A weighted function of the student's logits alone, without a target.

    Args:
        function: from logits (B, K) or (B, K, ...) to a value per row.
        weight, name: see `LossTerm`.

    Example:
        >>> penalty = Penalty(lambda logits: logits.square().mean(dim=1), 0.5, name="square")
        >>> logits = torch.full((2, 3), 2.0)
        >>> penalty(logits, StudentBatch(logits, torch.tensor([0, IGNORED])), "none")["loss"]
        tensor([4., 0.])
    """

    def __init__(self, function: Callable[[Tensor], Tensor], weight: Weight = 1.0, *, name: str) -> None:
        check_arguments(Penalty.__init__, locals())
        super().__init__(weight, name)
        self.function = function

    def forward(self, logits: Tensor, batch: StudentBatch, reduction: RowReduction) -> dict[str, Tensor]:
        values = _only(self.function(logits), None if batch.all_counted else batch.labels != IGNORED)
        return {"loss": values if reduction == "none" else values.sum()}


def _mixed_loss(logits: Tensor, batch: StudentBatch, reduction: RowReduction) -> Tensor:
    """Cross-entropy with labels that name several classes, 0 in rows that do not count."""
    probs = cast(MixedLabels, batch.mixed).probs
    rows = _only(mixed_cross_entropy(logits, probs), None if batch.all_counted else batch.labels != IGNORED)
    return rows if reduction == "none" else rows.sum()


def _remembers(part: nn.Module) -> bool:
    """Whether `update` takes in what a target was called with; a running average only looks at the student's weights.

    Example:
        >>> from drkd import Frozen, Memory
        >>> _remembers(Memory()), _remembers(Frozen(abs)), _remembers(Ema(nn.Linear(2, 3)))
        (True, False, False)
    """
    return isinstance(part, Target) and type(part).update is not Target.update and not isinstance(part, Ema)


def _only(values: Tensor, rows: Tensor | None) -> Tensor:
    """`values` in these rows, 0 in the others; None stands for all."""
    return values if rows is None else values.where(rows, 0.0)
