"""The one equation, and the protocol that a training loop knows of a method.

    loss = sum_k weight_k(t) * scale_k * CE( softmax(target_k / target_temperature_k), student / student_temperature_k )

A loop does three things with an objective, whatever the method:

    losses = objective(logits, labels, inputs=inputs, index=index)   # {"loss": ..., named parts, detached}
    losses["loss"].backward(); optimizer.step()
    objective.update(progress=p, epoch=e)                # p: fraction of the training done, e: completed epochs

Calling changes nothing, `update` does; `discard`, called alike, replaces it where the optimizer step was skipped.
`needs` says which of `inputs` and `index` a call must get, and what the batches must be made of: `pairs` or `replay`,
see `drkd.data.loader`; `prepare` is called once before training, and `reset` where there is nothing to look at: both
forget what an earlier training taught. The terms are in `terms.py`. A method that is no sum of them is an `nn.Module`
with these, with `name`, `progress` and `epoch`, and with `effective_weights` and `describe_weights` for the command
line.
"""

import math
import warnings
from collections.abc import Callable, Sequence, Sized
from typing import Literal, TypedDict, cast

import torch
from torch import Tensor, nn

from drkd.objective.class_weights import ClassWeights, RowWeights, weighted
from drkd.objective.losses import to_float32
from drkd.objective.terms import LossTerm, RowReduction
from drkd.targets import Samples, StudentBatch, Target
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import IGNORED, check_choice, check_count, check_fraction, check_labels
from drkd.utils.distributed import add_up, world_size
from drkd.utils.errors import InputError, NonFiniteLossError
from drkd.utils.labels import MixedLabels, as_mixed

Reduction = Literal["none", "sum", "batchmean"]

EXTREME_WEIGHT = 100.0
"""Above this a soft target drowns the labels: a warning says so."""


class ObjectiveOptions(TypedDict, total=False):
    """What every method takes besides its own arguments, and hands to `Objective`."""

    reduction: Reduction
    ignore_index: int
    class_weights: ClassWeights | None


