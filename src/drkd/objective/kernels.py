"""The soft loss of large logits in one kernel, for a GPU: `chunked.py` runs it there, and pieces everywhere else.

Each program takes a row, reads it three times (from the second time on out of the GPU's cache) and keeps nothing of its
size: the largest logits, the sums, the gradient. Triton comes with torch's builds for GPUs.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
"""Classes that a program takes at a time."""

LOWEST: tl.constexpr = tl.constexpr(torch.finfo(torch.float32).min)


@triton.jit
def _larger(one, other):
    return tl.maximum(one, other)


@triton.jit
def _add(one, other):
    return one + other


@triton.jit
def _soft_row(  # noqa: PLR0913
    z_start,
    v_start,
    out_start,
    kept_start,
    gradient_start,
    z_stride,
    v_stride,
    gradient_stride,
    rows,
    classes,
    ours,
    theirs,
    with_gradient: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    z_row, v_row = z_start + row * z_stride, v_start + row * v_stride
    at = tl.arange(0, block)
    z_top = tl.full([block], float("-inf"), tl.float32)
    v_top = tl.full([block], float("-inf"), tl.float32)
    for first in range(0, classes, block):
        inside = first + at < classes
        z_top = tl.maximum(z_top, tl.load(z_row + first + at, inside, float("-inf")).to(tl.float32))
        v_top = tl.maximum(v_top, tl.load(v_row + first + at, inside, float("-inf")).to(tl.float32))
    z_most, v_most = tl.reduce(z_top, 0, _larger), tl.reduce(v_top, 0, _larger)
    z_sum = tl.full([block], 0.0, tl.float32)
    v_sum = tl.full([block], 0.0, tl.float32)
    of_a = tl.full([block], 0.0, tl.float32)
    of_b = tl.full([block], 0.0, tl.float32)
    for first in range(0, classes, block):
        inside = first + at < classes
        a = (tl.load(z_row + first + at, inside, float("-inf")).to(tl.float32) - z_most) / ours
        b = (tl.load(v_row + first + at, inside, float("-inf")).to(tl.float32) - v_most) / theirs
        power = tl.exp(b)
        z_sum += tl.exp(a)
        v_sum += power
        of_a += power * tl.where(inside, a, 0.0)
        of_b += power * tl.maximum(b, LOWEST)  # a class that is ruled out: 0 log 0 is 0
    z_total, v_total = tl.reduce(z_sum, 0, _add), tl.reduce(v_sum, 0, _add)
    tl.store(out_start + row, tl.log(z_total) - tl.reduce(of_a, 0, _add) / v_total)
    tl.store(out_start + rows + row, tl.log(v_total) - tl.reduce(of_b, 0, _add) / v_total)
    tl.store(kept_start + row, -z_most / ours)
    tl.store(kept_start + rows + row, z_total)
    tl.store(kept_start + 2 * rows + row, -v_most / theirs)
    tl.store(kept_start + 3 * rows + row, v_total)
    if with_gradient:
        z_by, v_by = 1 / (z_total * ours), 1 / (v_total * ours)
        for first in range(0, classes, block):
            inside = first + at < classes
            a = (tl.load(z_row + first + at, inside, float("-inf")).to(tl.float32) - z_most) / ours
            b = (tl.load(v_row + first + at, inside, float("-inf")).to(tl.float32) - v_most) / theirs
            slope = tl.exp(a) * z_by - tl.exp(b) * v_by
            tl.store(gradient_start + row * gradient_stride + first + at, slope, inside)


def takes(student: Tensor, target: Tensor) -> bool:
    """Whether the kernel is for these logits: (B, K), classes side by side in memory, at most float32."""
    sound = all(each.dim() == 2 and each.stride(1) == 1 and each.dtype != torch.float64 for each in (student, target))
    return sound and student.numel() > 0


def soft_rows(
    student: Tensor, target: Tensor, student_temperature: float, target_temperature: float, *, with_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """What `ChunkedSoftCrossEntropy.forward` gives: rows (B,), entropies (B,), what is kept (4, B, 1), the gradient."""
    rows, classes = student.shape
    out = torch.empty(2, rows, dtype=torch.float32, device=student.device)
    kept = torch.empty(4, rows, 1, dtype=torch.float32, device=student.device)
    gradient = torch.empty_like(student) if with_gradient else None
    written: Any = kept if gradient is None else gradient
    block = min(BLOCK, triton.next_power_of_2(classes))
    _soft_row[(rows,)](
        student, target, out, kept, written, student.stride(0), target.stride(0), written.stride(0), rows, classes,
        float(student_temperature), float(target_temperature), with_gradient, block,
    )  # fmt: skip
    return out[0], out[1], kept, gradient
