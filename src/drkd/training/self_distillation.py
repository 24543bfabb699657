"""`self_distill`: the whole recipe on a network of one's own."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from drkd.data.given import as_trainable
from drkd.methods import cross_entropy, dr_kd
from drkd.objective.objective import Objective
from drkd.training.checkpoint import TrainResult
from drkd.training.fit import fit
from drkd.training.metrics import Metrics, evaluate
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError


@dataclass(frozen=True)
class SelfDistillation:
    """What `self_distill` returns.

    Attributes:
        student: the distilled network, at its best epoch on validation, or at its last if requested.
        self_teacher: the network trained with cross-entropy, likewise.
        student_test: its metrics on the test split.
        self_teacher_test: its metrics on the test split.
        self_teacher_train_accuracy: on the training split without augmentation; at 1.0 there is nothing to rectify.
        student_run: how its training went.
        self_teacher_run: how its training went.
    """

    student: nn.Module
    self_teacher: nn.Module
    student_test: Metrics
    self_teacher_test: Metrics
    self_teacher_train_accuracy: float
    student_run: TrainResult
    self_teacher_run: TrainResult


def self_distill(
    network: nn.Module,
    data: Any,
    method: Callable[[nn.Module], Objective] = dr_kd,
    *,
    out: str | Path | None = None,
    **training: Any,
) -> SelfDistillation:
    """Train a network, freeze it, distil a fresh copy from it, measure both.

    Both start from the weights of `network` and see the same batches, so only the method differs. One call is one seed:
    for a comparison see `drkd.compare`.

    Args:
        network: unchanged; two copies of it are trained.
        data: as for `drkd.fit`.
        method: from the frozen teacher to an objective: `drkd.dr_kd`, `drkd.tf_kd_self`, or either with settings, such
            as `functools.partial(drkd.dr_kd, alpha=0.3, temperature=2.0)`.
        out: a directory for `self_teacher/` and `student/`; without it nothing is written.
        training: everything else that `drkd.fit` takes, for both trainings.

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits", limit_train=100)
        >>> network = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> result = self_distill(network, data, epochs=2, lr=0.01)
        >>> "rectified" in result.student_run.history[0]
        True
    """
    check_arguments(self_distill, {"network": network, "out": out})
    if not callable(method):
        raise InputError(f"method must be a function from a teacher to an objective, as drkd.dr_kd, got {method!r}")
    teacher_path, student_path = (None, None) if out is None else (Path(out) / "self_teacher", Path(out) / "student")
    data = as_trainable(data, training.get("seed", 0))
    self_teacher, student = copy.deepcopy(network), copy.deepcopy(network)
    self_teacher_run = fit(self_teacher, cross_entropy(), data, out=teacher_path, **training)
    student_run = fit(student, method(self_teacher), data, out=student_path, **training)
    return SelfDistillation(
        student=student,
        self_teacher=self_teacher,
        student_test=evaluate(student, data),
        self_teacher_test=evaluate(self_teacher, data),
        self_teacher_train_accuracy=evaluate(self_teacher, data, "train").accuracy,
        student_run=student_run,
        self_teacher_run=self_teacher_run,
    )
