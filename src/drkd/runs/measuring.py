"""What one training will take: a few steps and passes of this very network on these very data, measured on copies.

Nothing of the training changes by it, bitwise. Compilation is not measured: compiled steps take less.
"""

import copy
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from drkd.config import TrainConfig
from drkd.data import Data
from drkd.methods.registry import get_method
from drkd.models.parts import classifier_of
from drkd.runs.features import why_asked_always
from drkd.tasks import Task, TaskData, get_task
from drkd.training.features import features_of, with_features
from drkd.training.fit import assemble
from drkd.training.step import Stepper
from drkd.utils.progress import listening
from drkd.utils.timing import Clock, wait_for

SECONDS = 0.3
"""That a measured step may take: where one on a whole batch takes longer, a smaller one is measured."""

REPEATED = 0.1
"""For how many seconds of the processor steps and passes are repeated: where others have most of it, that is longer."""

AT_MOST = 1.0
"""For how many seconds on the clock."""

FIRST_ROWS = 8
"""How many samples the first steps on a processor have: those of whole batches may take too long to be measured."""

SAVES = 3
"""Checkpoints that are written; how long the disk takes varies."""

SAMPLES = 1024
"""Samples that steps are measured on, at most."""


@dataclass(frozen=True)
class Cost:
    """What one training costs, in seconds.

    Attributes:
        step, steps: of an optimizer step; how many an epoch has.
        head_step, head_epochs: of a step of the epochs that train the classifier alone; how many there are.
        epoch: of what an epoch has besides its steps, such as its validation.
        once: of what a training has once, such as the evaluation; its files take about as long as a checkpoint.
        features: of asking a frozen backbone about all images; 0 where it is asked in every step.
        save: of writing a checkpoint.
        image, pass_: of one image through the network, decoded; through what is trained of it.
        images, image_size: how many there are, and their side length.
    """

    step: float
    steps: int
    head_step: float
    head_epochs: int
    epoch: float
    once: float
    features: float
    save: float
    image: float
    pass_: float
    images: int
    image_size: int

    def seconds(self, epochs: int, checkpoint_every: str, *, has_features: bool = False) -> float:
        """Of a training of `epochs` epochs; `has_features` where another one has kept the features already."""
        head = min(self.head_epochs, epochs)
        steps = self.steps * ((epochs - head) * self.step + head * self.head_step) + epochs * self.epoch
        every = str(checkpoint_every)
        if every == "epoch":
            saves = float(epochs)
        elif every.endswith("s"):
            saves = 1 + steps / int(every[:-1])
        else:
            saves = math.ceil(self.steps * epochs / int(every))
        return steps + saves * self.save + self.once + (0 if has_features else self.features)


def measure(
    config: TrainConfig,
    data: TaskData,
    student: nn.Module,
    teacher: nn.Module | None = None,
    *,
    like: Cost | None = None,
) -> Cost:
    """What a training as `config` says costs, its teacher's own training aside.

    Args:
        config: of the run; its processes and threads are those of this process.
        data: what it trains on.
        student: its network, on the device of the training; left as it is.
        teacher: of a method that takes one; by default a copy of the student is used instead.
        like: the cost of another method with the same options, network and data: only steps are measured again.
    """
    task = get_task(config.task)
    device = next(student.parameters()).device
    method = get_method(config.method)
    count = {split: len(getattr(data, split)) for split in ("train", "val", "test")}
    with unnoticed(device):
        network, of_steps = copy.deepcopy(student), data
        plain = config.model_copy(update={"cache_size": "0", "compile": "off", "out": None, "log": []})
        image = like.image if like else _seconds_per_image(task, network, data)
        pass_, features = image, 0.0
        if config.freeze == "backbone" and isinstance(data, Data) and not why_asked_always(config, data):
            features = image * sum(count.values())
            plain = plain.model_copy(update={"freeze": None})
            network, of_steps = _alone(network, data)
            pass_ = like.pass_ if like else _seconds_per_image(task, network, of_steps)
        asked = network if features or teacher is None else teacher
        taught_by = None if method.teacher == "none" else copy.deepcopy(asked).to(device)
        steps = Steps(task, plain, of_steps, network, taught_by, row=like.step / config.batch_size if like else None)
        head_step = steps.seconds(0) if config.head_epochs else 0.0
        step = steps.seconds(config.head_epochs)
        save = like.save if like else steps.seconds_per_checkpoint()
    taught = count["train"] * (bool(method.clean_view) + (taught_by is not None))
    averages = count["train"] if (config.average or "").startswith("swa") else 0
    return Cost(
        step=step,
        steps=math.ceil(count["train"] / config.batch_size),
        head_step=head_step,
        head_epochs=config.head_epochs if config.freeze != "backbone" else 0,
        epoch=pass_ * (count["val"] + averages),
        once=save + pass_ * (count["test"] * (1 + len(config.keep_epochs)) + count["val"] + taught),
        features=features,
        save=save,
        image=image,
        pass_=pass_,
        images=sum(count.values()),
        image_size=data.image_size,
    )


