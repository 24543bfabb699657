"""Which precision is faster here: measured once at the start of a run, written into it, and kept when it resumes.

`--precision auto` compares steps of cross-entropy on the run's own network, batches and machine, and
`--teacher-precision auto` the pass of its teacher. A comparison chooses once, for all of its methods and seeds.
"""

import copy
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from drkd.config import METHOD_SETTINGS, TrainConfig
from drkd.config.options import TrainingConfig
from drkd.data import Data
from drkd.methods.registry import get_method
from drkd.runs.building import build_student, memory_format
from drkd.runs.features import why_asked_always
from drkd.runs.measuring import Steps, forever, step_once, unnoticed
from drkd.runs.teachers import load_teacher
from drkd.targets.networks import Frozen
from drkd.targets.precision import Tolerance
from drkd.tasks import TaskData, get_task
from drkd.training.compilation import choose_memory_format
from drkd.utils.device import choose_device
from drkd.utils.distributed import world_size
from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_checked_json
from drkd.utils.machine import processor_name
from drkd.utils.timing import Clock, ratios, take_turns

FILE = "precision.json"
"""Where a run keeps its choice."""

MARGIN = 0.1
"""bfloat16 is taken where it saves this fraction of the time, or more: rounding has its price."""

ROUNDS = 4
"""Steps that are measured in each precision, in turns, after two that do not count."""

WITHIN = 0.6
"""Seconds of a processor that such a step may take: where one on a whole batch takes longer, a smaller one is made."""

ANY = Tolerance(deviation=1.0, agreement=0.0)
"""What is timed may answer anything: the network is not trained yet."""

Chosen = Literal["float32", "bfloat16"]
ConfigT = TypeVar("ConfigT", bound=TrainingConfig)


@dataclass(frozen=True)
class PrecisionChoice:
    """What was chosen, and by what.

    Attributes:
        precision, teacher_precision: of a run; None where that was not to be chosen.
        bfloat16_over_float32: the median ratio of the times of a `step` and of a `teacher` pass, as far as measured.
        processor: where.

    Example:
        >>> print(PrecisionChoice("bfloat16", None, {"step": 0.58}))
        --precision auto takes bfloat16: a step takes 0.58 of its time in float32
    """

    precision: Chosen | None
    teacher_precision: Chosen | None
    bfloat16_over_float32: dict[str, float] = field(default_factory=dict)
    processor: str = ""

    def applied(self, config: ConfigT) -> ConfigT:
        """`config` with the choice in place of `auto`."""
        chosen: dict[str, Chosen | None] = {}
        if self.precision is not None:
            chosen["precision"] = self.precision
        if config.teacher_precision == "auto" or (
            config.teacher_precision is None and self.teacher_precision is not None
        ):
            chosen["teacher_precision"] = self.teacher_precision
        return config.model_copy(update=chosen)

    def __str__(self) -> str:
        parts = []
        for option, chosen, what in (
            ("precision", self.precision, "step"),
            ("teacher-precision", self.teacher_precision, "teacher"),
        ):
            ratio = self.bfloat16_over_float32.get(what)
            name = "a step" if what == "step" else "the teacher"
            measured = "" if ratio is None else f": {name} takes {ratio:.2f} of its float32 time"
            measured = measured.replace("takes", "in bfloat16 takes") if chosen == "float32" else measured
            if chosen is not None:
                parts.append(f"--{option} auto chooses {chosen}{measured}")
        return "; ".join(parts)


def is_open(config: TrainingConfig) -> bool:
    """Whether a precision is to be chosen."""
    return "auto" in (config.precision, config.teacher_precision)


def refuse_open_precision(config: Any) -> None:
    """Refuse to choose a precision where the measurement would say nothing.

    Raises:
        InputError: for several processes, and for other machines.
    """
    launcher = getattr(config, "launcher", "local")
    processes = getattr(config, "devices", 1) * getattr(config, "num_nodes", 1) * world_size()
    if not is_open(config) or (launcher == "local" and processes == 1):
        return
    option = "--precision" if config.precision == "auto" else "--teacher-precision"
    where = f"--launcher {launcher}" if launcher != "local" else "several processes"
    raise InputError(
        f"{option} auto measures one process on this machine, which says nothing about {where}; choose float32 or "
        "bfloat16"
    )


def settle_precision(
    config: ConfigT,
    out: Path,
    of: TrainConfig,
    *,
    taught: bool,
    built: tuple[TaskData, nn.Module, nn.Module | None] | None = None,
    threads: int | None = None,
) -> ConfigT:
    """`config` with a precision for each `auto`: that in the run directory `out`, or the one that is faster here.

    It warns of what was chosen, so that a run's notes hold it.

    Args:
        config: of a run, a comparison or a search.
        out: its run directory.
        of: the training that is measured.
        taught: whether any of its methods asks a teacher.
        built: the training's data, its student, and its teacher if there is one yet; by default they are made here.
        threads: of the trainings to come; by default those of this process.
    """
    if not is_open(config):
        return config
    if (out / FILE).is_file():
        choice = read_choice(out)
    else:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(threads or before)
            asked = {name: getattr(config, name) for name in ("precision", "teacher_precision")}
            choice = choose(of.model_copy(update=asked), *(built or _build(of)), taught=taught)
        finally:
            torch.set_num_threads(before)
        write_checked_json(out / FILE, asdict(choice))
    warnings.warn(str(choice), stacklevel=3)
    return choice.applied(config)


