"""The trainings of a comparison as pieces of work: where it pays, the seeds of a method train together.

Whether they do is decided before anything is trained, by the settings, the method and the network, never by a clock: a
comparison and its resumption decide alike. Trained together or not, each training has its own run directory with the
same files. While a group trains, its state lies in `OUT/trainings/PANEL/together-METHOD`.
"""

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from drkd.config import CompareConfig, TrainConfig
from drkd.data import Data
from drkd.data.lanes import misfit
from drkd.errors import NonFiniteLossError
from drkd.loop import Row, warn_if_nothing_was_rectified
from drkd.making import build, choose_device, load, make_objective
from drkd.models.counting import count_macs
from drkd.run import OF_FIT, Ready, conclude, finish, prepare, train
from drkd.scheduling import Failed
from drkd.stacked import StackedNetwork, obstacle
from drkd.storage import read_json, write_json
from drkd.together import fit_together

PAYS_UP_TO = {"cpu": 1e5}
"""Multiply-adds for a picture up to which `auto` trains seeds together, by device (benchmarks/together.py). On a
processor the mlp on digits gains at any number of seeds; larger networks gain little or nothing, and those with
convolutions lose, since stacked they are grouped convolutions. On devices without measurements `auto` does not."""

OF_ALL = tuple(name for name in OF_FIT if name not in ("seed", "clip_norm", "compile", "workers"))
"""Options that `fit_together` takes under the same name."""

FROM_COMPARISON = dict.fromkeys(TrainConfig.model_fields, "comparison")


@dataclass(frozen=True)
class Training:
    """One training of a comparison.

    Attributes:
        panel, method: where it stands in the results.
        config: its settings.
        out: its run directory.
        taught_by: the training of the comparison whose network is its teacher, if any.
    """

    panel: str
    method: str
    config: TrainConfig
    out: Path
    taught_by: "Training | None" = None

    @property
    def name(self) -> str:
        """What its progress is called by."""
        return f"{self.panel}, seed {self.config.seed}, {self.method}"

    @property
    def finished(self) -> bool:
        return (self.out / "summary.json").exists()


@dataclass(frozen=True)
class Group:
    """Trainings that one process does: the seeds of a method together, or a single one.

    Attributes:
        trainings: they differ by seed only.
        note: why they are not trained together, where that was asked for.
    """

    trainings: Sequence[Training]
    note: str | None = None

    @property
    def name(self) -> str:
        first = self.trainings[0]
        return f"{first.panel}, {first.method}" if len(self.trainings) > 1 else first.name

    @property
    def folder(self) -> Path:
        """Where its state is kept while it trains."""
        return self.trainings[0].out.parents[1] / f"together-{self.trainings[0].method}"


def into_groups(config: CompareConfig, trainings: Sequence[Training]) -> list[Group]:
    """Put the seeds of a method into one group each, where `config.together` says so and they can be; others alone."""
    methods: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        methods.setdefault((training.panel, training.method), []).append(training)
    if config.together == "off" or config.seeds == 1 or config.task == "detection":
        note = _one_by_one("detectors are not stacked") if config.together == "on" else None
        return [Group([training], note if config.seeds > 1 else None) for training in trainings]
    auto = config.together == "auto"
    of_network = cache(lambda: network_obstacle(trainings[0].config, only_where_it_pays=auto))  # it reads the data
    groups = []
    for seeds in methods.values():
        reason = settings_obstacle(seeds[0].config) or of_network()
        note = None if auto or reason is None else _one_by_one(reason)
        groups += [Group(seeds)] if reason is None else [Group([seed], note) for seed in seeds]
    return groups


def settings_obstacle(config: TrainConfig) -> str | None:
    """Why the method or a setting of `config` allows no training together, in words, or None where they do."""
    for setting, reason in (
        (config.clip_norm is not None, "--clip-norm looks at the whole gradient"),
        (config.compile == "on", "--compile on compiles a single network"),
        (config.memory_format == "channels_last", "--memory-format channels_last lays out a single network"),
        (config.precision == "float16", "--precision float16 scales the loss by what it meets"),
    ):
        if setting:
            return reason
    stand_in = nn.Identity()
    if not make_objective(config, teacher=stand_in, student=stand_in).independent_rows:
        return f"{config.method} has targets that seeds cannot share"
    return None


def network_obstacle(config: TrainConfig, *, only_where_it_pays: bool) -> str | None:
    """Why the network of `config` cannot, or should not, be trained together with others, or None."""
    data = load(config)
    network = build(config, data)
    picture = (data.channels, data.image_size, data.image_size)
    if only_where_it_pays:
        limit = PAYS_UP_TO.get(torch.device(choose_device(config.device)).type, 0)
        try:
            if count_macs(network, picture) > limit:
                return "the network is too large to gain by it"
        except (RuntimeError, NotImplementedError):  # a network that cannot run on shapes alone
            return "the size of the network is not known"
    return obstacle(network, picture)


