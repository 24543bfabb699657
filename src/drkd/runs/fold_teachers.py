"""Self-teachers of folds: each is trained on the training images outside of its fold, and teaches the fold.

    FOLDER/fold-1-of-2/        the run of the network that never saw the first half of the training images
    FOLDER/fold-2-of-2/

Their validation split is the student's own: none of its images teaches.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import nn

from drkd.config import TrainConfig, read_record
from drkd.data import Data
from drkd.data.folds import fold_numbers
from drkd.methods.registry import get_method
from drkd.runs.summary import FILE, RunSummary
from drkd.runs.teachers import load_teacher
from drkd.targets import CrossFitted
from drkd.tasks import Task, TaskData
from drkd.training.self_distillation import out_of_fold_accuracy
from drkd.utils.errors import InputError


def fold_runs(config: TrainConfig, folder: Path, folds: int) -> list[tuple[TrainConfig, Path]]:
    """The trainings of the teachers and their run directories.

    Args:
        config: of a self-teacher that is trained on all images.
        folder: that holds them.
        folds: how many there are.

    Example:
        >>> [(each.fold, run.name) for each, run in fold_runs(TrainConfig(), Path("teacher"), 2)]
        [('1/2:train', 'fold-1-of-2'), ('2/2:train', 'fold-2-of-2')]
    """
    plain = config.model_copy(update={"teacher_folds": None, "teacher": None})
    return [
        (plain.model_copy(update={"fold": f"{fold}/{folds}:train"}), folder / f"fold-{fold}-of-{folds}")
        for fold in range(1, folds + 1)
    ]


def check_folds(config: TrainConfig) -> None:
    """Refuse teachers of folds where no method asks them, or where they would know what is left out.

    Raises:
        InputError: that says what to do.
    """
    if not takes_folds(config.method):
        raise InputError(
            f"--teacher-folds {config.teacher_folds} has no effect with {config.method}; leave it out, or choose dr_kd "
            "or tf_kd_self"
        )
    if config.fold is not None:
        raise InputError(
            f"--teacher-folds {config.teacher_folds} and --fold {config.fold} divide the same images; leave one out"
        )


def takes_folds(method: str) -> bool:
    """Whether a method's self-teacher may be one for each fold.

    Example:
        >>> takes_folds("dr_kd"), takes_folds("kd"), takes_folds("dr_kd_clean_view")
        (True, False, False)
    """
    info = get_method(method)
    return info.teacher == "self" and not info.clean_view


def load_fold_teachers(folder: Path, config: TrainConfig, data: TaskData) -> tuple[CrossFitted, list[RunSummary]]:
    """The teachers in `folder`, and what their trainings came to.

    Raises:
        InputError: for runs that left out other images.
    """
    folds = config.teacher_folds or 0
    networks: list[nn.Module] = []
    summaries: list[RunSummary] = []
    for expected, run in fold_runs(config, folder, folds):
        if not (run / FILE).is_file():
            inside = folder / "teacher"
            there = any(inside.glob(f"fold-*-of-{folds}"))
            advice = f"give --teacher {inside}" if there else "leave --teacher out to train it"
            raise InputError(f"--teacher-folds {folds} needs a finished run in {run}; {advice}")
        left_out = read_record(TrainConfig, run / "config.yaml").fold
        if left_out != expected.fold:
            raise InputError(
                f"{run} was trained without the fold {left_out}, but is needed for {expected.fold}; give the teachers "
                "of these folds"
            )
        networks.append(load_teacher(str(run), config, data))
        summaries.append(RunSummary.read(run))
    return CrossFitted(networks, fold_numbers(cast(Data, data), folds, of_train=True) - 1), summaries


def measure_teacher(task: Task, teacher: nn.Module, data: TaskData) -> dict[str, Any]:
    """Metrics of a teacher on the training split; of teachers of folds the accuracy on what they were not shown."""
    if not isinstance(teacher, CrossFitted):
        return asdict(task.evaluate(teacher, data, "train"))
    networks = [cast(nn.Module, each) for each in teacher.teachers]
    return {"accuracy": out_of_fold_accuracy(networks, teacher.fold.cpu(), cast(Data, data))}
