"""Targets: who teaches, and when.

An objective calls a target with a `StudentBatch` and gets a `TargetOutput`. Calling a target changes nothing that a
later call reads; `update` does, after the optimizer step.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from drkd.utils.checks import IGNORED, check_index, check_labels, check_logits
from drkd.utils.distributed import gather
from drkd.utils.errors import InputError
from drkd.utils.labels import MixedLabels


class Inputs(Protocol):
    """A batch of samples, as far as a target looks at it."""

    @property
    def inputs(self) -> Tensor: ...


class Labelled(Protocol):
    """The samples of a split, as far as an objective looks at them."""

    @property
    def labels(self) -> Tensor: ...

    def __len__(self) -> int: ...


class Samples(Protocol):
    """The training samples, un-augmented and in order: a `drkd.data.loader.Loader` is one."""

    @property
    def split(self) -> Labelled: ...

    def batches(self) -> Iterable[Inputs]: ...


@dataclass(frozen=True, slots=True)
class StudentBatch:
    """A batch as a target sees it.

    Attributes:
        logits: the student's, detached, (B, K) or dense (B, K, ...).
        labels: integers (B,) or (B, ...); -100 in the rows that do not count. Where labels are mixed, the class of the
            largest weight.
        inputs: what the student was given; None unless the objective's `needs` has `inputs`.
        index: (B,), which sample each row is; None unless `needs` has `index`.
        all_counted: whether the labels are known to be int64, in range, and none of them ignored.
        mixed: the labels' distributions, of the logits' dtype, where they name several classes; else None.
    """

    logits: Tensor
    labels: Tensor
    inputs: Tensor | None = None
    index: Tensor | None = None
    all_counted: bool = False
    mixed: MixedLabels | None = None

    def __post_init__(self) -> None:
        """Refuse logits and labels that do not belong together; an objective has looked at the labels' values."""
        if not isinstance(self.logits, Tensor) or not isinstance(self.labels, Tensor):
            check_labels(self.logits, self.labels, IGNORED, caller="StudentBatch")
        shape = self.logits.shape
        if len(shape) < 2 or self.labels.shape != shape[:1] + shape[2:]:
            check_labels(self.logits, self.labels, IGNORED, caller="StudentBatch")
        if self.labels.is_floating_point() or not self.logits.is_floating_point():
            check_labels(self.logits, self.labels, IGNORED, caller="StudentBatch")

    def index_for(self, target: "Target") -> Tensor:
        """The samples' index.

        Raises:
            InputError: if there is none, or it cannot be one.
        """
        name = type(target).__name__
        if self.index is None:
            raise InputError(f"`{name}` needs the samples' index (B,), got none; pass `index=`")
        return check_index(self.index, len(self.logits), caller=name)

    def partners_for(self, target: "Target") -> tuple[Tensor, Tensor] | None:
        """Of mixed images, which other sample each has in it, and the weight of its own; None where none is mixed.

        Raises:
            InputError: if it is not said which.
        """
        if self.mixed is None or self.mixed.weight is None:
            return None
        if self.mixed.partner_index is None:
            raise InputError(
                f"`{type(target).__name__}` needs to know which samples were mixed; give MixedLabels a partner_index"
            )
        return self.mixed.partner_index, self.mixed.weight

    def per_row(self, flags: Tensor) -> Tensor:
        """A boolean per sample (B,) as one per row, shaped like the labels."""
        if self.labels.dim() == 1:
            return flags
        return flags.view(-1, *[1] * (self.labels.dim() - 1)).expand_as(self.labels)


@dataclass(frozen=True, slots=True)
class TargetOutput:
    """What a target has to say of a batch.

    Attributes:
        logits: finite, shaped like the student's; None where the target is the label itself.
        valid: a boolean per row, False where there is nothing to match; None if every row has a target. Rows that are
            not valid become plain cross-entropy.
        changed: a boolean per row, True where a teacher's logits were rectified; None if this target does not rectify.
    """

    logits: Tensor | None
    valid: Tensor | None = None
    changed: Tensor | None = None


