"""Trainings that make a step when they are asked: what `drkd bench` measures."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import nn

from drkd.config import BenchConfig, FitSettings
from drkd.data import Data, Split
from drkd.data.augment import AUGMENTATIONS
from drkd.methods.registry import create
from drkd.models import create_model
from drkd.runs.building import memory_format
from drkd.targets import Cached, Frozen, Teacher
from drkd.targets.teacher_cache import HEADER, TeacherCache
from drkd.training.checkpoint import TrainState
from drkd.training.classifier import ClassifierLearner
from drkd.training.compilation import choose_memory_format
from drkd.training.optimizer import make_optimizer
from drkd.training.step import Stepper
from drkd.utils.timing import WARM_UP, peak_bytes

CACHED = "dr_kd_cached"
"""DR-KD whose teacher's answers are found in a cache."""

EPOCH = 1
"""Completed epochs of a contender."""

LEARNING_RATE = 1e-4
"""Small, so that labels of noise do no harm; a step costs the same at any rate."""


def settings_of(config: BenchConfig, **others: Any) -> FitSettings:
    """How `drkd.fit` would be asked for the trainings that are measured."""
    return FitSettings(
        batch_size=config.batch_size,
        lr=LEARNING_RATE,
        schedule="constant",
        device=config.device,
        precision=config.precision,
        memory_format=memory_format(config),
        compile=config.compile,
        **others,
    )


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
        device, settings = torch.device(config.device), settings_of(config)
        data = made_up(config, batches * config.batch_size)
        if name == CACHED:
            teacher = self._cached(len(data.train), config)
        student = new_network(config)
        layout = choose_memory_format(settings.memory_format, student)
        student.to(device).to(memory_format=layout)
        method = "dr_kd" if name == CACHED else name
        objective = create(method, {}, teacher=teacher or new_network(config), student=student, epochs=2 * EPOCH + 1)
        objective.to(device).to(memory_format=layout)
        learner = ClassifierLearner(data, student, objective, settings, device)
        objective.update(progress=0.5, epoch=EPOCH)
        scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.state = TrainState(student, objective, make_optimizer(student, settings), scaler)
        self.stepper = Stepper(self.state, learner, settings, device)
        self.batches = list(learner.loader.batches())
        self.batch = self.batches[0]
        self.device, self.dtype = device, learner.dtype
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
        """The losses of a batch, their gradients at the student's logits, and the teacher's pass if there is one."""
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
        """A teacher whose answers for the epoch at hand, made up, lie in a cache on disk as long as this is there."""
        folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        answers = torch.randn(samples, config.classes).half().numpy()
        cache = TeacherCache(folder, {}, limit=2 * answers.nbytes + HEADER)
        cache.write(EPOCH, answers)
        return Cached(Frozen(new_network(config)), cache, samples=samples)


def made_up(config: BenchConfig, samples: int) -> Data:
    """So many training images of noise, with the papers' augmentation for CIFAR; the other splits are empty."""
    draw = torch.Generator().manual_seed(0)
    shape = (samples, 3, config.image_size, config.image_size)
    images = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
    train = Split(images, torch.randint(0, config.classes, (samples,), generator=draw))
    empty = train.select(torch.arange(0))
    classes = tuple(str(label) for label in range(config.classes))
    augmentation = AUGMENTATIONS["cifar"]
    return Data("made up", classes, train, empty, empty, augmentation=augmentation, mean=(0.5,) * 3, std=(0.25,) * 3)


def new_network(config: BenchConfig) -> nn.Module:
    """The network with random weights."""
    return create_model(config.model, num_classes=config.classes, image_size=config.image_size)
