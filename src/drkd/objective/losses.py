"""All loss arithmetic. Classes are dimension 1; every function sums over the classes and returns a value per row.

Half-precision logits are widened to float32 first, so nothing here overflows under autocast; float64 stays float64.

What an objective computes at every step goes through large logits in pieces (`chunked.py`): the same numbers to float
tolerance, in a fraction of the time and memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from drkd.objective.chunked import ChunkedHardCrossEntropy, ChunkedSoftCrossEntropy, is_large
from drkd.utils.checks import check_logits, check_temperature
from drkd.utils.errors import InputError


def to_float32(logits: Tensor) -> Tensor:
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
    labels = labels.long()  # in uint8, 156 would equal -100
    if reduction not in ("none", "sum") or not is_large(logits):
        return F.cross_entropy(to_float32(logits), labels, ignore_index=ignore_index, reduction=reduction)
    rows: Tensor = ChunkedHardCrossEntropy.apply(logits, labels, ignore_index)[0]
    return rows if reduction == "none" else rows.sum()


def mixed_cross_entropy(logits: Tensor, probs: Tensor) -> Tensor:
    """Cross-entropy with a distribution as the label: `-sum_k probs_k * log softmax(logits)_k`.

    Args:
        logits: (B, K) or (B, K, ...).
        probs: the same shape; 0 for classes that a label does not name, whatever their logit.

    Returns:
        (B,) or (B, ...) in nats.

    Example:
        >>> mixed_cross_entropy(torch.zeros(1, 4), torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
        tensor([1.3863])
    """
    if is_large(logits):
        rows: Tensor = ChunkedSoftCrossEntropy.apply(logits, probs.log(), 1.0, 1.0)[0]
        return rows
    log_probs = torch.log_softmax(to_float32(logits), dim=1)
    return -(probs * log_probs.masked_fill(probs == 0, 0.0)).sum(dim=1)


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
        target_logits: the same shape; finite, or -inf for a class that is ruled out (0 log 0 is 0).
        student_temperature: divides the student's logits.
        target_temperature: divides the target's logits.

    Returns:
        (B,) or (B, ...) in nats: summed over K, not reduced over rows.

    Example:
        >>> soft_cross_entropy(torch.zeros(1, 4), torch.randn(1, 4))
        tensor([1.3863])
    """
    _check_pair("soft_cross_entropy", student_logits, target_logits, student_temperature, target_temperature)
    target_probs = torch.softmax(_softened(target_logits, target_temperature), dim=1)
    student_log_probs = torch.log_softmax(_softened(student_logits, student_temperature), dim=1)
    return -(target_probs * student_log_probs.masked_fill(target_probs == 0, 0.0)).sum(dim=1)


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

    No gradient flows to the target. Large logits go through in pieces (`chunked.py`), with the gradient
    `(softmax(student / T_student) - softmax(target / T_target)) / T_student` of a row (arXiv 1503.02531, Eq. 2),
    made beside the loss; then there is no second derivative, and asking for it is an error.

    Args:
        student_logits, target_logits, student_temperature, target_temperature: as for `soft_cross_entropy`.

    Returns:
        Two tensors (B,) or (B, ...) in nats: summed over K, not reduced over rows; the entropy bears no gradient.

    Example:
        >>> soft_cross_entropy_and_entropy(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, -90.0, -90.0]]))
        (tensor([1.3863]), tensor([0.6931]))
    """
    target_logits = target_logits.detach()
    if is_large(student_logits):
        expanded = target_logits.expand_as(student_logits)
        loss, target_entropy, *_ = ChunkedSoftCrossEntropy.apply(
            student_logits, expanded, student_temperature, target_temperature
        )
        return loss, target_entropy
    softened = _softened(target_logits, target_temperature)
    target_probs = torch.softmax(softened, dim=1)
    student_log_probs = torch.log_softmax(_softened(student_logits, student_temperature), dim=1)
    target_log_probs = torch.log_softmax(softened, dim=1)
    target_log_probs.clamp_(min=torch.finfo(target_log_probs.dtype).min)  # 0 log 0 is 0
    return -(target_probs * student_log_probs).sum(dim=1), -(target_probs * target_log_probs).sum(dim=1)


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
    _check_pair("kl_divergence", student_logits, target_logits, student_temperature, target_temperature)
    target_log_probs = torch.log_softmax(to_float32(target_logits) / target_temperature, dim=1)
    student_log_probs = torch.log_softmax(to_float32(student_logits) / student_temperature, dim=1)
    target_probs = target_log_probs.exp()
    difference = target_log_probs - student_log_probs
    return (target_probs * difference.masked_fill(target_probs == 0, 0.0)).sum(dim=1)


def _check_pair(
    caller: str, student: Tensor, target: Tensor, student_temperature: float, target_temperature: float
) -> None:
    """Refuse what cannot be two sides of a divergence."""
    for side, logits in (("student_logits", student), ("target_logits", target)):
        check_logits(logits, f"`{caller}` needs as {side}")
    if student.dim() < 2 or student.shape != target.shape:
        raise InputError(
            f"`{caller}` needs logits (B, K) or (B, K, ...) of both sides, got {tuple(student.shape)} and "
            f"{tuple(target.shape)}"
        )
    check_temperature("student_temperature", student_temperature)
    check_temperature("target_temperature", target_temperature)


def _softened(logits: Tensor, temperature: float) -> Tensor:
    """`logits / temperature` in at least float32."""
    return to_float32(logits) if temperature == 1 else to_float32(logits) / temperature


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
    return to_float32(logits).amax(dim=1) - to_float32(logits).mean(dim=1)
