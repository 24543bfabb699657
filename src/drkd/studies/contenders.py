"""Trainings that make a step when they are asked: what `drkd bench` measures."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from drkd.config import BenchConfig, FitSettings, TrainConfig, validated
from drkd.runs.building import memory_format, model_info
from drkd.targets import Cached, Frozen, Teacher
from drkd.targets.teacher_cache import HEADER, TeacherCache
from drkd.tasks import TaskData, get_task
from drkd.training.classifier import ClassifierLearner
from drkd.training.fit import assemble, learner_type
from drkd.utils.timing import WARM_UP, peak_bytes

CACHED = "dr_kd_cached"
"""DR-KD whose teacher's answers are found in a cache."""

EPOCH = 1
"""Completed epochs of a contender."""

LEARNING_RATE = 1e-4
"""Small, so that labels of noise do no harm; a step costs the same at any rate."""


def settings_of(config: BenchConfig, data: TaskData, **others: Any) -> FitSettings:
    """How `drkd.fit` would be asked for the trainings that are measured."""
    own = {
        "batch_size": config.batch_size,
        "lr": LEARNING_RATE,
        "schedule": "constant",
        "warmup_epochs": 0,
        "device": config.device,
        "precision": config.precision,
        "memory_format": memory_format(config),
        "compile": config.compile,
    }
    return validated(FitSettings, {**learner_type(data).defaults, **own, **others})


def trained_as(config: BenchConfig, method: str) -> TrainConfig:
    """The run whose steps are measured."""
    how = {"task": config.task, "model": config.model, "method": method, "epochs": 2 * EPOCH + 1, "augment": "flip"}
    return validated(TrainConfig, how)


class Contender:
    """A training of its own that makes one optimizer step each time it is asked.

    It is in the middle of its training: a memory is filled within the rounds of warm-up, ramps are half way up.

    Args:
        name: of the method, or `CACHED`.
        config: the network, the images and how they are computed with.
        teacher: for a method that takes one; other random weights of the same network by default.
        batches: made at the start, so that a step has no loader in it; steps take them in turn.
    """

    def __init__(
        self, name: str, config: BenchConfig, *, teacher: Teacher | None = None, batches: int = WARM_UP
    ) -> None:
        device, task = torch.device(config.device), get_task(config.task)
        data = made_up(config, batches * config.batch_size)
        settings = settings_of(config, data)
        if name == CACHED:
            teacher = self._cached(len(data.train), config)
        student = new_network(config)
        trained = trained_as(config, "dr_kd" if name == CACHED else name)
        taught_by = cast("nn.Module", teacher) if teacher is not None else new_network(config)
        objective = task.objective(trained, data, teacher=taught_by, student=student, out=Path())
        task.check_settings(trained, objective)
        self.stepper = assemble(student, objective, data, settings)
        self.state = self.stepper.state
        objective.update(progress=0.5, epoch=EPOCH)
        learner = self.stepper.learner
        self.batches = list(learner.loader.batches(0, 0))
        self.batch = self.batches[0]
        self.device, self.dtype = device, getattr(torch, config.precision)
        self.logits: Tensor | None = None
        if type(learner) is ClassifierLearner:
            self.logits = torch.randn(learner.loader.rows, config.classes, device=device, dtype=self.dtype)

    def step(self) -> None:
        """What `drkd.fit` does with a batch: forward, losses, backward, optimizer, update."""
        state = self.state
        self.batch = self.batches[state.result.step % len(self.batches)]
        stepped = self.stepper.step(self.batch)
        state.result.step += 1
        if stepped:
            state.objective.update(progress=0.5, epoch=EPOCH)
        else:
            state.objective.discard()

    def objective_alone(self) -> None:
        """The losses of a batch, their gradients at the student's logits, and the teacher's pass if there is one.

        Only of classifiers: other networks have no table of logits beside what they compute themselves.
        """
        if self.logits is None:
            return
        batch, logits = self.batch, self.logits[: len(self.batch.inputs)].detach().requires_grad_()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            losses = self.state.objective(logits, batch.labels, inputs=batch.inputs, index=batch.index)
        losses["loss"].backward()
        self.state.objective.discard()

    def peak_bytes(self) -> int:
        """The most that a step holds at once, beyond weights, optimizer and batch."""
        self.state.optimizer.zero_grad(set_to_none=True)
        return peak_bytes(self.step, self.device)

    def _cached(self, samples: int, config: BenchConfig) -> Cached:
        """A teacher whose made-up answers for the current epoch are in a cache on disk while this object exists."""
        folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        answers = torch.randn(samples, config.classes).half().numpy()
        cache = TeacherCache(folder, {}, limit=2 * answers.nbytes + HEADER)
        cache.write(EPOCH, answers)
        return Cached(Frozen(new_network(config)), cache, samples=samples)


def made_up(config: BenchConfig, samples: int) -> Any:
    """Training images of noise; the other splits are empty."""
    return get_task(config.task).made_up(config, samples)


def new_network(config: BenchConfig) -> nn.Module:
    """The network with random weights."""
    info = model_info(trained_as(config, "cross_entropy"), made_up(config, 2))
    return get_task(config.task).build(info)
