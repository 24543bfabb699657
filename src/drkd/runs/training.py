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

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from drkd.config import METHOD_SETTINGS, TrainConfig
from drkd.data import Data
from drkd.methods.registry import get_method
from drkd.models.loading import load_model
from drkd.objective.objective import Objective
from drkd.runs.building import about, build, choose_device, describe_weights, load_for, make_objective, memory_format
from drkd.runs.directory import inspect_run_dir, kept_epoch, open_run_dir
from drkd.runs.teachers import load_teacher, with_cache
from drkd.targets import state_hash
from drkd.training.checkpoint import CheckpointPolicy, TrainResult
from drkd.training.compilation import set_up_process
from drkd.training.fit import fit
from drkd.training.loop import Row
from drkd.training.metrics import evaluate
from drkd.utils.distributed import rank, wait_for_all
from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_json, write_tensors

if TYPE_CHECKING:
    from drkd.tasks.detection.splits import DetectionData

FEW_SAMPLES = 50
"""A validation split with fewer is warned of."""

OF_FIT = (
    *("epochs", "batch_size", "lr", "optimizer", "momentum", "weight_decay", "schedule", "milestones", "gamma"),
    *("warmup_epochs", "clip_norm", "precision", "compile", "seed", "workers", "checkpoint_every", "select"),
)
"""Options that `drkd.fit` takes under the same name."""

NOT_OF_DETECTORS = ("precision", "compile", "workers")
"""Those that `fit_detector` does not take."""

OnEpoch = Callable[[str, Row], None]
"""Called with the method that is training and its new row."""


@dataclass(frozen=True)
class Ready:
    """What a training needs, made as its configuration says.

    Attributes:
        data, student: what is trained on, and what is trained.
        teacher, teacher_path, teacher_seconds: None, None and 0 without one; seconds only where it was trained here.
        device: by its torch name.
    """

    data: "Data | DetectionData"
    student: nn.Module
    teacher: nn.Module | None
    teacher_path: str | None
    teacher_seconds: float
    device: str


