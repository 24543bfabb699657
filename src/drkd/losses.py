"""All loss arithmetic. Classes are dimension 1; every function sums over the classes and returns a value per row.

Half-precision logits are widened to float32 first, so nothing here overflows under autocast; float64 stays float64.

What an objective computes at every step goes through large logits in pieces, with the gradient written down: the same
numbers to float tolerance, a fraction of the time and memory (benchmarks/large_k.py). Logits are large from
`LARGE_CLASSES` classes and `LARGE_SIZE` elements on; below, and under `torch.compile`, nothing is in pieces.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LARGE_CLASSES = 4096
"""From so many classes on, and `LARGE_SIZE` elements, logits are large."""

LARGE_SIZE = 2**20
"""4 MB in float32: beyond a core's own cache, where every further pass over the logits waits for memory."""

PIECE = 2**18
"""Elements of a piece for each core, 1 MB in float32: short enough for the core's cache, long enough for its work to
outweigh the start of an operation. A quarter or eight times as much is slower by a fifth."""

ACCELERATOR_CORES = 128
"""What an accelerator counts for: pieces of 64 MB, long enough to hide the launch of the next kernel."""


def widen(logits: Tensor) -> Tensor:
    """`logits` in at least float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def hard_cross_entropy(logits: Tensor, labels: Tensor, *, ignore_index: int = -100, reduction: str = "none") -> Tensor:
    """Cross-entropy with integer labels: `-log softmax(logits)[label]`, 0 where the label is `ignore_index`.

    Args:
        logits: (B, K) or (B, K, ...).
        labels: integers (B,) or (B, ...).
        ignore_index: the label of rows that do not count.
        reduction: `none` for a value per row, `sum` for their sum.

    Returns:
        (B,) or (B, ...) in nats, or their sum.

    Example:
        >>> hard_cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.3863])
    """
    if reduction not in ("none", "sum") or not is_large(logits):
        return F.cross_entropy(widen(logits), labels, ignore_index=ignore_index, reduction=reduction)
    rows: Tensor = _HardInPieces.apply(logits, labels, ignore_index)[0]
    return rows if reduction == "none" else rows.sum()


def soft_cross_entropy(
    student_logits: Tensor,
    target_logits: Tensor,
    *,
    student_temperature: float = 1.0,
    target_temperature: float = 1.0,
) -> Tensor:
    """Cross-entropy of the softened student against a softened target (the cross-entropy in Tf-KD, arXiv 1909.11723).

    `-sum_k softmax(target / T_target)_k * log_softmax(student / T_student)_k`. Its gradient to the student is that
    of the KL divergence, which differs by the entropy of the target only.

    Args:
        student_logits: (B, K) or (B, K, ...).
        target_logits: the same shape, finite.
        student_temperature: divides the student's logits.
        target_temperature: divides the target's logits.

    Returns:
        (B,) or (B, ...) in nats: summed over K, not reduced over rows.

    Example:
        >>> soft_cross_entropy(torch.zeros(1, 4), torch.randn(1, 4))
        tensor([1.3863])
    """
    target_probs = torch.softmax(widen(target_logits) / target_temperature, dim=1)
    student_log_probs = torch.log_softmax(widen(student_logits) / student_temperature, dim=1)
    return -(target_probs * student_log_probs).sum(dim=1)


def entropy(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Entropy of `softmax(logits / temperature)` per row, in nats.

    Example:
        >>> entropy(torch.zeros(1, 4))
        tensor([1.3863])
    """
    return soft_cross_entropy(logits, logits, student_temperature=temperature, target_temperature=temperature)