class Target(nn.Module):
    """What every target is. Abstract: `forward` is the subclass's; the rest has a default.

    An objective finds all targets in it, also those inside of others, and calls `reset`, `prepare`, `update`,
    `discard` and `end_epoch` of each. A target that wraps another one forwards none of them.
    """

    needs: frozenset[str] = frozenset()
    """What `forward` reads beyond logits and labels (`inputs`, `index`), and batches it wants (`pairs`, `replay`)."""

    def forward(self, batch: StudentBatch) -> TargetOutput:
        raise NotImplementedError

    def reset(self) -> None:
        """Forget what an earlier training taught: a new one begins, perhaps on other samples."""

    def prepare(self, samples: Samples) -> None:
        """Look at the training samples, un-augmented and in order; `drkd.fit` calls this before training."""

    def update(self, epoch: int = 0) -> None:
        """Take in the step that was just made; `epoch` is the number of completed epochs."""

    def discard(self) -> None:
        """Forget the calls since the last update: their step was skipped."""

    def end_epoch(self, epoch: int) -> None:
        """Do what `update` does at the end of an epoch; called after `discard`, with the number of completed epochs."""


def ask(target: Target, batch: StudentBatch) -> TargetOutput:
    """What `target` has to say of `batch`.

    Raises:
        InputError: if its logits are not shaped like the student's.
    """
    output: TargetOutput = target(batch)
    if output.logits is None:
        return output
    check_logits(output.logits, f"the target {type(target).__name__} must give")
    if output.logits.shape != batch.logits.shape:
        raise InputError(
            f"the target {type(target).__name__} gives logits {tuple(output.logits.shape)} for a student's "
            f"{tuple(batch.logits.shape)}; teacher and student need the same classes"
        )
    return output


class Queue(nn.Module):
    """The rows of a target's calls in training mode, until it is known whether their optimizer step was made.

    A step may consist of several calls (gradient accumulation), and of calls on several ranks.

    Example:
        >>> queue = Queue()
        >>> queue.add(torch.tensor([7]), torch.tensor([[1.0, 2.0]]))
        >>> queue.take(), queue.take()
        ([(tensor([7]), tensor([[1., 2.]]))], [])
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Tensor, Tensor]] = []

    def add(self, keys: Tensor, logits: Tensor) -> None:
        """Keep rows, such as an index (B,) and logits (B, K); in eval mode do nothing."""
        if self.training:
            self._calls.append((keys, logits))

    def take(self) -> list[tuple[Tensor, Tensor]]:
        """Every call's rows in order, those of all ranks; the queue is empty then."""
        calls = [rows for call in self._calls for rows in gather(call)]
        self.clear()
        return calls

    def clear(self) -> None:
        """Forget all rows."""
        self._calls.clear()

    def __len__(self) -> int:
        return len(self._calls)


class Epochs(nn.Module):
    """Tells when an epoch has ended; part of the target's state, so that a resumed training continues alike.

    `number` counts the completed epochs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.completed: Tensor
        self.register_buffer("completed", torch.zeros((), dtype=torch.int64))
        self.number = 0  # the buffer's value, where reading it stalls no accelerator

    def ended(self, epoch: int) -> bool:
        """Whether `epoch`, the number of completed epochs, is higher than at any call before."""
        if epoch <= self.number:
            return False
        self.number = epoch
        self.completed.fill_(epoch)
        return True

    def reset(self) -> None:
        """None is completed."""
        self.number = 0
        self.completed.zero_()

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.number = int(self.completed)


def mix_logits(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Logits (B, K, ...) whose probabilities are the mean of two samples' with `weight` (B,) on the first.

    Where the weight is 1 they are the first sample's as they are.

    Example:
        >>> one, other = torch.tensor([[0.2, 0.8]]).log(), torch.tensor([[0.6, 0.4]]).log()
        >>> mix_logits(one, other, torch.tensor([0.75])).exp()
        tensor([[0.3000, 0.7000]])
    """
    share = weight.to(first.dtype).view(-1, *[1] * (first.dim() - 1))
    probs = share * torch.softmax(first, dim=1) + (1 - share) * torch.softmax(second, dim=1)
    return first.where(share == 1, probs.clamp(min=torch.finfo(probs.dtype).tiny).log())


def resize_buffers(target: Target, state: dict[str, Tensor], prefix: str, names: tuple[str, ...]) -> None:
    """Give the buffers called `names` the shapes that a saved `state` has, before it is loaded into them."""
    for name in names:
        saved = state.get(prefix + name)
        if saved is not None:
            setattr(target, name, torch.empty_like(saved, device=getattr(target, name).device))


def to_half(logits: Tensor) -> Tensor:
    """Logits in float16: a relative error of at most 2^-11, and none beyond its range."""
    largest = torch.finfo(torch.float16).max
    return logits.clamp(-largest, largest).half()
