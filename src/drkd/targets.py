"""Targets: who teaches, and when.

A target turns a batch into what the student should match. It is called as `target(logits, labels, inputs, index)`
with the student's detached logits and returns `(target_logits, valid)`: finite logits shaped like the student's, and
a boolean per row, False where there is nothing to match yet, or None when every row has a target. Rows that are not
valid become plain cross-entropy. Calling a target changes nothing that a later call reads; `update` does, after the
optimizer step.
"""

import copy
import hashlib
import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from drkd.checks import check_fraction
from drkd.errors import InputError
from drkd.rectify import swap

log = logging.getLogger(__name__)

Taught = tuple[Tensor, Tensor | None]
Rectifier = Callable[[Tensor, Tensor], Tensor | Taught]


class Target(nn.Module):
    """What every target is. Abstract: `forward` is the subclass's; the rest has a default."""

    needs: frozenset[str] = frozenset()
    """What `forward` reads beyond logits and labels: `inputs`, `index`."""

    def update(self) -> None:
        """Take in the step that was just made."""

    def discard(self) -> None:
        """Forget the calls since the last update: their step was skipped."""


class OneHot(Target):
    """The labels themselves: never a soft target, so every row is plain cross-entropy (arithmetic on integers)."""

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        return torch.zeros_like(logits), torch.zeros_like(labels, dtype=torch.bool)


class Uniform(Target):
    """The same probability 1/K for every class.

    Example:
        >>> Uniform()(torch.randn(1, 4), torch.tensor([0]))
        (tensor([[0., 0., 0., 0.]]), None)
    """

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        return torch.zeros_like(logits), None


class Virtual(Target):
    """The hand-designed teacher of Tf-KD_reg (arXiv 1909.11723): `correct_prob` on the label, the rest spread evenly.

    Args:
        correct_prob: probability of the label, in (0, 1); the paper wants at least 0.9.
        probs_as_logits: hand out the probabilities themselves where logits are expected, as the public code does,
            so that `softmax(probs / temperature)` is almost uniform. Otherwise the logits are log-probabilities.

    Example:
        >>> logits, _ = Virtual(0.9)(torch.randn(1, 3), torch.tensor([1]))
        >>> logits.exp()
        tensor([[0.0500, 0.9000, 0.0500]])
    """

    def __init__(self, correct_prob: float = 0.99, *, probs_as_logits: bool = False) -> None:
        super().__init__()
        check_fraction("correct_prob", correct_prob, open_ends=True)
        self.correct_prob = correct_prob
        self.probs_as_logits = probs_as_logits

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        classes = logits.shape[1]
        if classes < 2:
            raise InputError(f"`Virtual` needs at least 2 classes, got logits {tuple(logits.shape)}")
        right, wrong = self.correct_prob, (1 - self.correct_prob) / (classes - 1)
        if not self.probs_as_logits:
            right, wrong = math.log(right), math.log(wrong)
        label_at = labels.clamp(0, classes - 1).long().unsqueeze(1)  # ignored rows get some target; they do not count
        return torch.full_like(logits, wrong).scatter(1, label_at, right), None


class Frozen(Target):
    """A fixed network.

    Args:
        teacher: any callable from inputs to logits. An `nn.Module` is copied; the copy is put in eval mode and its
            parameters are frozen, the caller's module is left alone. Any other callable is used as it is. Both are
            called without gradients.
        fold: fold batch norms into the convolutions before them, where the copy can be traced.

    Attributes:
        identity: SHA-256 of the teacher's original state, None for a plain callable.
        folded: whether batch norms were folded.

    The teacher moves with `.to()` but is no part of `state_dict()`.

    Example:
        >>> target = Frozen(nn.Linear(2, 3))
        >>> logits, valid = target(torch.zeros(1, 3), torch.tensor([0]), inputs=torch.zeros(1, 2))
        >>> logits.shape, logits.requires_grad, list(target.state_dict())
        (torch.Size([1, 3]), False, [])
    """

    needs = frozenset({"inputs"})

    def __init__(self, teacher: Callable[..., Tensor], *, fold: bool = True) -> None:
        super().__init__()
        self.identity: str | None = None
        self.folded = False
        if isinstance(teacher, nn.Module):
            self.identity = state_hash(teacher)
            frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
            teacher = _fold_batch_norms(frozen) if fold else frozen
            self.folded = teacher is not frozen
        self._outside = (teacher,)  # in a tuple, nn.Module does not see it: no state, no train(), no parameters

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        with torch.no_grad():
            return self._outside[0](inputs).detach(), None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        (teacher,) = self._outside
        if isinstance(teacher, nn.Module):
            teacher._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class Ema(Target):
    """A running average of the student's own weights, as in Mean Teacher (arXiv 1703.01780).

    The decay is `min(1 - 1 / (updates + 1), decay)`: the average follows the student closely at first. Batch-norm
    statistics are averaged too, and the average is evaluated in eval mode.

    Args:
        student: the network in training. It is watched, not owned: its weights are no part of this target's state.
        decay: part of the average that each update keeps, in [0, 1].
    """

    needs = frozenset({"inputs"})

    def __init__(self, student: nn.Module, decay: float = 0.99) -> None:
        super().__init__()
        check_fraction("decay", decay)
        self.decay = decay
        self._outside = (student,)
        self.average = copy.deepcopy(student).eval().requires_grad_(False)
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.float64))

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        with torch.no_grad():
            return self.average(inputs), None

    def train(self, mode: bool = True) -> "Ema":
        super().train(mode)
        self.average.eval()
        return self

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        step = (1 / (self.updates + 1)).clamp(min=1 - self.decay)
        for ours, theirs in zip(_tensors(self.average), _tensors(self._outside[0]), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, step.to(ours.dtype))
            else:
                ours.copy_(theirs)


