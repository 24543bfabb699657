"""`self_distill`: the whole recipe on a network of one's own."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from drkd.data import Data
from drkd.data.folds import fold_numbers, leave_out
from drkd.data.given import as_trainable
from drkd.methods import cross_entropy, dr_kd
from drkd.objective.objective import Objective
from drkd.targets import CrossFitted
from drkd.training.checkpoint import TrainResult
from drkd.training.fit import fit
from drkd.training.metrics import Metrics, evaluate
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_count
from drkd.utils.errors import InputError


@dataclass(frozen=True)
class SelfDistillation:
    """What `self_distill` returns.

    Attributes:
        student: the distilled network, at its best epoch on validation, or at its last if requested.
        self_teacher: the network trained with cross-entropy, at an epoch chosen the same way.
        student_test: its metrics on the test split.
        self_teacher_test: its metrics on the test split.
        self_teacher_train_accuracy: on the training split without augmentation; at 1.0 there is nothing to rectify.
        student_run: how its training went.
        self_teacher_run: how its training went.
        fold_teachers: the networks that taught in its place, with `folds`.
        fold_teachers_accuracy: of their answers for the training images that they were not shown; None without them.
    """

    student: nn.Module
    self_teacher: nn.Module
    student_test: Metrics
    self_teacher_test: Metrics
    self_teacher_train_accuracy: float
    student_run: TrainResult
    self_teacher_run: TrainResult
    fold_teachers: tuple[nn.Module, ...] = ()
    fold_teachers_accuracy: float | None = None


def self_distill(
    network: nn.Module,
    data: Any,
    method: Callable[[nn.Module], Objective] = dr_kd,
    *,
    folds: int | None = None,
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
        folds: teach with this many networks, 2 or more, each of which answers for a fold of the training images that it
            was not trained on (`drkd.CrossFitted`). The self-teacher is still trained, as what the student is measured
            against.
        out: a directory for `self_teacher/` and `student/`, and for `teacher/` of folds; without it nothing is written.
        training: everything else that `drkd.fit` takes, for both trainings.

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits", limit_train=100)
        >>> network = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> result = self_distill(network, data, epochs=2, lr=0.01)
        >>> "rectified" in result.student_run.history[0]
        True
    """
    check_arguments(self_distill, {"network": network, "folds": folds, "out": out})
    if not callable(method):
        raise InputError(f"method must be a function from a teacher to an objective, as drkd.dr_kd, got {method!r}")
    teacher_path, student_path = (None, None) if out is None else (Path(out) / "self_teacher", Path(out) / "student")
    data = as_trainable(data, training.get("seed", 0))
    if folds is not None:
        check_count("folds", folds, at_least=2)
        if not isinstance(data, Data):
            raise InputError(f"folds are of images with one class each, got {type(data).__name__}; leave folds out")
    self_teacher, student = copy.deepcopy(network), copy.deepcopy(network)
    self_teacher_run = fit(self_teacher, cross_entropy(), data, out=teacher_path, **training)
    teachers: list[nn.Module] = []
    answers: nn.Module = self_teacher
    accuracy = None
    if folds is not None:
        teachers = _train_on_folds(network, data, folds, None if out is None else Path(out) / "teacher", training)
        fold = fold_numbers(data, folds, of_train=True) - 1
        answers = CrossFitted(teachers, fold)
        accuracy = out_of_fold_accuracy(teachers, fold, data)
    student_run = fit(student, method(answers), data, out=student_path, **training)
    return SelfDistillation(
        student=student,
        self_teacher=self_teacher,
        student_test=evaluate(student, data),
        self_teacher_test=evaluate(self_teacher, data),
        self_teacher_train_accuracy=evaluate(self_teacher, data, "train").accuracy,
        student_run=student_run,
        self_teacher_run=self_teacher_run,
        fold_teachers=tuple(teachers),
        fold_teachers_accuracy=accuracy,
    )


def _train_on_folds(
    network: nn.Module, data: Data, folds: int, out: Path | None, training: dict[str, Any]
) -> list[nn.Module]:
    """Copies of `network`, each trained on the training images outside of one fold."""
    teachers = []
    for fold in range(1, folds + 1):
        teachers.append(copy.deepcopy(network))
        of_fold = leave_out(data, fold, folds, of_train=True)
        path = None if out is None else out / f"fold-{fold}-of-{folds}"
        fit(teachers[-1], cross_entropy(), of_fold, out=path, **training)
    return teachers


def out_of_fold_accuracy(teachers: list[nn.Module], fold: Tensor, data: Data) -> float:
    """How many of the training images the network of their fold, from 0 on, names as they are labelled."""
    parts = [replace(data, train=data.train.select(fold == number)) for number in range(len(teachers))]
    measured = [evaluate(teacher, part, "train") for teacher, part in zip(teachers, parts, strict=True)]
    right = sum(each.accuracy * len(part.train) for each, part in zip(measured, parts, strict=True))
    return right / len(data.train)
