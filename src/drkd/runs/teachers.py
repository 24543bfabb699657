"""Where a run's teacher comes from, and where its answers are kept."""

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

import drkd
from drkd.config import TrainConfig, as_bytes
from drkd.data import Data
from drkd.data.datasets import fingerprint
from drkd.methods.registry import get_method
from drkd.models.counting import count_macs
from drkd.models.loading import load_model, model_file
from drkd.runs.building import build
from drkd.targets import Cached, Frozen
from drkd.targets.teacher_cache import TeacherCache
from drkd.utils.distributed import world_size
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.tasks.detection.splits import DetectionData

CHEAP = 10**6
"""A teacher of fewer multiply-adds per image is asked every time: looking its answers up would take longer."""


def load_teacher(path: str, config: TrainConfig, data: "Data | DetectionData") -> nn.Module:
    """A teacher from a run directory, from drkd's own file, or from a file of weights of the student's network."""
    try:
        teacher, about = load_model(path)
    except InputError:
        if Path(path).is_dir() or not model_file(path).is_file():
            raise
        return build(config.model_copy(update={"weights": path}), data).eval()
    about = {"task": "classification", **about}
    ours = {"task": config.task, "classes": list(data.classes), "channels": data.channels}
    for what, expected in ours.items():
        if about[what] != expected:
            raise InputError(
                f"the teacher in {path} has other {what} than {config.data}: {about[what]} instead of {expected}"
            )
    if config.task == "detection" and about["model"] != config.model:
        raise InputError(
            f"the teacher in {path} is a {about['model']}, the student a {config.model}: they score other positions; "
            "give a detector of the same name"
        )
    return teacher


def with_cache(teacher: nn.Module, config: TrainConfig, data: Data, out: Path) -> nn.Module:
    """`teacher`, or where `config` wants it a target that keeps the teacher's answers.

    They are kept beside the run directory `out`, unless `config` names another folder. Several processes under
    `torchrun` ask the teacher: none of them sees a whole epoch.
    """
    limit = as_bytes(config.cache_size)
    if not limit or world_size() > 1 or get_method(config.method).clean_view:
        return teacher
    with contextlib.suppress(RuntimeError, NotImplementedError):  # a network that cannot run on shapes alone
        if count_macs(teacher, data.train.inputs.shape[1:]) < CHEAP:
            return teacher
    frozen = Frozen(teacher)
    belongs_to = {
        "drkd": drkd.__version__,
        "teacher": frozen.identity,
        "images": fingerprint(data.train),
        "mean": data.mean,
        "std": data.std,
        "augmentation": asdict(data.augmentation),
        "seed": config.seed,
        "precision": config.precision,
    }
    root = Path(config.cache) if config.cache is not None else default_cache(out)
    return Cached(frozen, TeacherCache(root, belongs_to, limit=limit), samples=len(data.train))


def default_cache(out: Path) -> Path:
    """Where the runs beside `out` share their teachers' answers."""
    return out.parent / "teacher-cache"
