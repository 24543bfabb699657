"""One training as a configuration describes it, from data to a run directory.

config.yaml         every option, and where its value came from
precision.json      what --precision auto chose
data.json           which files it was trained and measured on
metrics.csv         a row per epoch; timing.csv: seconds per epoch
checkpoints/        step-N folders; last, best
model.safetensors   the epoch chosen on validation, or the last one, with what it takes to use it
epochs/             epoch-N.safetensors: the same for the epochs that --keep-epochs names
answers.safetensors the mean of what the student said of each training image, with --keep-answers
summary.json        what came out
mistakes.json       of classifiers: the test images of their surest mistakes
cases.png           of detectors and segmenters: the best and the worst test images
teacher/            a run directory of its own, where the self-teacher was trained first; one for each fold in it, with
                    --teacher-folds
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from drkd.config import METHOD_SETTINGS, TrainConfig, as_bytes
from drkd.methods.registry import get_method
from drkd.models.files import write_model
from drkd.runs.building import (
    build_student,
    check_class_weights,
    check_fine_tuning,
    describe_weights,
    memory_format,
    model_info,
    refuse_without_teacher,
)
from drkd.runs.data_record import refuse_changed_data, write_record
from drkd.runs.directory import inspect_run_dir, kept_epoch, nothing_left_if_refused, one_writer, open_run_dir
from drkd.runs.estimating import announce, estimate_training
from drkd.runs.events import EpochDone, OnEvent, Progressed, StartNoted, ignore_event
from drkd.runs.features import choose_fitted
from drkd.runs.fold_teachers import check_folds, fold_runs, load_fold_teachers
from drkd.runs.precision import asks_teacher, is_open, read_choice, refuse_open_precision, settle_precision
from drkd.runs.summarising import Prepared, summarise
from drkd.runs.summary import FILE, RunSummary
from drkd.runs.teachers import load_teacher
from drkd.targets.answers import watch
from drkd.targets.cached import fraction_found
from drkd.tasks import SplitMetrics, get_task
from drkd.tasks.classification import default_cache
from drkd.tasks.loading import load_model
from drkd.training.checkpoint import CheckpointPolicy
from drkd.training.fit import fit
from drkd.training.loop import Row
from drkd.training.trackers import check_trackers, tracked_run
from drkd.utils.device import choose_device, give_back_memory, set_up_process
from drkd.utils.distributed import rank, wait_for_all
from drkd.utils.errors import InputError
from drkd.utils.progress import listening
from drkd.utils.text import counted

FEW_SAMPLES = 50
"""A validation split with fewer is warned of."""

Source = Mapping[str, str]
"""Where each option of a configuration came from."""


def train(
    config: TrainConfig,
    source: Source,
    out: Path,
    *,
    name: str | None = None,
    on_event: OnEvent = ignore_event,
    alone: bool = True,
) -> RunSummary:
    """Train as `config` says, its self-teacher first where it needs one, and write the run directory `out`.

    Args:
        config: of the run.
        source: where each of its values came from, for `config.yaml`.
        out: the run directory.
        name: what events call the run (default: its method).
        on_event: called with `EpochDone` after each epoch, the teacher's among them; before, with `StartNoted` where
            it does not start from random weights, and with `Estimated`; with `Progressed` within long epochs.
        alone: whether it is no part of something larger, which has an estimate of its own.

    Returns:
        What `summary.json` holds; among its `notes` are all warnings.
    """
    if inspect_run_dir(out, config, finished=FILE) == "finished":
        refuse_changed_data(out, config, finished=True)
        return RunSummary.read(out)
    called = name or config.method
    with (
        one_writer(out),
        listening(None if on_event is ignore_event else lambda far: on_event(Progressed(called, far))),
    ):
        summary = _train_here(config, source, out, called, on_event, alone=alone)
    give_back_memory()
    return summary


def _train_here(
    config: TrainConfig, source: Source, out: Path, name: str, on_event: OnEvent, *, alone: bool
) -> RunSummary:
    """`train` where no other process writes."""
    state = inspect_run_dir(out, config, finished=FILE)
    if state != "new":
        refuse_changed_data(out, config, finished=state == "finished")
    if state == "finished":  # by another process, a moment ago
        return RunSummary.read(out)
    with nothing_left_if_refused(out), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        prepared = prepare(config, source, out, on_event, estimated=name if alone else None)
        if config.weights is not None or config.pretrained:
            on_event(StartNoted(name, _texts(caught)))
        summary = _train(prepared.config, prepared, out, resume=state == "unfinished", name=name, on_event=on_event)
    summary = replace(summary, notes=list(_texts(caught)))
    if rank() == 0:  # the summary last: by it a run is known to be finished
        summary.write(out)
        _draw(prepared, summary.test, out)
    wait_for_all()  # the other ranks may be about to read the model as their teacher
    return summary


def _texts(caught: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(warning.message) for warning in caught))


def _train(
    config: TrainConfig, prepared: Prepared, out: Path, *, resume: bool, name: str, on_event: OnEvent
) -> RunSummary:
    task, data, student = prepared.task, prepared.data, prepared.student
    fitted = choose_fitted(config, data, student.to(prepared.device), prepared.teacher, out=out)
    objective = task.objective(config, fitted.data, teacher=fitted.teacher, student=fitted.student, out=out)
    answers = watch(objective) if config.keep_answers else None

    def after_epoch(row: Row) -> None:
        if row["epoch"] in config.keep_epochs and rank() == 0:
            kept = kept_epoch(out, int(row["epoch"]))
            kept.parent.mkdir(exist_ok=True)
            temperature = task.calibrate(fitted.student, fitted.data)
            write_model(kept, student.state_dict(), model_info(config, data, temperature))
        trackers.epoch(row)
        on_event(EpochDone(name, row))

    started = time.perf_counter()
    weights = objective.effective_weights(len(data.classes))
    here = {"out": str(out), "resume": resume, "device": str(prepared.device), "memory_format": memory_format(config)}
    settings = config.model_copy(update={**here, "log": [], **({"freeze": None} if fitted.on_features else {})})
    with tracked_run(config.log if rank() == 0 else (), name, out, config.model_dump()) as trackers:
        result = fit(fitted.student, objective, fitted.data, settings=settings, on_epoch=after_epoch)
        student.eval()
        temperature = task.calibrate(fitted.student, fitted.data)
        if rank() == 0:  # before anything else can fail
            write_model(out / "model.safetensors", student.state_dict(), model_info(config, data, temperature))
            if answers is not None:
                answers.write(out)
        summary = summarise(config, prepared, fitted, result, out, temperature)
        trackers.finish(asdict(summary.test))
    wall_seconds = time.perf_counter() - started
    return replace(
        summary, wall_seconds=wall_seconds, effective_weights=weights, teacher_cached=fraction_found(objective.targets)
    )


def prepare(
    config: TrainConfig, source: Source, out: Path, on_event: OnEvent = ignore_event, *, estimated: str | None = None
) -> Prepared:
    """Read the data, build the student, load its teacher or train it; only then is `out` a run directory.

    With `estimated`, its expected duration is reported under that name before the first epoch.

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
    data = task.load(config, task.wanted(config))
    check_class_weights(config, data)
    if config.select == "best" and 0 < len(data.val) < FEW_SAMPLES:
        warnings.warn(
            f"the epoch is chosen on {counted(len(data.val), 'validation sample')} only: the choice is close to chance",
            stacklevel=2,
        )
    student = build_student(config, data)
    if config.teacher is not None:
        refuse_without_teacher(config, {"teacher": "command line"}, [get_method(config.method)])
    trains_teacher = config.teacher is None and get_method(config.method).teacher == "self"
    teacher: nn.Module | None = None
    teacher_path = config.teacher
    teacher_runs: list[RunSummary] = []
    if config.teacher_folds:
        check_folds(config)
        if teacher_path is not None:
            teacher, teacher_runs = load_fold_teachers(Path(teacher_path), config, data)
    elif teacher_path is not None:
        teacher = load_teacher(teacher_path, config, data)
    describe_weights(config)  # refuses bad settings before anything is written, and so do the next lines
    check_fine_tuning(config)
    refuse_open_precision(config)
    CheckpointPolicy(config.checkpoint_every)
    check_trackers(config.log)
    open_run_dir(out, config, source)
    if rank() == 0:
        write_record(out, data)
    built = data, student.to(device), None if teacher is None else teacher.to(device)
    if is_open(config):
        config = settle_precision(config, out, config, taught=asks_teacher(config.method), built=built)
        on_event(StartNoted(estimated or config.method, (str(read_choice(out)),)))
    if estimated is not None:
        announce(estimated, lambda: estimate_training(config, data, student, out, teacher), on_event)
    if trains_teacher:
        teacher_path = str(out / "teacher")
        teacher_runs = _train_teacher(config, source, Path(teacher_path), on_event)
        if config.teacher_folds:
            teacher, _ = load_fold_teachers(Path(teacher_path), config, data)
        else:
            teacher, _ = load_model(teacher_path)
    if teacher is not None:
        teacher.to(device)
    return Prepared(config, task, data, student, teacher, teacher_path, teacher_runs, device)