@contextmanager
def unnoticed(device: torch.device) -> Iterator[None]:
    """Random numbers are as before, and nothing is said twice."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), warnings.catch_warnings(), listening(None):
        warnings.simplefilter("ignore")
        yield


def _some(split: Any, count: int) -> Any:
    """Samples from all over a split."""
    rows = torch.linspace(0, len(split) - 1, min(count, len(split))).long()
    return split.select(rows)


def _alone(network: nn.Module, data: Data) -> tuple[nn.Module, Data]:
    """A classifier and features for it: those of a few images again and again."""
    few = replace(data, train=_some(data.train, FIRST_ROWS))
    given = features_of(network, few, "train")
    features = {}
    for name in ("train", "val", "test"):
        size = min(SAMPLES, len(getattr(data, name)))
        features[name] = given.repeat(math.ceil(size / len(given)), 1)[:size]
    subset = replace(data, **{name: _some(getattr(data, name), len(rows)) for name, rows in features.items()})
    for name, rows in features.items():
        features[name] = rows[: len(getattr(subset, name))]
    return classifier_of(network)[1], with_features(subset, features, "")


def _seconds_per_image(task: Task, network: nn.Module, data: TaskData) -> float:
    """Of an evaluation, as many images as there is time for."""
    name = max(("val", "test", "train"), key=lambda split: len(getattr(data, split)))
    whole = getattr(data, name)
    few = cast(Any, data)
    count, spent = 2, 0.0
    while True:
        some = _some(whole, count)
        spent = _seconds(lambda part=some: task.evaluate(network, replace(few, test=part), "test"))  # type: ignore[misc]
        if spent > REPEATED / 2 or len(some) == len(whole):
            break
        count *= 4
    if count <= FIRST_ROWS:  # the first pass through a network takes longer than others
        spent = _seconds(lambda: task.evaluate(network, replace(few, test=some), "test"))
    return spent / len(some)


class Steps:
    """Steps of a training on copies of `network`.

    Args:
        task, config, data, network, teacher: of the training.
        row: seconds that a sample takes in a step, if that is known about.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        data: TaskData,
        network: nn.Module,
        teacher: nn.Module | None,
        *,
        row: float | None,
    ) -> None:
        self.task, self.config, self.data, self.network, self.teacher = task, config, data, network, teacher
        self.row = row

    def rows(self, epoch: int, *, within: float = SECONDS, clock: Clock = time.perf_counter, warm: bool = False) -> int:
        """Of the batches that are measured: whole ones, on a processor fewer where a step would take long.

        Args:
            epoch: whose steps these are.
            within: how many seconds a step may take.
            clock: by which.
            warm: make a step first that does not count, since the very first one takes longer.
        """
        rows = self.config.batch_size
        if next(self.network.parameters()).device.type == "cpu" and rows > FIRST_ROWS:
            row = self.row
            if row is None:
                stepper = self.stepper(FIRST_ROWS, epoch)
                if warm:
                    step_once(stepper, next(forever(stepper)))
                row = _seconds(lambda: step_once(stepper, next(forever(stepper))), clock) / FIRST_ROWS
            rows = min(rows, max(FIRST_ROWS, int(within / row)))
        return rows

    def seconds(self, epoch: int) -> float:
        """Of a step in `epoch` on a whole batch; on a processor reckoned from smaller ones where that takes long."""
        rows = self.rows(epoch)
        stepper = self.stepper(rows, epoch)
        served = forever(stepper)
        step_once(stepper, next(served))  # it takes longer than others
        wait_for(stepper.guard.device)
        part = 1.0 if self.row is None else 0.5
        count, started, begun = 0, time.perf_counter(), time.process_time()
        until = started + part * AT_MOST
        while not count or (time.process_time() - begun < part * REPEATED and time.perf_counter() < until):
            step_once(stepper, next(served))
            count += 1
        wait_for(stepper.guard.device)
        return (time.perf_counter() - started) / count * self.config.batch_size / rows

    def seconds_per_checkpoint(self) -> float:
        """Of writing one."""
        stepper = self.stepper(FIRST_ROWS)
        stepper.state.keep(copy=True)
        with tempfile.TemporaryDirectory() as folder:
            return sum(_seconds(lambda: stepper.state.save(Path(folder), best=True)) for _ in range(SAVES)) / SAVES

    def stepper(self, rows: int, epoch: int = 0) -> Stepper[Any]:
        """What makes steps on batches of `rows` rows, ready for those of `epoch`."""
        config = self.config.model_copy(update={"batch_size": rows})
        data = replace(cast(Any, self.data), train=_some(self.data.train, max(SAMPLES, 2 * rows)))
        student = copy.deepcopy(self.network)
        objective = self.task.objective(config, data, teacher=self.teacher, student=student, out=Path())
        stepper = assemble(student, objective, data, config)
        stepper.begin(epoch)
        return stepper


def step_once(stepper: Stepper[Any], batch: Any) -> None:
    """What the loop does with a batch."""
    objective, result = stepper.state.objective, stepper.state.result
    if stepper.step(batch):
        result.step += 1
        objective.update(progress=0.5, epoch=1)
        if stepper.state.average is not None:
            stepper.state.average.after_step()
    else:
        objective.discard()


def forever(stepper: Stepper[Any]) -> Iterator[Any]:
    """Batches without end."""
    epoch = 0
    while True:
        yield from stepper.learner.loader.batches(epoch, start=0)
        epoch += 1


def _seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started