def train(
    config: TrainConfig,
    source: dict[str, str],
    out: Path,
    *,
    on_epoch: OnEpoch | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Train as `config` says, its self-teacher first where it needs one, and write the run directory `out`.

    Returns:
        What `summary.json` holds; among its `notes` are `notes` and all warnings.
    """
    state = inspect_run_dir(out, config, finished="summary.json")
    if state == "finished":
        return dict(read_json(out / "summary.json"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        summary, student, data = _train(config, source, out, resume=state == "unfinished", on_epoch=on_epoch)
    summary |= {"notes": list(dict.fromkeys([*notes, *(str(warning.message) for warning in caught)]))}
    if rank() == 0:
        finish(config, data, student, summary, out)
    wait_for_all()  # the other ranks may be about to read the model as their teacher
    return summary


def _train(
    config: TrainConfig, source: dict[str, str], out: Path, *, resume: bool, on_epoch: OnEpoch | None
) -> tuple[dict[str, Any], nn.Module, "Data | DetectionData"]:
    ready = prepare(config, source, out, on_epoch)
    objective = _objective(config, ready, out)

    def after_epoch(row: Row) -> None:
        if row["epoch"] in config.keep_epochs and rank() == 0:
            kept = kept_epoch(out, int(row["epoch"]))
            kept.parent.mkdir(exist_ok=True)
            write_tensors(kept, ready.student.state_dict(), about=about(config, ready.data))
        if on_epoch is not None:
            on_epoch(config.method, row)

    started = time.perf_counter()
    weights = objective.effective_weights(len(ready.data.classes))
    options: dict[str, Any] = {name: getattr(config, name) for name in OF_FIT}
    options |= {"device": ready.device, "out": out, "resume": resume, "on_epoch": after_epoch}
    if isinstance(ready.data, Data):
        done = fit(ready.student, objective, ready.data, **options, memory_format=memory_format(config))
    else:
        from drkd.tasks.detection.training import fit_detector

        options = {name: value for name, value in options.items() if name not in NOT_OF_DETECTORS}
        done = fit_detector(ready.student, objective, ready.data, **options)
    summary = {**conclude(config, ready, done, out), "wall_seconds": time.perf_counter() - started}
    return {**summary, "effective_weights": weights}, ready.student, ready.data


def _objective(config: TrainConfig, ready: Ready, out: Path) -> Objective:
    """The method, its teacher and its student in the form in which they teach."""
    if isinstance(ready.data, Data):
        teacher = None if ready.teacher is None else with_cache(ready.teacher, config, ready.data, out)
        return make_objective(config, teacher=teacher, student=ready.student)
    from drkd.tasks.detection.positions import AtPositions

    teacher = None if ready.teacher is None else AtPositions(ready.teacher)
    return make_objective(config, teacher=teacher, student=AtPositions(ready.student))


def prepare(config: TrainConfig, source: dict[str, str], out: Path, on_epoch: OnEpoch | None = None) -> Ready:
    """Read the data, build the student, load its teacher or train it; only then is `out` a run directory.

    Raises:
        InputError: for whatever does not fit, before anything is written.
    """
    set_up_process(config.threads)
    if max(config.keep_epochs, default=0) >= config.epochs:
        raise InputError(f"--keep-epochs counts from 0 to {config.epochs - 1} here, got {max(config.keep_epochs)}")
    device = choose_device(config.device)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product on the device
        torch.use_deterministic_algorithms(True)
    if config.sync_batchnorm and device == "cpu":
        raise InputError("--sync-batchnorm needs an accelerator: torch has none for processors; leave it out")
    data = load_for(config)
    if config.select == "best" and 0 < len(data.val) < FEW_SAMPLES:
        warnings.warn(
            f"the epoch is chosen on {len(data.val)} validation samples only: the choice is close to chance",
            stacklevel=2,
        )
    torch.manual_seed(config.seed)
    student = build(config, data)
    if config.sync_batchnorm:
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
    if config.teacher is not None and get_method(config.method).teacher == "none":
        raise InputError(f"{config.method} takes no teacher; leave --teacher out, or choose kd or dr_kd")
    trains_teacher = config.teacher is None and get_method(config.method).teacher == "self"
    teacher = None if config.teacher is None else load_teacher(config.teacher, config, data)
    describe_weights(config)  # refuses bad settings before anything is written, and so does the next line
    CheckpointPolicy(config.checkpoint_every)
    open_run_dir(out, config, source)
    teacher_path, teacher_seconds = config.teacher, 0.0
    if trains_teacher:
        teacher_path = str(out / "teacher")
        teacher_seconds = _train_teacher(config, source, Path(teacher_path), on_epoch)["train_seconds"]
        teacher, _ = load_model(teacher_path)
    if teacher is not None:
        teacher.to(device)
    return Ready(data, student, teacher, teacher_path, teacher_seconds, device)


def conclude(config: TrainConfig, ready: Ready, done: TrainResult, out: Path) -> dict[str, Any]:
    """Measure what was trained: most of what `summary.json` holds."""
    teacher = ready.teacher
    taught = None if teacher is None else measured(teacher, ready.data, "train")
    return {
        "method": config.method,
        "seed": config.seed,
        "epochs": config.epochs,
        "best_epoch": done.best_epoch,
        "select": config.select if len(ready.data.val) else "last",
        "train_accuracy": done.history[done.best_epoch].get("train_accuracy"),  # on augmented images
        "val": measured(ready.student, ready.data, "val") if len(ready.data.val) else None,
        "test": measured(ready.student, ready.data, "test", cases=out / "cases.png"),
        "kept_epochs": {str(epoch): _measure_kept(out, epoch, ready) for epoch in config.keep_epochs},
        "rectified_fraction_per_epoch": [row["rectified"] for row in done.history if "rectified" in row] or None,
        "teacher": None if teacher is None else {"path": str(ready.teacher_path), "sha256": state_hash(teacher)},
        "teacher_train_accuracy": taught and taught.get("accuracy"),
        **({} if isinstance(ready.data, Data) else {"teacher_train_map50": taught and taught["map50"]}),
        "teacher_seconds": ready.teacher_seconds,
        "train_seconds": done.seconds,
        "skipped_images": dict(ready.data.skipped_images),
    }


def measured(
    network: nn.Module, data: "Data | DetectionData", split: str, *, cases: Path | None = None
) -> dict[str, Any]:
    """The metrics of a network on a split; of a detector also an image of its best and worst `cases`."""
    if isinstance(data, Data):
        return asdict(evaluate(network, data, split))
    from drkd.tasks.detection.drawing import draw_cases
    from drkd.tasks.detection.metrics import detect, evaluate_detector

    found = detect(network, data, split)
    if cases is not None:
        draw_cases(found, getattr(data, split), data.classes, cases)
    return asdict(evaluate_detector(network, data, split, found=found))


def finish(
    config: TrainConfig, data: "Data | DetectionData", student: nn.Module, summary: dict[str, Any], out: Path
) -> None:
    """Write the model, and then `summary.json`, by which a run is known to be finished."""
    write_tensors(out / "model.safetensors", student.state_dict(), about=about(config, data))
    write_json(out / "summary.json", summary)


def _measure_kept(out: Path, epoch: int, ready: Ready) -> dict[str, Any]:
    """The test metrics of a kept epoch."""
    wait_for_all()  # rank 0 may still be writing it
    return measured(load_model(kept_epoch(out, epoch))[0].to(ready.device), ready.data, "test")


def _train_teacher(config: TrainConfig, source: dict[str, str], out: Path, on_epoch: OnEpoch | None) -> dict[str, Any]:
    """The student's own network, trained with cross-entropy and otherwise the same settings."""
    plain: dict[str, Any] = {
        "method": "cross_entropy",
        "teacher": None,
        "method_options": {},
        "keep_epochs": [],
        **dict.fromkeys(METHOD_SETTINGS),
    }
    return train(config.model_copy(update=plain), source, out, on_epoch=on_epoch)
