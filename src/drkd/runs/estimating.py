"""How long trainings will take, and what would take less, from what `drkd.runs.measuring` measures.

It is no promise: other programs on the machine and caches that are filled already change the time.
"""

import contextlib
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from drkd.config import METHOD_SETTINGS, TrainConfig, as_bytes
from drkd.methods.registry import get_method
from drkd.runs.building import build_student
from drkd.runs.events import Estimate, Estimated, OnEvent, ignore_event
from drkd.runs.fold_teachers import fold_runs
from drkd.runs.measuring import Cost, measure
from drkd.runs.precision import MARGIN, ratio_of_steps
from drkd.runs.summary import FILE
from drkd.tasks import TaskData, get_task
from drkd.utils.device import choose_device
from drkd.utils.distributed import world_size
from drkd.utils.text import duration

LONG = 3600.0
"""Seconds from which on a way to take less is named."""

LEAST = 3
"""Seeds below which no verdict is possible."""

ALIKE = ("seed", "label_noise", "teacher", "out", "epochs", "warmup_epochs", "lr", "alpha", "temperature", "epsilon")
"""Options in which trainings may differ and cost the same per epoch."""


@dataclass(frozen=True)
class Planned:
    """A training to come: its settings, its run directory, and that of the training that has to be done before."""

    config: TrainConfig
    out: Path
    after: Path | None = None


def with_self_teacher(config: TrainConfig, out: Path) -> list[Planned]:
    """A training that has no teacher yet, after that of its self-teacher where it needs one."""
    if get_method(config.method).teacher != "self":
        return [Planned(config, out)]
    plain: dict[str, object] = {
        **dict.fromkeys(METHOD_SETTINGS),
        "method_options": {},
        "average": None,
        "teacher_folds": None,
        "teacher_precision": None,
    }
    first = config.model_copy(update={"method": "cross_entropy", **plain})
    if config.teacher_folds:
        runs = fold_runs(first, out / "teacher", config.teacher_folds)
        before = [None, *(run for _, run in runs)]
        chain = [Planned(each, run, after) for (each, run), after in zip(runs, before, strict=False)]
        return [*chain, Planned(config, out, after=runs[-1][1])]
    return [Planned(first, out / "teacher"), Planned(config, out, after=out / "teacher")]


def estimate_training(
    config: TrainConfig, data: TaskData, student: nn.Module, out: Path, teacher: nn.Module | None
) -> Estimate:
    """Of one training, and its self-teacher's where that is trained first.

    Args:
        config, data: of the training.
        student: its network, left as it is.
        out: its run directory, which may hold a part of it.
        teacher: None where it takes none, and where it is trained first.
    """
    student.to(choose_device(config.device))
    planned = [Planned(config, out)] if teacher is not None else with_self_teacher(config, out)
    found = _estimate(planned, [measure(each.config, data, student, teacher) for each in planned], processes=1)
    return _with_precision(found, config, data, student)


def announce(name: str, estimate: Callable[[], Estimate | None], on_event: OnEvent) -> None:
    """Tell how long it will take, if anybody listens and anybody can tell: no training fails for it."""
    if on_event is ignore_event or world_size() > 1:  # there a step waits for those of other processes
        return
    with contextlib.suppress(Exception):  # whatever is wrong, the training says it
        found = estimate()
        if found is not None:
            on_event(Estimated(name, found))


def estimate_trainings(planned: Sequence[Planned], *, processes: int) -> Estimate | None:
    """Of many trainings, `processes` at once; those that are finished do not count; None where all are.

    Data are read once, for the first of them, and each network is built once.
    """
    planned = [each for each in planned if not (each.out / FILE).is_file()]
    if not planned:
        return None
    first = planned[0].config
    task, started = get_task(first.task), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every training says it again
        data = task.load(first, task.wanted(first))
        configs = {each.config.model: each.config for each in planned}
        networks = {name: build_student(config, data) for name, config in configs.items()}
    for network in networks.values():
        network.to(choose_device(first.device))
    once = time.perf_counter() - started
    if first.freeze == "backbone" and processes > 1:  # asked once for all, by all processors
        once += measure(first, data, networks[first.model]).features
    known: dict[str, Cost] = {}
    teachers = {each.out: networks[each.config.model] for each in planned}
    costs: list[Cost] = []
    threads = torch.get_num_threads()
    try:
        if processes > 1:
            torch.set_num_threads(1)
        for each in planned:
            config = each.config.model_copy(update={"workers": 0} if processes > 1 else {})  # no processor is idle
            key = str({name: value for name, value in config.model_dump().items() if name not in ALIKE})
            if key not in known:
                teacher = teachers.get(each.after) if each.after else None
                alike = costs[0] if costs and config.model == first.model else None
                known[key] = measure(config, data, networks[config.model], teacher, like=alike)
            costs.append(known[key])
    finally:
        torch.set_num_threads(threads)
    if first.freeze == "backbone" and processes > 1:
        costs = [replace(cost, features=0.0) for cost in costs]
    found = _estimate(planned, costs, processes=processes, once=once)
    return _with_precision(found, first, data, networks[first.model])