def train_group(group: Group, report: Callable[[Any], None]) -> dict[str, Any]:
    """The work of one job.

    Args:
        group: of trainings; those that are finished are not trained again.
        report: called with pairs of a training's name and its new row.

    Returns:
        The summary of each training by name, or a `Failed`.
    """
    able = [t for t in group.trainings if t.taught_by is None or t.taught_by.finished]
    notes = [] if group.note is None else [group.note]
    if len(group.trainings) > 1:
        reason = _train_together(group, able, report)
        notes += [] if reason is None else [_one_by_one(reason)]
    outcomes: dict[str, Any] = {}
    for training in group.trainings:
        if training not in able and training.taught_by is not None:
            outcomes[training.name] = Failed(f"{training.taught_by.name} failed, which it needs")
            continue
        try:
            outcomes[training.name] = _train_alone(training, notes, report)
        except NonFiniteLossError as diverged:  # a training that diverged is a result too
            outcomes[training.name] = Failed(str(diverged))
    shutil.rmtree(group.folder, ignore_errors=True)
    return outcomes


def _train_alone(training: Training, notes: Sequence[str], report: Callable[[Any], None]) -> dict[str, Any]:
    def after_epoch(_: str, row: Row) -> None:
        report((training.name, row))

    return train(_resumed(training), FROM_COMPARISON, training.out, on_epoch=after_epoch, notes=notes)


def _train_together(group: Group, able: Sequence[Training], report: Callable[[Any], None]) -> str | None:
    """Train in one loop what is not finished yet; or say why not, as found in this sitting or in one before."""
    record = group.folder / "group.json"
    state: dict[str, Any] = (
        read_json(record) if record.exists() else {"seeds": [t.config.seed for t in able if not t.finished]}
    )
    lanes = [t for t in able if t.config.seed in state["seeds"]]  # as they began: checkpoints hold all of them
    if state.get("apart") or len(lanes) < 2 or all(training.finished for training in lanes):
        return state.get("apart")  # None: there is nothing to share
    notes: list[list[str]] = [[] for _ in lanes]
    ready = []
    for lane, training in enumerate(lanes):
        with _noting(notes[lane]):
            ready.append(prepare(_resumed(training), FROM_COMPARISON, training.out))
    data = [lane.data for lane in ready if isinstance(lane.data, Data)]
    reason = misfit(data, [lane.train for lane in data]) or misfit(data, [lane.val for lane in data])
    try:
        if reason is None:
            group.folder.mkdir(parents=True, exist_ok=True)
            write_json(record, state)
            _fit_lanes(lanes, ready, notes, group.folder, report)
    except NonFiniteLossError as diverged:
        reason = f"together, {diverged}"
        write_json(record, {**state, "apart": reason})
    return reason


def _fit_lanes(
    lanes: Sequence[Training],
    ready: Sequence[Ready],
    notes: Sequence[list[str]],
    folder: Path,
    report: Callable[[Any], None],
) -> None:
    """Train, measure and write each lane's run directory."""
    started, config = time.perf_counter(), lanes[0].config
    students = StackedNetwork([lane.student for lane in ready])
    teachers = {lane.teacher_place: lane.teacher for lane in ready if lane.teacher is not None}
    told_to_all: list[str] = []
    with _noting(told_to_all):
        teacher = StackedNetwork(list(teachers.values())) if len(teachers) > 1 else next(iter(teachers.values()), None)
        objective = make_objective(config, teacher=teacher, student=students)
        objective.reduction = "none"
        weights = objective.effective_weights(len(ready[0].data.classes))
        done = fit_together(
            students,
            objective,
            [lane.data for lane in ready if isinstance(lane.data, Data)],
            seeds=[lane.config.seed for lane in lanes],
            **{name: getattr(config, name) for name in OF_ALL},
            device=ready[0].device,
            outs=[lane.out for lane in lanes],
            checkpoints=folder / "checkpoints",
            on_epoch=lambda lane, row: report((lanes[lane].name, row)),
        )
    students.copy_to([lane.student for lane in ready])
    seconds = (time.perf_counter() - started) / len(lanes)
    for lane, training in enumerate(lanes):
        if training.finished:  # in a sitting that ended here
            continue
        ready[lane].student.to(ready[lane].device).eval()
        with _noting(notes[lane]):
            warn_if_nothing_was_rectified(objective.name, done[lane].history)
            summary = conclude(training.config, ready[lane], done[lane], training.out)
        summary |= {"wall_seconds": seconds, "effective_weights": weights, "together": len(lanes)}
        summary["notes"] = list(dict.fromkeys([*told_to_all, *notes[lane]]))
        finish(training.config, ready[lane].data, ready[lane].student, summary, training.out)


@contextmanager
def _noting(notes: list[str]) -> Iterator[None]:
    """Put the warnings of a block into `notes`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    notes += [str(warning.message) for warning in caught]


def _resumed(training: Training) -> TrainConfig:
    """Its configuration; a comparison goes on with whatever it finds."""
    return training.config.model_copy(update={"resume": True})


def _one_by_one(reason: str) -> str:
    return f"the seeds are trained one by one: {reason}"
