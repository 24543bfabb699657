"""Checkpoints: everything that a training needs to resume exactly, under `checkpoints/step-N/`.

A checkpoint is written under another name and then renamed, so it is there whole or not at all; its manifest shows
whether it still is what was written. `last` and `best` are symbolic links that are replaced at once (text files on
Windows). Tensors are in safetensors, the rest in JSON: loading one runs no code.
"""

import json
import re
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn, optim

from drkd.objective.objective import Objective
from drkd.targets import Cached, Frozen
from drkd.training.averaging import Average
from drkd.training.showing import ShownTraining
from drkd.training.sums import EpochSums
from drkd.utils.errors import InputError, StorageError
from drkd.utils.files import cannot_write, flush_to_disk, write_json, write_tensors
from drkd.utils.hashing import file_hash
from drkd.utils.links import point, pointed_by

MANIFEST = "manifest.json"
"""SHA-256 of every other file of a checkpoint."""

TENSORS = ("student", "objective", "optimizer", "best", "rng")
"""Files of tensors that every checkpoint has, and `average` where the weights are averaged. Others are not read."""

COMPLETE_CHECKPOINTS = 2
"""How many checkpoints are kept."""


@dataclass
class TrainResult(ShownTraining):
    """How far a training is, and at its end how it went. It shows itself in a notebook.

    Attributes:
        history: a row per epoch.
        best_epoch: the chosen epoch, at the end.
        step: optimizer steps made.
        seconds: time spent, over all sessions.
        seconds_per_epoch: the same by epoch, validation included.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    step: int = 0
    seconds: float = 0.0
    seconds_per_epoch: list[float] = field(default_factory=list)


@dataclass
class TrainState:
    """All that changes during a training.

    Attributes:
        student, objective, optimizer, scaler: what is trained, and with what.
        best: the student's weights at the epoch chosen so far.
        sums: the running epoch's sums over batches.
        result: its progress.
        data: fingerprint of what it is trained on; None if that is not known.
        average: of the student's weights, what is kept in their place; None where the student itself is.
    """

    student: nn.Module
    objective: Objective
    optimizer: optim.Optimizer
    scaler: torch.amp.GradScaler
    best: dict[str, Tensor] = field(default_factory=dict)
    sums: EpochSums = field(default_factory=EpochSums)
    result: TrainResult = field(default_factory=TrainResult)
    data: str | None = None
    average: Average | None = None

    def save(self, folder: Path, *, best: bool) -> None:
        """Write a checkpoint under `folder` and point `last` at it, and `best` if asked."""
        self.sums.flush()
        rng = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state()
        tensors = {
            "student": self.student.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": _optimizer_tensors(self.optimizer),
            "best": self.best,
            "rng": rng,
        }
        state = {
            "scaler": self.scaler.state_dict(),
            "sums": self.sums.totals,
            "result": vars(self.result),
            "teachers": self._teachers,
            "data": self.data,
            "cached": [list(cache.found.items()) for cache in self._caches],
        }
        if self.average is not None:
            state["average"] = self.average.name
            if (averaged := self.average.state()) is not None:
                tensors["average"] = averaged
        _write(folder, self.result.step, tensors, state, best)

    def restore(self, folder: Path) -> bool:
        """Put everything back as the newest good checkpoint under `folder` holds it; False where there is none.

        Damaged checkpoints are skipped with a warning.

        Raises:
            InputError: for a checkpoint of a training with another teacher or other data.
        """
        for directory in reversed(_complete(folder)):
            damage = _damage(directory)
            if damage is not None:
                warnings.warn(
                    f"the checkpoint {directory} is damaged: {damage}; resuming from an older state", stacklevel=3
                )
                continue
            self._restore(directory)
            return True
        return False

    def _restore(self, directory: Path) -> None:
        tensors = {name: load_file(directory / f"{name}.safetensors") for name in TENSORS}
        state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
        if state["teachers"] != self._teachers:
            raise InputError(
                f"the training in {directory.parent.parent} started with another teacher (SHA-256 {state['teachers']}, "
                f"now {self._teachers}); use that one, or choose another --out"
            )
        if self.data is not None and state.get("data", self.data) != self.data:
            raise InputError(
                f"the training in {directory.parent.parent} began with other data, or with another frozen backbone "
                f"(SHA-256 {state['data']}, now {self.data}); use the original, or choose another --out"
            )
        average = None if self.average is None else self.average.name
        if state.get("average") != average:
            raise InputError(
                f"the training in {directory.parent.parent} started with average={state.get('average')}, now it is "
                f"{average}; use the same, or choose another --out"
            )
        if not all(isinstance(sums, list) for sums in state["sums"].values()):
            raise InputError(
                f"{directory} was written within an epoch by an older drkd, whose sums this one cannot go on with; "
                "resume with that version until the epoch ends, or choose another --out"
            )
        self.student.load_state_dict(tensors["student"])
        if self.average is not None and self.average.state() is not None:
            self.average.load(load_file(directory / "average.safetensors"))
        self.objective.load_state_dict(tensors["objective"])
        _restore_optimizer(self.optimizer, tensors["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(tensors["rng"]["cpu"])
        if "cuda" in tensors["rng"]:
            torch.cuda.set_rng_state(tensors["rng"]["cuda"])
        device = self._device  # copied: what safetensors reads is the open file, which Windows would not delete
        self.best = {name: tensor.to(device, copy=True) for name, tensor in tensors["best"].items()}
        self.sums.totals = {name: (total, rows) for name, (total, rows) in state["sums"].items()}
        self.result = TrainResult(**state["result"])
        for cache, found in zip(self._caches, state.get("cached", ()), strict=False):  # older checkpoints have none
            cache.found = dict(found)

    def keep(self, *, copy: bool) -> None:
        """Make the student's weights the ones to keep; without `copy`, as they are at the end."""
        now = {name: tensor.detach() for name, tensor in self.student.state_dict().items()}
        self.best = {name: tensor.clone() for name, tensor in now.items()} if copy else now

    @property
    def _teachers(self) -> list[str | None]:
        """Who teaches: the identities of the objective's frozen networks, which are no part of a checkpoint."""
        return [module.identity for module in self.objective.modules() if isinstance(module, Frozen)]

    @property
    def _caches(self) -> list[Cached]:
        """The objective's targets that may have found their answers."""
        return [module for module in self.objective.modules() if isinstance(module, Cached)]

    @property
    def _device(self) -> torch.device:
        return next(self.student.parameters()).device