def soft_cross_entropy_and_entropy(
    student_logits: Tensor,
    target_logits: Tensor,
    *,
    student_temperature: float = 1.0,
    target_temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """`soft_cross_entropy` with a target and the target's `entropy`: their difference is the KL divergence.

    No gradient flows to the target. Large logits go through in pieces (see the module's text), with the gradient
    `(softmax(student / T_student) - softmax(target / T_target)) / T_student` of a row (arXiv 1503.02531, Eq. 2),
    computed anew in the backward pass; then there is no second derivative, and asking for it is an error.

    Args:
        student_logits, target_logits, student_temperature, target_temperature: as for `soft_cross_entropy`.

    Returns:
        Two tensors (B,) or (B, ...) in nats: summed over K, not reduced over rows; the entropy bears no gradient.

    Example:
        >>> soft_cross_entropy_and_entropy(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, -90.0, -90.0]]))
        (tensor([1.3863]), tensor([0.6931]))
    """
    target_logits = target_logits.detach()
    if not is_large(student_logits):
        softened = {"student_temperature": student_temperature, "target_temperature": target_temperature}
        loss = soft_cross_entropy(student_logits, target_logits, **softened)
        return loss, entropy(target_logits, temperature=target_temperature)
    temperatures = (student_temperature, target_temperature)
    loss, fixed, _ = _SoftInPieces.apply(student_logits, target_logits.expand_as(student_logits), *temperatures)
    return loss, fixed


def kl_divergence(
    student_logits: Tensor,
    target_logits: Tensor,
    *,
    student_temperature: float = 1.0,
    target_temperature: float = 1.0,
) -> Tensor:
    """`KL(softmax(target / T_target) || softmax(student / T_student))` per row, in nats.

    Arguments and shapes as in `soft_cross_entropy`.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
        >>> bool(kl_divergence(logits, logits, student_temperature=4, target_temperature=4).abs() < 1e-6)
        True
    """
    target_log_probs = torch.log_softmax(widen(target_logits) / target_temperature, dim=1)
    student_log_probs = torch.log_softmax(widen(student_logits) / student_temperature, dim=1)
    return (target_log_probs.exp() * (target_log_probs - student_log_probs)).sum(dim=1)


def max_over_mean(logits: Tensor) -> Tensor:
    """By how much the largest logit exceeds the mean: `max_k z_k - mean_k z_k` (MaxSup, arXiv 2502.15798).

    Args:
        logits: (B, K) or (B, K, ...).

    Returns:
        (B,) or (B, ...), at least 0.

    Example:
        >>> max_over_mean(torch.tensor([[3.0, 0.0, 0.0]]))
        tensor([2.])
    """
    return widen(logits).amax(dim=1) - widen(logits).mean(dim=1)


def is_large(logits: Tensor) -> bool:
    """Whether logits (B, K, ...) go through in pieces; a compiler makes its own.

    Example:
        >>> is_large(torch.zeros(128, 1000)), is_large(torch.zeros(1, 21841).expand(128, -1))
        (False, True)
    """
    large = logits.numel() >= LARGE_SIZE and logits.shape[1] >= LARGE_CLASSES
    return large and not torch.compiler.is_compiling()


class _HardInPieces(torch.autograd.Function):
    """(logits, labels, ignore_index) -> `hard_cross_entropy` of each row, and what backward reads, (2, B, 1, ...)."""

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        kind = torch.promote_types(logits.dtype, torch.float32)
        label_at = labels.where(labels != ignore_index, 0).unsqueeze(1)
        kept = torch.empty(2, *label_at.shape, dtype=kind, device=logits.device)
        label_logit = torch.empty_like(kept[0])
        for z, at, shift, total, picked in _pieces(logits, label_at, *kept, label_logit):
            shifted = _shifted(z.to(kind), 1.0, shift)
            torch.gather(shifted, 1, at, out=picked)
            torch.sum(shifted.exp_(), dim=1, keepdim=True, out=total)
        return (kept[1].log() - label_logit).squeeze(1).where(labels != ignore_index, 0.0), kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, labels, ctx.ignore_index = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(logits, labels, output[1])

    @staticmethod
    def backward(ctx: Any, by_row: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        logits, labels, (shifts, totals) = ctx.saved_tensors
        with torch.no_grad():
            gradient = torch.empty_like(logits)
            counted = labels != ctx.ignore_index
            label_at = labels.where(counted, 0).unsqueeze(1)
            factors = by_row.where(counted, 0.0).unsqueeze(1) / totals
            for z, at, shift, total, factor, piece in _pieces(logits, label_at, shifts, totals, factors, gradient):
                powers = torch.add(shift, z.to(shift.dtype)).exp_()
                powers.scatter_(1, at, powers.gather(1, at) - total)
                torch.mul(powers, factor, out=piece)
        return _once(gradient, logits, by_row), None, None


class _SoftInPieces(torch.autograd.Function):
    """(z, v, T_z, T_v) -> `soft_cross_entropy` and `entropy` of each row, and what backward reads, (4, B, 1, ...).

    With a = (z - max z) / T_z, b = (v - max v) / T_v and p = softmax(b) the rows are log(sum exp a) - sum p a and
    log(sum exp b) - sum p b: sums of terms that are not negative, where nothing cancels.
    """

    @staticmethod
    def forward(
        student: Tensor, target: Tensor, student_temperature: float, target_temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = torch.promote_types(torch.promote_types(student.dtype, target.dtype), torch.float32)
        kept = torch.empty(4, *student[:, :1].shape, dtype=kind, device=student.device)
        sums = torch.empty_like(kept[:2])
        for z, v, z_shift, z_total, v_shift, v_total, of_a, of_b in _pieces(student, target, *kept, *sums):
            a = _shifted(z.to(kind), student_temperature, z_shift)
            b = _shifted(v.to(kind), target_temperature, v_shift)
            powers = b.exp()
            torch.sum(powers, dim=1, keepdim=True, out=v_total)
            torch.sum(b.mul_(powers), dim=1, keepdim=True, out=of_b)
            torch.sum(powers.mul_(a), dim=1, keepdim=True, out=of_a)
            torch.sum(a.exp_(), dim=1, keepdim=True, out=z_total)
        loss, fixed = (kept[1::2].log() - sums / kept[3]).squeeze(2)
        return loss, fixed, kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        student, target, *ctx.temperatures = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(student, target, output[2])

    @staticmethod
    def backward(ctx: Any, by_row: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        student, target, kept = ctx.saved_tensors
        ours, theirs = ctx.temperatures
        with torch.no_grad():
            gradient = torch.empty_like(student)
            shifts, factors = kept[::2], (by_row / ours).unsqueeze(1) / kept[1::2]
            for z, v, z_shift, v_shift, z_factor, v_factor, piece in _pieces(
                student, target, *shifts, *factors, gradient
            ):
                q = torch.add(z_shift, z.to(kept.dtype), alpha=1 / ours).exp_().mul_(z_factor)
                p = torch.add(v_shift, v.to(kept.dtype), alpha=1 / theirs).exp_().mul_(v_factor)
                torch.sub(q, p, out=piece)
        return _once(gradient, student, by_row), None, None, None


class _Once(torch.autograd.Function):
    """A gradient as it is; the derivative of it is an error, not silence."""

    @staticmethod
    def forward(gradient: Tensor, *_: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(*_: Any) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(*_: Any) -> None:
        raise RuntimeError(
            f"losses of large logits ({LARGE_CLASSES} classes or more) have no second derivative; use "
            "`soft_cross_entropy` and `F.cross_entropy`, which keep what it needs"
        )


def _once(gradient: Tensor, *sources: Tensor) -> Tensor:
    """`gradient`, tied to what it depends on where a second derivative may be asked for (`create_graph=True`)."""
    return _Once.apply(gradient, *sources) if torch.is_grad_enabled() else gradient


def _shifted(logits: Tensor, temperature: float, shift: Tensor) -> Tensor:
    """`(logits - max) / temperature`, at most 0; `shift` receives `-max / temperature`."""
    torch.div(logits.amax(dim=1, keepdim=True), -temperature, out=shift)
    return torch.add(shift, logits, alpha=1 / temperature)


def _pieces(*tensors: Tensor, dim: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Views that cut tensors (B, K or 1, ...) alike, between rows only, by the size of the first one's pieces."""
    first = tensors[0]
    size = PIECE * (torch.get_num_threads() if first.device.type == "cpu" else ACCELERATOR_CORES)
    step = max(1, size * first.shape[dim] // first.numel())
    further = dim + 1 if dim else 2  # a sample of dense logits may be too large by itself
    for parts in zip(*(torch.split(tensor, step, dim) for tensor in tensors), strict=True):
        if parts[0].numel() > size and further < first.dim():
            yield from _pieces(*parts, dim=further)
        else:
            yield parts
