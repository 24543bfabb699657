"""Cross-entropies of large logits: in pieces, with the gradient written down.

The same numbers as in `losses.py` to float tolerance, in a fraction of the time and memory (benchmarks/large_k.py).
Logits are large from `LARGE_CLASSES` classes and `LARGE_SIZE` elements on; below, and under `torch.compile`, nothing is
in pieces.

The exponentials are what takes long, so the soft loss makes the gradient of each row with the row, while a piece is at
hand; backward weighs the rows of that tensor in place. It computes the gradient anew where it is called again, or where
none was made: in float16, which has no room for a gradient that is not scaled yet, and under functorch. The hard loss
makes none in forward: a method with both would then hold a target and two gradients at once.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

LARGE_CLASSES = 4096
"""Logits are large from this many classes and `LARGE_SIZE` elements on."""

LARGE_SIZE = 2**20
"""4 MB in float32: beyond a core's own cache, where every further pass over the logits waits for memory."""

CHUNK = 2**18
"""Elements of a piece for each core, 1 MB in float32. A quarter or eight times as much is slower by a fifth, the one
for the start of so many operations, the other for the core's cache."""

ACCELERATOR_CORES = 128
"""What an accelerator counts for: pieces of 128 MB, long enough to hide the launch of the next kernel."""


USE_KERNELS = True
"""Whether a GPU with Triton runs the soft loss as one kernel; benchmarks/large_k.py turns it off to compare."""


def is_large(logits: Tensor) -> bool:
    """Whether logits (B, K, ...) go through in pieces; a compiler makes its own.

    Example:
        >>> is_large(torch.zeros(128, 1000)), is_large(torch.zeros(1, 21841).expand(128, -1))
        (False, True)
    """
    large = logits.numel() >= LARGE_SIZE and logits.shape[1] >= LARGE_CLASSES
    return large and not torch.compiler.is_compiling()


def kernels_for(student: Tensor, target: Tensor) -> ModuleType | None:
    """`drkd.objective.kernels` where these logits are on a GPU, Triton is installed and its kernel takes them."""
    if student.device.type != "cuda" or not USE_KERNELS or not find_spec("triton"):
        return None
    from drkd.objective import kernels

    return kernels if kernels.takes(student, target) else None


class ChunkedHardCrossEntropy(torch.autograd.Function):
    """(logits, labels, ignore_index) -> `hard_cross_entropy` of each row, and what backward reads, (2, B, 1, ...)."""

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        label_index = labels.where(labels != ignore_index, 0).unsqueeze(1)
        kept = torch.empty(2, *label_index.shape, dtype=dtype, device=logits.device)
        label_logit = torch.empty_like(kept[0])
        for z, at, shift, total, picked in _chunks(logits, label_index, *kept, label_logit):
            shifted = _shifted(z.to(dtype), 1.0, shift)
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
            label_index = labels.where(counted, 0).unsqueeze(1)
            factors = by_row.where(counted, 0.0).unsqueeze(1) / totals
            for z, at, shift, total, factor, piece in _chunks(logits, label_index, shifts, totals, factors, gradient):
                powers = torch.add(shift, z.to(shift.dtype)).exp_()
                powers.scatter_(1, at, powers.gather(1, at) - total)
                torch.mul(powers, factor, out=piece)
        return _once(gradient, logits, by_row), None, None