def read_choice(out: Path) -> PrecisionChoice:
    """What the run in `out` chose.

    Raises:
        InputError: if it holds no such record.
    """
    return PrecisionChoice(**read_json(out / FILE, needs=tuple(PrecisionChoice.__dataclass_fields__)))


def settled(options: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The options of the run in `out`, with what it chose in place of `auto`."""
    if "auto" not in (options.get("precision"), options.get("teacher_precision")):
        return dict(options)
    choice = read_choice(out)
    chosen = {name: getattr(choice, name) for name in ("precision", "teacher_precision")}
    return {**options, **{name: value for name, value in chosen.items() if value is not None}}


def choose(
    config: TrainConfig, data: TaskData, student: nn.Module, teacher: nn.Module | None, *, taught: bool
) -> PrecisionChoice:
    """The faster precision for each `auto` in `config`; the teacher's goes with `--precision auto`.

    Args:
        config, data, student, teacher: of a training; without a teacher the student is asked in its place.
        taught: whether a teacher will be asked.
    """
    asks = taught and config.teacher_precision in ("auto", None) and config.task in ("classification", "multilabel")
    steps, asks = config.precision == "auto", asks and is_open(config)
    if config.freeze == "backbone" and isinstance(data, Data) and not why_asked_always(config, data):
        steps = asks = False  # a classifier alone, whose steps take no time
    measured = {
        "step": ratio_of_steps(config, data, student) if steps else None,
        "teacher": ratio_of_passes(config, data, teacher or student) if asks else None,
    }
    found = {what: ratio for what, ratio in measured.items() if ratio is not None}
    return PrecisionChoice(
        faster(found.get("step")) if config.precision == "auto" else None,
        faster(found.get("teacher")) if asks else None,
        found,
        processor_name(),
    )


def faster(ratio: float | None) -> Chosen:
    """bfloat16 where it takes this fraction of float32's time, if that is little enough.

    Example:
        >>> faster(0.85), faster(0.95), faster(None)
        ('bfloat16', 'float32', 'float32')
    """
    return "bfloat16" if ratio is not None and ratio <= 1 - MARGIN else "float32"


def ratio_of_steps(config: TrainConfig, data: TaskData, student: nn.Module) -> float | None:
    """The time of a step of cross-entropy in bfloat16 over that in float32; None where one of them cannot be made."""
    plain = _plain(config)
    with unnoticed(next(student.parameters()).device):
        rows = _rows(plain, data, student)
        turns: dict[str, Callable[[], object]] = {}
        batch = None  # made once: nobody decodes images meanwhile
        for name in ("float32", "bfloat16"):
            steps = _steps(plain.model_copy(update={"precision": name}), data, student)
            stepper = steps.stepper(rows, plain.head_epochs)
            batch = next(forever(stepper)) if batch is None else batch
            turns[name] = partial(step_once, stepper, batch)
        return _ratio(turns, student)


def ratio_of_passes(config: TrainConfig, data: TaskData, teacher: nn.Module) -> float | None:
    """The time of a teacher's pass in bfloat16 over that in float32, as of steps."""
    plain = _plain(config)
    with unnoticed(next(teacher.parameters()).device):
        batch = next(forever(_steps(plain, data, teacher).stepper(_rows(plain, data, teacher))))
        layout = choose_memory_format(memory_format(config), teacher)
        turns: dict[str, Callable[[], object]] = {}
        for name in ("float32", "bfloat16"):
            asked = Frozen(teacher, precision=name, kept_within=ANY).to(memory_format=layout)
            turns[name] = partial(asked.answer, batch.inputs)
        return _ratio(turns, teacher)


def _plain(config: TrainConfig) -> TrainConfig:
    """Cross-entropy on the same network, batches and settings, uncompiled."""
    return config.model_copy(
        update={
            **dict.fromkeys(METHOD_SETTINGS),
            **{"method": "cross_entropy", "method_options": {}, "teacher": None, "teacher_precision": None},
            **{"precision": "float32", "cache_size": "0", "compile": "off", "out": None, "log": []},
        }
    )


def _steps(config: TrainConfig, data: TaskData, network: nn.Module) -> Steps:
    return Steps(get_task(config.task), config, data, copy.deepcopy(network), None, row=None)


def _rows(config: TrainConfig, data: TaskData, network: nn.Module) -> int:
    return _steps(config, data, network).rows(config.head_epochs, within=WITHIN, clock=_clock(network), warm=True)


def _clock(network: nn.Module) -> Clock:
    """On a processor its own time, which others on the machine do not take."""
    return time.process_time if next(network.parameters()).device.type == "cpu" else time.perf_counter


def _ratio(turns: dict[str, Callable[[], object]], network: nn.Module) -> float | None:
    """Of bfloat16 over float32."""
    device = next(network.parameters()).device
    try:
        seconds = take_turns(turns, rounds=ROUNDS, device=device, clock=_clock(network))
    except RuntimeError:  # an operation that there is in float32 only
        return None
    return ratios(seconds["bfloat16"], seconds["float32"])["median"]


def _build(config: TrainConfig) -> tuple[TaskData, nn.Module, nn.Module | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every training says it again
        task = get_task(config.task)
        data = task.load(config, task.wanted(config))
        device = choose_device(config.device)
        student = build_student(config, data).to(device)
        teacher = None if config.teacher is None else load_teacher(config.teacher, config, data).to(device)
    return data, student, teacher


def asks_teacher(method: str) -> bool:
    """Whether steps of a method ask its teacher.

    Example:
        >>> asks_teacher("dr_kd"), asks_teacher("cross_entropy")
        (True, False)
    """
    info = get_method(method)
    return info.teacher != "none" and not info.clean_view