def _draw(prepared: Prepared, measured: SplitMetrics, out: Path) -> None:
    """Images of what it gets wrong; what is trained and measured does not depend on them."""
    try:
        prepared.task.draw(prepared.student, prepared.data, "test", measured, out)
    except Exception as reason:  # whatever a drawing library raises
        warnings.warn(f"test images could not be drawn in {out}: {type(reason).__name__}: {reason}", stacklevel=2)


def _train_teacher(config: TrainConfig, source: Source, out: Path, on_event: OnEvent) -> list[RunSummary]:
    """The student's own network, trained with cross-entropy and otherwise the same settings; no average of it.

    Those of folds are several. Returns what they came to.
    """
    keeps = config.freeze == "backbone" and as_bytes(config.cache_size) > 0
    plain: dict[str, object] = {
        "cache": config.cache or str(default_cache(out.parent)) if keeps else None,  # where the student looks, too
        "cache_size": config.cache_size if keeps else "0",
        "method": "cross_entropy",
        "resume": True,  # where the student was interrupted, its teacher may be finished
        "average": None,
        "teacher": None,
        "teacher_precision": None,
        "method_options": {},
        "keep_epochs": [],
        "keep_answers": False,
        **dict.fromkeys(METHOD_SETTINGS),
    }
    first = config.model_copy(update=plain)
    runs = fold_runs(first, out, config.teacher_folds) if config.teacher_folds else [(first, out)]
    return [train(each, source, run, on_event=on_event, alone=False) for each, run in runs]