class CheckpointPolicy:
    """When the next checkpoint is due: after each `epoch`, every N steps, or every `Ns` seconds.

    Example:
        >>> due = CheckpointPolicy(10)
        >>> due.after_step(10), due.after_step(11), CheckpointPolicy("epoch").after_epoch(11)
        (True, False, True)
    """

    def __init__(self, every: str | int) -> None:
        text = str(every)
        digits = text.removesuffix("s")
        self.by_epoch = text == "epoch"
        if not self.by_epoch and not (digits.isdigit() and int(digits) > 0):
            raise InputError(f"checkpoint_every must be epoch, a number of steps or seconds such as 30s, got {every!r}")
        self.seconds = int(digits) if not self.by_epoch and text.endswith("s") else None
        self.steps = int(digits) if not self.by_epoch and self.seconds is None else None
        self.last = time.monotonic()

    def after_step(self, step: int) -> bool:
        """Whether one is due after `step` steps, in the middle of an epoch."""
        if self.steps is not None:
            return step % self.steps == 0
        if self.seconds is None or time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True

    def after_epoch(self, step: int) -> bool:
        """Whether one is due after `step` steps, at the end of an epoch."""
        return self.by_epoch or self.after_step(step)


def _write(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Any, best: bool) -> None:
    """Write `step-N`: a safetensors file per entry, `state.json`, the manifest. Keep the two newest and the best.

    Every file is on disk before the folder gets its name, and the name is on disk before an older one goes.
    """
    directory, beside = folder / f"step-{step}", folder / f".step-{step}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*.tmp"):  # of a process that was killed while it wrote
            shutil.rmtree(left)
        beside.mkdir()
        for name, content in tensors.items():
            write_tensors(beside / f"{name}.safetensors", content)
        write_json(beside / "state.json", state)
        write_json(beside / MANIFEST, {path.name: file_hash(path) for path in sorted(beside.iterdir())})
        flush_to_disk(beside)
        shutil.rmtree(directory, ignore_errors=True)  # a damaged one of the same step
        beside.rename(directory)
        flush_to_disk(folder)
        for link in ("last", "best") if best else ("last",):
            point(folder / link, directory.name)
        flush_to_disk(folder)
        kept = {pointed_by(folder / link) for link in ("last", "best")}
        for old in _complete(folder)[:-COMPLETE_CHECKPOINTS]:
            if old.resolve() not in kept:
                shutil.rmtree(old)
    except OSError as reason:
        shutil.rmtree(beside, ignore_errors=True)
        raise reason if isinstance(reason, StorageError) else cannot_write(directory, reason) from reason


def _complete(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, oldest first; a copy that somebody made under another name is none."""
    found = {int(match[1]): path for path in folder.glob("step-*") if (match := re.fullmatch(r"step-(\d+)", path.name))}
    return [found[step] for step in sorted(found)]


def _damage(directory: Path) -> str | None:
    """What is wrong with a checkpoint by its manifest, None if nothing is."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        wrong = [name for name, digest in manifest.items() if file_hash(directory / name) != digest]
        missing = {"state.json", *(f"{name}.safetensors" for name in TENSORS)} - set(manifest)
    except (OSError, ValueError, AttributeError, TypeError) as reason:
        return str(reason)
    return f"{(*wrong, *missing)[0]} is not what was written" if wrong or missing else None


def _optimizer_tensors(optimizer: optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: `<parameter number>.<what>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{what}": torch.as_tensor(value) for number, parts in state.items() for what, value in parts.items()
    }


def _restore_optimizer(optimizer: optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `_optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        directory, what = name.split(".", 1)
        state.setdefault(int(directory), {})[what] = tensor
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parts in state.items():
        for what, value in parts.items():
            if value.shape == parameters[number].shape:  # a fused step reads memory in order: lay it as the weights lie
                parts[what] = torch.empty_like(parameters[number], dtype=value.dtype).detach().copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
