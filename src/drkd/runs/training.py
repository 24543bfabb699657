"""One training as a configuration describes it, from data to a run directory.

config.yaml         every option, and where its value came from
metrics.csv         a row per epoch; timing.csv: seconds per epoch
checkpoints/        step-N folders; last, best
model.safetensors   the epoch chosen on validation, or the last one, with what it takes to use it
epochs/             epoch-N.safetensors: the same for the epochs that --keep-epochs names
summary.json        what came out
cases.png           of detectors: the best and the worst test images with their boxes
teacher/            a run directory of its own, where the self-teacher was trained first
"""

import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from drkd.config import METHOD_SETTINGS, TrainConfig
from drkd.methods.registry import get_method
from drkd.models.files import write_model
from drkd.runs.building import build_student, describe_weights, memory_format, model_info, refuse_without_teacher
from drkd.runs.directory import inspect_run_dir, kept_epoch, open_run_dir
from drkd.runs.events import EpochDone, OnEvent, ignore_event
from drkd.runs.summary import FILE, RunSummary, TeacherRecord
from drkd.runs.teachers import load_teacher
from drkd.targets import state_hash
from drkd.tasks import SplitMetrics, Task, TaskData, get_task
from drkd.tasks.loading import load_model
from drkd.training.checkpoint import CheckpointPolicy, TrainResult
from drkd.training.fit import fit
from drkd.training.loop import Row
from drkd.utils.device import choose_device, set_up_process
from drkd.utils.distributed import rank, wait_for_all
from drkd.utils.errors import InputError

FEW_SAMPLES = 50
"""A validation split with fewer is warned of."""

Source = Mapping[str, str]
"""Where each option of a configuration came from."""


@dataclass(frozen=True)
class Prepared:
    """What a training needs, built as its configuration says.

    Attributes:
        task, data, student: what is trained, on what.
        teacher, teacher_path, teacher_seconds: None, None and 0 without one; seconds only where it was trained here.
        device: where it is trained.
    """

    task: Task
    data: TaskData
    student: nn.Module
    teacher: nn.Module | None
    teacher_path: str | None
    teacher_seconds: float
    device: torch.device


def train(
    config: TrainConfig, source: Source, out: Path, *, name: str | None = None, on_event: OnEvent = ignore_event
) -> RunSummary:
    """Train as `config` says, its self-teacher first where it needs one, and write the run directory `out`.

    Args:
        config: of the run.
        source: where each of its values came from, for `config.yaml`.
        out: the run directory.
        name: what events call the run (default: its method).
        on_event: called with `EpochDone` after each epoch, the teacher's among them.

    Returns:
        What `summary.json` holds; among its `notes` are all warnings.
    """
    state = inspect_run_dir(out, config, finished=FILE)
    if state == "finished":
        return RunSummary.read(out)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        prepared = prepare(config, source, out, on_event)
        summary = _train(config, prepared, out, resume=state == "unfinished", name=name, on_event=on_event)
    summary = replace(summary, notes=list(dict.fromkeys(str(warning.message) for warning in caught)))
    if rank() == 0:  # the summary last: by it a run is known to be finished
        info = model_info(config, prepared.data)
        write_model(out / "model.safetensors", prepared.student.state_dict(), info)
        summary.write(out)
    wait_for_all()  # the other ranks may be about to read the model as their teacher
    return summary


def _train(
    config: TrainConfig, prepared: Prepared, out: Path, *, resume: bool, name: str | None, on_event: OnEvent
) -> RunSummary:
    task, data, student = prepared.task, prepared.data, prepared.student
    objective = task.objective(config, data, teacher=prepared.teacher, student=student, out=out)

    def after_epoch(row: Row) -> None:
        if row["epoch"] in config.keep_epochs and rank() == 0:
            kept = kept_epoch(out, int(row["epoch"]))
            kept.parent.mkdir(exist_ok=True)
            write_model(kept, student.state_dict(), model_info(config, data))
        on_event(EpochDone(name or config.method, row))

    started = time.perf_counter()
    weights = objective.effective_weights(len(data.classes))
    here = {"out": str(out), "resume": resume, "device": str(prepared.device), "memory_format": memory_format(config)}
    settings = config.model_copy(update=here)
    result = fit(student, objective, data, settings=settings, on_epoch=after_epoch)
    summary = summarise(config, prepared, result, out)
    return replace(summary, wall_seconds=time.perf_counter() - started, effective_weights=weights)