class Objective(nn.Module):
    """A method: a weighted sum of terms behind the protocol.

    Args:
        name: the method's name, for messages.
        terms: what is added up.
        reduction: `batchmean` (sum over classes, mean over the rows that count), `sum`, or `none` for a value per row;
            a call may ask for another one.
        ignore_index: the label of rows that do not count. A batch without any other row has loss 0.
        class_weights: weight of each class, in every term; `balanced` uses the labels that `prepare` sees. None weighs
            all equally. See `drkd.objective.class_weights`.
        rectify_student: applied to the student's logits before every term; gradients flow through it.

    Calling it with logits (B, K) or (B, K, ...), labels, and `inputs` and `index` where `needs` asks for them, returns
    a dictionary: `loss` to call backward on; then, detached, each term's weighted contribution under its name (they
    add up to `loss`), `<name>_kl`, the plain KL divergence in nats between a soft target and the student, and
    `rectified`, the fraction of the rows whose target was changed, or 1 for each of them. Labels are integers (B,) or
    (B, ...), distributions shaped like the logits, or `drkd.MixedLabels`.

    Attributes:
        needs: what a call or a batch must have, from all terms.
        targets: every target in the terms, also those inside of others, each once.

    Raises:
        InputError: for labels or logits that do not fit, or missing `inputs` or `index`.
        NonFiniteLossError: on the CPU, at once, for a loss that is NaN or infinite.
    """

    def __init__(
        self,
        name: str,
        terms: Sequence[LossTerm],
        *,
        reduction: Reduction = "batchmean",
        ignore_index: int = IGNORED,
        class_weights: ClassWeights | None = None,
        rectify_student: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        check_arguments(Objective.__init__, locals())
        self.name = name
        self.terms = nn.ModuleList(terms)
        self.reduction: Reduction = _checked(reduction)
        self.ignore_index = ignore_index
        self.row_weights = None if class_weights is None else RowWeights(class_weights)
        self.rectify_student = rectify_student
        self.progress = 0.0
        self.epoch = 0
        self.needs: frozenset[str] = frozenset().union(*(term.needs for term in terms))
        self.targets = tuple(part for part in self.modules() if isinstance(part, Target))  # a walk takes its time
        self._warn_of_extremes([term for term in self._terms() if not term.class_mean], num_classes=1)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor | MixedLabels,
        *,
        inputs: Tensor | None = None,
        index: Tensor | None = None,
        reduction: Reduction | None = None,
    ) -> dict[str, Tensor]:
        how = self.reduction if reduction is None else _checked(reduction)
        term_reduction: RowReduction = "none" if how == "none" else "sum"
        mixed: MixedLabels | None = None
        if isinstance(labels, Tensor) and not labels.is_floating_point():
            all_counted = check_labels(logits, labels, self.ignore_index, caller=self.name)
        else:
            mixed, labels, all_counted = self._distributions(logits, labels)
        for need, given in (("inputs", inputs), ("index", index)):
            if given is None and need in self.needs:
                raise InputError(f"`{self.name}` needs the batch's {need}, got none; pass {need}={need}")
        logits = to_float32(logits)
        labels = labels.long()  # first: in uint8, -100 would become class 156
        if not all_counted:
            labels = labels.where(labels != self.ignore_index, torch.full_like(labels, IGNORED))
        if self.rectify_student is not None:
            logits = self.rectify_student(logits, labels if mixed is None else mixed.probs)
        rows: int | Tensor = labels.numel() if all_counted else (labels != IGNORED).sum()
        counted = rows if isinstance(rows, int) else rows.clamp(min=1)
        by_row = None if self.row_weights is None else self.row_weights.of(labels, logits, mixed)
        divided_by = counted if by_row is None else self._rows_of_term(by_row.sum(), rows)
        batch = StudentBatch(logits.detach(), labels, inputs, index, all_counted, mixed)
        loss: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for term in self._terms():
            weight = term.weight_at(self.progress, self.epoch)
            if weight == 0:
                if term.remembers and self.training:
                    term(batch.logits, batch, "none")
                parts[term.name] = logits.new_zeros(labels.shape if how == "none" else ())
                continue
            if by_row is None:
                values = term(logits, batch, term_reduction)
            else:
                values = weighted(term(logits, batch, "none"), by_row, summed=how != "none")
            divisor = self._rows_of_term(values["rows"], rows) if "rows" in values else divided_by
            contribution = values["loss"] if weight == 1 else weight * values["loss"]
            if how == "batchmean":
                contribution = contribution / divisor
            loss = contribution if loss is None else loss + contribution
            parts[term.name] = contribution.detach()
            if "kl" in values:
                parts[f"{term.name}_kl"] = values["kl"] / divisor if how == "batchmean" else values["kl"]
            if "rectified" in values:
                parts["rectified"] = values["rectified"] if how == "none" else values["rectified"] / counted
        if loss is None:
            raise InputError(f"every term of `{self.name}` has weight 0; give one of them a weight")
        if loss.device.type == "cpu" and not (loss.isfinite().all() if loss.dim() else math.isfinite(loss.item())):
            self._raise_non_finite(logits, batch, parts)
        return {"loss": loss, **parts}

    def reset(self) -> None:
        """Forget what an earlier training taught: it may have been of other samples. Schedules begin anew."""
        self.progress, self.epoch = 0.0, 0
        if self.row_weights is not None:
            self.row_weights.reset()
        for target in self.targets:
            target.reset()

    def prepare(self, samples: Samples) -> None:
        """Start a training: forget the last one, and let the targets see the samples, un-augmented and in order."""
        if not isinstance(getattr(samples, "split", None), Sized):
            raise InputError(
                f"`prepare` needs the training samples, a drkd.data.loader.Loader, got {type(samples).__name__}"
            )
        self.reset()
        if self.row_weights is not None:
            votes: Tensor | None = getattr(samples.split, "probs", None)
            self.row_weights.prepare(samples.split.labels if votes is None else votes)
        for target in self.targets:
            target.prepare(samples)

    def update(self, progress: float | None = None, epoch: int | None = None) -> None:
        """Take in the optimizer step just made: move the schedules, let the targets learn.

        Args:
            progress: fraction of the training that is done, in [0, 1]; unchanged where not given, 0 at first.
            epoch: number of completed epochs; unchanged where not given, 0 at first.

        Raises:
            InputError: for a progress outside [0, 1], or an epoch that is no whole number from 0 on.
        """
        self._move(progress, epoch)
        for target in self.targets:
            target.update(self.epoch)

    def discard(self, progress: float | None = None, epoch: int | None = None) -> None:
        """Forget the calls since the last update: their optimizer step was skipped.

        It takes what `update` takes, since schedules move and epochs end all the same.
        """
        self._move(progress, epoch)
        for target in self.targets:
            target.discard()
            if epoch is not None:
                target.end_epoch(epoch)

    def effective_weights(self, num_classes: int) -> dict[str, float]:
        """Each term's final weight on its cross-entropy (or penalty), summed over K and averaged over rows.

        Divide nothing, multiply by K to compare with the weight on the public code's KL, which is averaged over K.
        Warns of weights above 100, at the start of a training or at its end.

        Example:
            >>> import drkd
            >>> drkd.tf_kd_reg(alpha=0.5, temperature=4.0).effective_weights(num_classes=10)
            {'ce': 0.5, 'soft': 8.0}
        """
        self._warn_of_extremes(list(self._terms()), num_classes)
        return {term.name: term.final_weight(num_classes) for term in self._terms()}

    def describe_weights(self) -> str:
        """The final weights under both conventions, for the start of a run.

        First ours, on a cross-entropy summed over the K classes; then the same as a weight on the KL divergence of the
        papers' public code, which is averaged over the classes.

        Example:
            >>> import drkd
            >>> drkd.tf_kd_reg(alpha=0.5, temperature=4.0).describe_weights()
            'tf_kd_reg: ce 0.5, soft 8 (public code: 8 K)'
        """
        return f"{self.name}: {', '.join(term.describe_weight() for term in self._terms())}"

    def _move(self, progress: float | None, epoch: int | None) -> None:
        """Move the schedules."""
        if progress is not None:
            check_fraction("progress", progress)
            vars(self)["progress"] = progress  # a module's own way to set an attribute takes longer than a small loss
        if epoch is not None:
            check_count("epoch", epoch, at_least=0)
            vars(self)["epoch"] = epoch

    def _distributions(self, logits: Tensor, labels: Tensor | MixedLabels) -> tuple[MixedLabels | None, Tensor, bool]:
        """Labels that name several classes, the heaviest class of each row, and whether all rows count."""
        found = as_mixed(logits, labels, caller=self.name)
        if found is None:  # no labels at all: this says so
            return None, cast(Tensor, labels), check_labels(logits, cast(Tensor, labels), IGNORED, caller=self.name)
        mixed, heaviest = found
        ignored = (heaviest == IGNORED) | (heaviest == self.ignore_index)
        return mixed, heaviest, heaviest.device.type == "cpu" and not bool(ignored.any())

    def _rows_of_term(self, taught: Tensor, rows: int | Tensor) -> Tensor:
        """What the sum of a term is divided by that has a target in `taught` of this rank's `rows` only.

        Where classes have weights, `taught` is a sum of weights.

        A loop with several ranks weighs each rank's loss by its part of all rows. A term whose rows are cut otherwise
        takes the same part of its own rows over all ranks, so that its gradient is that of one process, too.
        """
        if world_size() == 1 or not self.training or taught.dim():
            return taught.clamp(min=torch.finfo(taught.dtype).tiny if taught.is_floating_point() else 1)
        both = add_up(torch.stack([taught.double(), torch.as_tensor(rows, device=taught.device).double()]))
        return (both[0] * rows / both[1].clamp(min=1)).clamp(min=torch.finfo(torch.float32).tiny).to(torch.float32)

    def _terms(self) -> Sequence[LossTerm]:
        return self.terms  # type: ignore[return-value]  # a ModuleList of them

    def _warn_of_extremes(self, terms: Sequence[LossTerm], num_classes: int) -> None:
        for term in terms:
            first, final = term.effective_weight(num_classes, 0.0, 0), term.final_weight(num_classes)
            if (weight := max(first, final)) > EXTREME_WEIGHT:
                when = " at first" if first > final else ""
                warnings.warn(
                    f"`{self.name}` weighs its {term.name} target {weight:.0f} times{when}: above {EXTREME_WEIGHT:.0f} "
                    "the labels hardly count and training may diverge; lower alpha, temperature or the learning rate",
                    stacklevel=3,
                )

    def _raise_non_finite(self, logits: Tensor, batch: StudentBatch, parts: dict[str, Tensor]) -> None:
        """Say what went wrong first, and for which rows."""
        rows = ~logits.detach().isfinite().all(dim=1)
        culprit = "the student's logits are not finite; lower the learning rate or clip gradients"
        if not rows.any():
            bad = [term for term in self._terms() if not parts[term.name].isfinite().all()]
            culprit = f"the part {bad[0].name!r} is not finite; check its target" if bad else "the sum overflows"
            for term in bad[:1]:
                rows = ~term(logits.detach(), batch, "none")["loss"].isfinite()
        where = rows.flatten(1).any(dim=1).nonzero().flatten() if rows.dim() > 1 else rows.nonzero().flatten()
        known = where if batch.index is None else batch.index[where]
        some = ", ".join(str(number) for number in known[:5].tolist())
        more = f" and {len(known) - 5} more" if len(known) > 5 else ""
        samples = f" ({'row' if batch.index is None else 'sample'} {some}{more})" if len(known) else ""
        raise NonFiniteLossError(f"the loss of `{self.name}` is NaN or infinite{samples}: {culprit}")


def _checked(reduction: Reduction) -> Reduction:
    check_choice("reduction", reduction, ("none", "sum", "batchmean"))
    return reduction