def _estimate(planned: Sequence[Planned], costs: Sequence[Cost], *, processes: int, once: float = 0.0) -> Estimate:
    """Of trainings whose costs are known; what one of them keeps on disk the others find there."""
    ends: dict[Path, float] = {}  # of each training, by when it could end with any number of processes
    answers: dict[tuple[object, ...], Cost] = {}  # of a training that asks the same teacher about the same images
    plain = next((cost for each, cost in zip(planned, costs, strict=True) if _is_plain(each.config)), None)
    total, has_features = 0.0, False
    for each, cost in zip(planned, costs, strict=True):
        config, of_answers = each.config, cost
        if plain is not None and _keeps_answers(config):
            same = (config.seed, config.label_noise, config.teacher, config.epochs)
            if same in answers:
                of_answers = replace(cost, step=plain.step, head_step=plain.head_step)
            answers[same] = cost
        epochs = max(0, config.epochs - _epochs_done(each.out))
        seconds = of_answers.seconds(epochs, config.checkpoint_every, has_features=has_features)
        has_features = has_features or cost.features > 0
        ends[each.out] = seconds + (0.0 if each.after is None else ends.get(each.after, 0.0))
        total += seconds
    seconds = once + max(total / processes, *ends.values())
    epochs = Counter(each.config.epochs for each in planned).most_common(1)[0][0]
    cheaper = _cheaper(seconds, planned, costs[0]) if seconds > LONG else ()
    return Estimate(seconds, len(planned), epochs, tuple(cheaper))


def _with_precision(estimate: Estimate, config: TrainConfig, data: TaskData, student: nn.Module) -> Estimate:
    """The estimate of what takes long, which says so where bfloat16 would take less."""
    if estimate.seconds <= LONG or config.precision != "float32" or config.freeze == "backbone":
        return estimate
    ratio = ratio_of_steps(config, data, student)
    if ratio is None or ratio > 1 - MARGIN:
        return estimate
    way = f"--precision auto, which chooses bfloat16 here: about {duration(ratio * estimate.seconds)}"
    return replace(estimate, cheaper=(way, *estimate.cheaper))


def _is_plain(config: TrainConfig) -> bool:
    return config.method == "cross_entropy"


def _keeps_answers(config: TrainConfig) -> bool:
    """Whether its teacher's answers are kept for others."""
    info = get_method(config.method)
    asks = info.teacher != "none" and not info.clean_view and config.freeze != "backbone"
    return asks and config.task == "classification" and as_bytes(config.cache_size) > 0 and config.sampler != "balanced"


def _epochs_done(out: Path) -> int:
    """Epochs of an unfinished training, by its curve."""
    try:
        return max(0, (out / "metrics.csv").read_text(encoding="utf-8").count("\n") - 1)
    except (OSError, ValueError):
        return 0


def _cheaper(seconds: float, planned: Sequence[Planned], cost: Cost) -> Iterator[str]:
    """What would take less, with how long that would take."""
    config = planned[0].config
    starts_trained = config.weights is not None or config.pretrained
    if config.freeze is None and config.task == "classification":
        features = duration(cost.image * cost.images)
        if starts_trained:
            yield f"--freeze backbone --augment none: about {features}, and seconds for each training"
        else:
            yield (
                f"pretrained weights (--pretrained) with --freeze backbone --augment none: about {features}, "
                "and seconds for each training"
            )
    seeds = len({each.config.seed for each in planned})
    if seeds > LEAST:
        yield f"--seeds {LEAST}: about {duration(seconds * LEAST / seeds)}"
    if config.epochs > 1:
        yield f"--epochs {config.epochs // 2}: about {duration(seconds / 2)}"
    size = cost.image_size * 5 // 7 // 32 * 32  # half the pixels
    if config.freeze != "backbone" and size >= 64:
        yield f"--image-size {size}: about {duration(seconds * (size / cost.image_size) ** 2)}"