def prepare(config: TrainConfig, source: Source, out: Path, on_event: OnEvent = ignore_event) -> Prepared:
    """Read the data, build the student, load its teacher or train it; only then is `out` a run directory.

    Raises:
        InputError: for whatever does not fit, before anything is written.
    """
    set_up_process(config.threads, deterministic=config.deterministic)
    device = choose_device(config.device)
    if max(config.keep_epochs, default=0) >= config.epochs:
        raise InputError(f"--keep-epochs counts from 0 to {config.epochs - 1} here, got {max(config.keep_epochs)}")
    if config.sync_batchnorm and device.type == "cpu":
        raise InputError("--sync-batchnorm needs an accelerator: torch has none for processors; leave it out")
    task = get_task(config.task)
    data = task.load(config)
    if config.select == "best" and 0 < len(data.val) < FEW_SAMPLES:
        warnings.warn(
            f"the epoch is chosen on {len(data.val)} validation samples only: the choice is close to chance",
            stacklevel=2,
        )
    student = build_student(config, data)
    if config.teacher is not None:
        refuse_without_teacher(config, {"teacher": "command line"}, [get_method(config.method)])
    trains_teacher = config.teacher is None and get_method(config.method).teacher == "self"
    teacher = None if config.teacher is None else load_teacher(config.teacher, config, data)
    describe_weights(config)  # refuses bad settings before anything is written, and so does the next line
    CheckpointPolicy(config.checkpoint_every)
    open_run_dir(out, config, source)
    teacher_path, teacher_seconds = config.teacher, 0.0
    if trains_teacher:
        teacher_path = str(out / "teacher")
        teacher_seconds = _train_teacher(config, source, Path(teacher_path), on_event).train_seconds
        teacher, _ = load_model(teacher_path)
    if teacher is not None:
        teacher.to(device)
    return Prepared(task, data, student, teacher, teacher_path, teacher_seconds, device)


def summarise(config: TrainConfig, prepared: Prepared, result: TrainResult, out: Path) -> RunSummary:
    """Measure what was trained."""
    task, data, teacher = prepared.task, prepared.data, prepared.teacher
    taught = {} if teacher is None else asdict(task.evaluate(teacher, data, "train"))
    rectified = [row["rectified"] for row in result.history if "rectified" in row]
    return RunSummary(
        method=config.method,
        seed=config.seed,
        epochs=config.epochs,
        best_epoch=result.best_epoch,
        select=config.select if len(data.val) else "last",
        train_accuracy=result.history[result.best_epoch].get("train_accuracy"),
        val=task.evaluate(prepared.student, data, "val") if len(data.val) else None,
        test=task.evaluate(prepared.student, data, "test", draw_to=out / "cases.png"),
        kept_epochs={str(epoch): _measure_kept(out, epoch, prepared) for epoch in config.keep_epochs},
        rectified_fraction_per_epoch=rectified or None,
        teacher=None if teacher is None else TeacherRecord(str(prepared.teacher_path), state_hash(teacher)),
        teacher_train_accuracy=taught.get("accuracy"),
        teacher_train_map50=taught.get("map50"),
        teacher_seconds=prepared.teacher_seconds,
        train_seconds=result.seconds,
        skipped_images=dict(data.skipped_images),
    )


def _measure_kept(out: Path, epoch: int, prepared: Prepared) -> SplitMetrics:
    """The test metrics of a kept epoch."""
    wait_for_all()  # rank 0 may still be writing it
    network, _ = load_model(kept_epoch(out, epoch))
    return prepared.task.evaluate(network.to(prepared.device), prepared.data, "test")


def _train_teacher(config: TrainConfig, source: Source, out: Path, on_event: OnEvent) -> RunSummary:
    """The student's own network, trained with cross-entropy and otherwise the same settings."""
    plain: dict[str, object] = {
        "method": "cross_entropy",
        "teacher": None,
        "method_options": {},
        "keep_epochs": [],
        **dict.fromkeys(METHOD_SETTINGS),
    }
    return train(config.model_copy(update=plain), source, out, on_event=on_event)
