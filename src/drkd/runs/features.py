"""Frozen backbones are asked once: the classifier alone is trained, on features that are kept as teachers' answers are.

Features are kept by image, so that all trainings that freeze the same backbone share them, whatever their seeds hold
out: in memory within a process, and where `--cache-size` asks for it on disk, in the folder of the teachers' answers.
"""

import warnings
from collections.abc import Hashable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from drkd._version import __version__
from drkd.config import TrainConfig, as_bytes
from drkd.config.fields import as_fold
from drkd.data import Data
from drkd.data.augment import Augmentation
from drkd.data.folds import fold_numbers
from drkd.data.keys import image_keys
from drkd.models.parts import classifier_of
from drkd.runs.building import build_student, memory_format
from drkd.targets import CrossFitted
from drkd.targets.teacher_cache import TeacherCache
from drkd.tasks import TaskData, get_task
from drkd.tasks.classification import default_cache
from drkd.training.compilation import choose_memory_format
from drkd.training.features import backbone_hash, features_of, with_features
from drkd.utils.device import choose_device
from drkd.utils.distributed import world_size
from drkd.utils.errors import InputError
from drkd.utils.hashing import content_hash

FEATURES = 1
"""Which features a cache holds: another number where the same backbone is asked in another way."""

SPLITS = ("train", "val", "test")

REMEMBERED = 4
"""Data sets, as one backbone sees them, that a process remembers: those of the seeds that are trained in turns."""

_remembered: dict[Hashable, dict[str, Tensor]] = {}


@dataclass(frozen=True)
class Fitted:
    """What a training trains and measures.

    Attributes:
        student, data, teacher: as they are, or on features the classifiers alone.
        on_features: whether they are the classifiers.
    """

    student: nn.Module
    data: TaskData
    teacher: nn.Module | None
    on_features: bool = False


def choose_fitted(
    config: TrainConfig, data: TaskData, student: nn.Module, teacher: nn.Module | None, *, out: Path
) -> Fitted:
    """The classifiers of student and teacher on features where `config` freezes the backbone, else all as it is.

    Args:
        config: of the run.
        data, student, teacher: what it is made of, on the device of the training.
        out: its run directory.
    """
    if config.freeze != "backbone" or not isinstance(data, Data):
        return Fitted(student, data, teacher)
    reason = why_asked_always(config, data)
    if not reason and any(not _shares_backbone(each, student) for each in _networks(teacher)):
        reason = "the teacher has a different one"
    if reason:
        warnings.warn(f"the frozen backbone runs in every step, not once: {reason}", stacklevel=2)
        return Fitted(student, data, teacher)
    features = _features(config, data, student, out)
    _, head = classifier_of(student)
    heads = [classifier_of(each)[1] for each in _networks(teacher)]
    if isinstance(teacher, CrossFitted):
        return Fitted(head, features, CrossFitted(heads, teacher.fold), on_features=True)
    return Fitted(head, features, heads[0] if heads else None, on_features=True)


def keep_features(config: TrainConfig, out: Path) -> None:
    """Ask the backbone now, with all processors, what the runs beside `out` would ask it at the same time."""
    if config.freeze != "backbone" or not as_bytes(config.cache_size):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # every training says it again
        task = get_task(config.task)
        data = task.load(config, task.wanted(config))
        if isinstance(data, Data) and not why_asked_always(config, data):
            _features(config, data, build_student(config, data).to(choose_device(config.device)), out)


def why_asked_always(config: TrainConfig, data: Data) -> str | None:
    """Why a frozen backbone is asked in every step; nothing where once is enough."""
    if data.augmentation != Augmentation():
        return "images are augmented; with --augment none a training takes seconds"
    if config.mixup or config.cutmix:
        return "images are mixed; without --mixup and --cutmix a training takes seconds"
    return "several processes share each batch" if world_size() > 1 or config.devices > 1 else None


def _features(config: TrainConfig, data: Data, student: nn.Module, out: Path) -> Data:
    """`data` as the backbone of `student` sees them."""
    backbone = backbone_hash(student)
    if config.fold is None or not as_fold(config.fold)[3]:
        return with_features(data, _known(config, data, student, backbone, out), backbone)
    fold, folds, draw, _ = as_fold(config.fold)  # the training images that it leaves out are others' to train on
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        task = get_task(config.task)
        whole = cast(Data, task.load(config.model_copy(update={"fold": None}), task.wanted(config)))
    known = _known(config, whole, student, backbone, out)
    rows = fold_numbers(whole, folds, draw, of_train=True) != fold
    return with_features(data, {**known, "train": known["train"][rows]}, backbone)


def _known(config: TrainConfig, data: Data, student: nn.Module, backbone: str, out: Path) -> dict[str, Tensor]:
    """The features of each split: those that are kept, or asked now."""
    network = {
        "backbone": backbone,
        "model": config.model,
        "mean": data.mean,
        "std": data.std,
        "device": next(student.parameters()).device.type,
        "layout": str(choose_memory_format(memory_format(config), student)),  # another one rounds differently
    }
    how = [getattr(data, part.name) for part in fields(data) if part.name not in (*SPLITS, "record")]
    limit = as_bytes(config.cache_size)
    root = Path(config.cache) if config.cache is not None else default_cache(out)
    seen = None
    if data.record is not None:  # what one cache holds is not in another
        seen = (data.record.fingerprint, data.image_size, str(how), str(network), root if limit else None)
    known = _remembered.get(seen)
    if known is None:
        keys = np.concatenate([image_keys(getattr(data, split)) for split in SPLITS])
        _, first, row_of = np.unique(keys, return_index=True, return_inverse=True)
        images = content_hash({"keys": torch.from_numpy(keys[first].view(np.uint8).copy())})
        belongs_to = {"drkd": __version__, "features": FEATURES, **network, "images": images}
        cache = TeacherCache(root, belongs_to, limit=limit, dtype=np.float32)
        kept = cache.read(0, rows=len(first)) if limit else None
        if kept is None:
            kept = _ask(config, data, student)[first]
            if limit:
                cache.write(0, kept)
        ends = np.cumsum([len(getattr(data, split)) for split in SPLITS])
        parts = np.split(kept[row_of], ends[:-1])
        known = {split: torch.from_numpy(part) for split, part in zip(SPLITS, parts, strict=True)}
        if seen is not None:
            _remembered[seen] = known
            for oldest in list(_remembered)[:-REMEMBERED]:
                del _remembered[oldest]
    return known


def _ask(config: TrainConfig, data: Data, student: nn.Module) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The features (N, F) of all splits, one after the other."""
    student.to(memory_format=choose_memory_format(memory_format(config), student))
    features = torch.cat([features_of(student, data, split) for split in SPLITS])
    student.to(memory_format=torch.contiguous_format)
    return features.numpy()


def _networks(teacher: nn.Module | None) -> list[nn.Module]:
    """Those that teach."""
    if isinstance(teacher, CrossFitted):
        return [cast(nn.Module, each) for each in teacher.teachers]
    return [] if teacher is None else [teacher]


def _shares_backbone(teacher: nn.Module, student: nn.Module) -> bool:
    try:
        return backbone_hash(teacher) == backbone_hash(student)
    except InputError:  # it has no classifier of its own to be told apart
        return False