class ChunkedSoftCrossEntropy(torch.autograd.Function):
    """(z, v, T_z, T_v) -> `soft_cross_entropy` and `entropy` of each row, and what backward reads: (4, B, 1, ...), and
    the gradient or None.

    With a = (z - max z) / T_z, b = (v - max v) / T_v and p = softmax(b) the rows are log(sum exp a) - sum p a and
    log(sum exp b) - sum p b: sums of terms that are not negative, where nothing cancels.
    """

    @staticmethod
    def forward(
        student: Tensor, target: Tensor, student_temperature: float, target_temperature: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        wanted = student.requires_grad and student.dtype != torch.float16
        if (kernels := kernels_for(student, target)) is not None:
            made: tuple[Tensor, Tensor, Tensor, Tensor | None] = kernels.soft_rows(
                student, target, student_temperature, target_temperature, with_gradient=wanted
            )
            return made
        dtype = torch.promote_types(torch.promote_types(student.dtype, target.dtype), torch.float32)
        kept = torch.empty(4, *student[:, :1].shape, dtype=dtype, device=student.device)
        sums = torch.empty_like(kept[:2])
        gradient = torch.empty_like(student) if wanted else None
        pieces = () if gradient is None else (gradient,)
        one_target = target.dim() == 2 and target.stride(0) == 0  # a row that is the same for all
        for z, v, z_shift, z_total, v_shift, v_total, of_a, of_b, *piece in _chunks(
            student, target, *kept, *sums, *pieces
        ):
            v = v[:1] if one_target else v  # noqa: PLW2901
            a = _shifted(z.to(dtype), student_temperature, z_shift)
            b = _shifted(v.to(dtype), target_temperature, v_shift)
            powers = b.exp()
            b.clamp_(min=torch.finfo(dtype).min)  # a class that is ruled out: 0 log 0 is 0
            v_total.copy_(powers.sum(dim=1, keepdim=True))
            of_b.copy_(b.mul_(powers).sum(dim=1, keepdim=True))
            torch.sum(powers * a if one_target else torch.mul(powers, a, out=b), dim=1, keepdim=True, out=of_a)
            torch.sum(a.exp_(), dim=1, keepdim=True, out=z_total)
            if piece:
                a.mul_((z_total * student_temperature).reciprocal_())
                powers.mul_((v_total[: len(powers)] * student_temperature).reciprocal_())
                torch.sub(a, powers, out=piece[0])
        _, z_total, _, v_total = kept[:, :, 0]
        rows, entropies = z_total.log() - sums[0, :, 0] / v_total, v_total.log() - sums[1, :, 0] / v_total
        return rows, entropies, kept, gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        student, target, *ctx.temperatures = inputs
        ctx.gradient = output[3]
        ctx.set_materialize_grads(False)  # no zeros in place of the gradient's own gradient
        ctx.mark_non_differentiable(*(each for each in output[1:] if each is not None))
        ctx.save_for_backward(student, target, output[2])

    @staticmethod
    def backward(ctx: Any, by_row: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        student, target, kept = ctx.saved_tensors
        ours, theirs = ctx.temperatures
        with torch.no_grad():
            gradient, ctx.gradient = ctx.gradient, None
            if gradient is not None:
                gradient.mul_(by_row.unsqueeze(1))
            else:
                gradient = torch.empty_like(student)
                shifts, factors = kept[::2], (by_row / ours).unsqueeze(1) / kept[1::2]
                for z, v, z_shift, v_shift, z_by, v_by, piece in _chunks(student, target, *shifts, *factors, gradient):
                    q = torch.add(z_shift, z.to(kept.dtype), alpha=1 / ours).exp_().mul_(z_by)
                    p = torch.add(v_shift, v.to(kept.dtype), alpha=1 / theirs).exp_().mul_(v_by)
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
    """`(logits - max) / temperature`, at most 0; `shift` receives `-max / temperature`, of one row for all as well."""
    shift.copy_(logits.amax(dim=1, keepdim=True).div_(-temperature))
    return torch.add(shift[: len(logits)], logits, alpha=1 / temperature)


def _chunks(*tensors: Tensor, dim: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Views that cut tensors (B, K or 1, ...) alike, between rows only, by the size of the first one's pieces."""
    first = tensors[0]
    size = CHUNK * (torch.get_num_threads() if first.device.type == "cpu" else ACCELERATOR_CORES)
    step = max(1, size * first.shape[dim] // first.numel())
    further = dim + 1 if dim else 2  # a sample of dense logits may be too large by itself
    for parts in zip(*(torch.split(tensor, step, dim) for tensor in tensors), strict=True):
        if parts[0].numel() > size and further < first.dim():
            yield from _chunks(*parts, dim=further)
        else:
            yield parts
