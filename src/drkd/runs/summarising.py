"""What a training came to: its networks measured, on every split that it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from drkd.config import TrainConfig
from drkd.models.adapted import Adapted
from drkd.runs.directory import kept_epoch
from drkd.runs.features import Fitted
from drkd.runs.fold_teachers import measure_teacher
from drkd.runs.summary import RunSummary, TeacherRecord, mean_seconds_per_epoch
from drkd.targets import CrossFitted, state_hash
from drkd.tasks import SplitMetrics, Task, TaskData
from drkd.tasks.loading import load_model
from drkd.training.averaging import first_averaged_epoch
from drkd.training.checkpoint import TrainResult
from drkd.utils.distributed import rank, wait_for_all
from drkd.utils.hashing import file_hash


@dataclass(frozen=True)
class Prepared:
    """What a training needs, built as its configuration says.

    Attributes:
        config: of the run, with the precision that was chosen.
        task, data, student: what is trained, on what.
        teacher, teacher_path: None without one.
        teacher_runs: what its trainings came to, where it was trained here, and of teachers of folds, which are trained
            for their students.
        device: where it is trained.
    """

    config: TrainConfig
    task: Task
    data: TaskData
    student: nn.Module
    teacher: nn.Module | None
    teacher_path: str | None
    teacher_runs: Sequence[RunSummary]
    device: torch.device


def summarise(
    config: TrainConfig, prepared: Prepared, fitted: Fitted, result: TrainResult, out: Path, temperature: float | None
) -> RunSummary:
    """Measure what was trained."""
    task, data, teacher = prepared.task, prepared.data, prepared.teacher
    taught = {} if fitted.teacher is None else measure_teacher(task, fitted.teacher, fitted.data)
    of_teachers = [run.seconds_per_epoch for run in prepared.teacher_runs]
    rectified = [row["rectified"] for row in result.history if "rectified" in row]
    return RunSummary(
        method=config.method,
        seed=config.seed,
        epochs=config.epochs,
        best_epoch=result.best_epoch,
        select=config.select if len(data.val) else "last",
        train_accuracy=result.history[result.best_epoch].get("train_accuracy"),
        val=task.evaluate(fitted.student, fitted.data, "val", temperature=temperature) if len(data.val) else None,
        test=task.evaluate(fitted.student, fitted.data, "test", temperature=temperature),
        kept_epochs={str(epoch): _measure_kept(out, epoch, prepared) for epoch in config.keep_epochs},
        rectified_fraction_per_epoch=rectified or None,
        teacher=None if teacher is None else TeacherRecord(str(prepared.teacher_path), _weights_hash(teacher)),
        teacher_train_accuracy=taught.get("accuracy"),
        teacher_train_map50=taught.get("map50"),
        teacher_train_miou=taught.get("miou"),
        teacher_seconds=sum((run.train_seconds for run in prepared.teacher_runs), 0.0),
        teacher_seconds_per_epoch=None if None in of_teachers else sum(filter(None, of_teachers), 0.0),
        train_seconds=result.seconds,
        skipped_images=dict(data.skipped_images),
        seconds_per_epoch=mean_seconds_per_epoch(
            result.seconds_per_epoch, {config.head_epochs, first_averaged_epoch(config)}
        ),
        data_size={
            "classes": len(data.classes),
            "image_size": data.image_size,
            **{split: len(getattr(data, split)) for split in ("train", "val", "test")},
        },
        data_fingerprint=None if data.record is None else data.record.fingerprint,
        metrics_sha256=file_hash(out / "metrics.csv") if rank() == 0 else None,
    )


def _weights_hash(teacher: nn.Module) -> str:
    """The hash of a teacher's own weights, whatever stands between it and the student's images."""
    if isinstance(teacher, CrossFitted):
        return teacher.identity
    return state_hash(teacher.network if isinstance(teacher, Adapted) else teacher)


def _measure_kept(out: Path, epoch: int, prepared: Prepared) -> SplitMetrics:
    """The test metrics of a kept epoch."""
    wait_for_all()  # rank 0 may still be writing it
    network, info = load_model(kept_epoch(out, epoch))
    temperature = info.temperature if len(prepared.data.val) else None
    return prepared.task.evaluate(network.to(prepared.device), prepared.data, "test", temperature=temperature)