class Memory(Target):
    """The student's own logits at its last visit of the sample, kept by sample index (PS-KD, arXiv 2006.12000).

    A sample that was never visited has no target yet. In training mode a call queues its rows; `update` writes them.
    Rows with non-finite logits are never written.

    Args:
        size: number of samples, where known; the table grows as needed, and loading a state sizes it.
    """

    needs = frozenset({"index"})

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.size = size
        self.table: Tensor
        self.seen: Tensor
        self.register_buffer("table", torch.zeros(0, 0))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.bool))
        self._queue: list[tuple[Tensor, Tensor]] = []

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        if index is None:
            raise InputError("`Memory` needs the samples' index (B,), got none; pass `index=`")
        self._fit(logits, index)
        remembered, seen = self.table[index], self.seen[index]
        if self.training:
            self._queue.append((index, logits.detach().to(self.table.dtype)))
        return remembered, seen.view(-1, *[1] * (labels.dim() - 1)).expand_as(labels)

    def update(self) -> None:
        for index, logits in self._queue:
            finite = logits.flatten(1).isfinite().all(dim=1)
            keep = finite.view(-1, *[1] * (logits.dim() - 1))
            self.table[index] = logits.where(keep, self.table[index])
            self.seen[index] |= finite
        self.discard()

    def discard(self) -> None:
        self._queue.clear()

    def _fit(self, logits: Tensor, index: Tensor) -> None:
        """Make room for a batch; the table's shape is known from the first logits on."""
        if self.table.shape[1:] != logits.shape[1:]:
            if len(self.seen):
                raise InputError(
                    f"`Memory` holds logits {tuple(self.table.shape[1:])} per sample, got {tuple(logits.shape[1:])}; "
                    "keep the number of classes and the picture size fixed during a training"
                )
            self._resize(max(self.size, 1), logits)
        if logits.device.type == "cpu" or not self.size:  # a known size needs no look at the values
            rows = int(index.max()) + 1 if index.numel() else 0
            if rows > len(self.seen):
                self._resize(max(rows, 2 * len(self.seen)), logits)

    def _resize(self, rows: int, like: Tensor) -> None:
        kind = torch.promote_types(like.dtype, torch.float32)
        table = torch.zeros(rows, *like.shape[1:], device=like.device, dtype=kind)
        seen = torch.zeros(rows, dtype=torch.bool, device=like.device)
        table[: len(self.seen)], seen[: len(self.seen)] = self.table.view(len(self.seen), *like.shape[1:]), self.seen
        self.table, self.seen = table, seen

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        for name in ("table", "seen"):
            saved = state.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.empty_like(saved, device=self.seen.device))
        super()._load_from_state_dict(state, prefix, *args)


class Rectified(Target):
    """Another target, corrected with the labels wherever it is wrong.

    Args:
        target: the source of finite logits; `OneHot` is refused, since labels need no correction.
        rectifier: a function of (logits, labels) that returns corrected logits, or `(logits, valid)` to take rows out.

    Example:
        >>> target = Rectified(Frozen(lambda inputs: inputs))
        >>> target(torch.zeros(1, 3), torch.tensor([2]), inputs=torch.tensor([[5.0, 1.0, 2.0]]))[0]
        tensor([[2., 1., 5.]])
    """

    def __init__(self, target: Target, rectifier: Rectifier = swap) -> None:
        super().__init__()
        if isinstance(target, (OneHot, Rectified)):
            raise InputError(
                f"`Rectified` needs a target with finite logits of its own, got {type(target).__name__}; "
                "pass Frozen, Ema, Memory, Virtual or Uniform"
            )
        self.target = target
        self.rectifier = rectifier
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

    def update(self) -> None:
        self.target.update()

    def discard(self) -> None:
        self.target.discard()


def state_hash(module: nn.Module) -> str:
    """SHA-256 over the names, shapes, types and bytes of a module's state: the identity of a teacher.

    Example:
        >>> state_hash(nn.ReLU())[:8]
        'e3b0c442'
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(flat.shape)} {flat.dtype};".encode())
        digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _fold_batch_norms(module: nn.Module) -> nn.Module:
    """`module` with batch norms folded into the convolutions before them, or `module` itself where that fails."""
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        return module
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(module)
    except Exception as reason:  # tracing runs the module's own code, which may raise anything
        log.info("batch norms of the teacher %s stay unfolded: %s", type(module).__name__, reason)
        return module
