"""What each method costs on a network and a machine: steps side by side, the loader, a whole epoch.

Everything is measured on images of noise with the training loop's own parts: `drkd.training.step.Stepper`, the
objective's `update`, the loader, `drkd.fit`. Contenders take turns within one process (`drkd.utils.timing`).
"""

import itertools
import shutil
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from drkd.config import BenchConfig, FitSettings
from drkd.data import Data, Split
from drkd.data.augment import AUGMENTATIONS
from drkd.data.loader import Loader
from drkd.methods import Teacher
from drkd.methods.registry import create, get_method
from drkd.models import create_model
from drkd.runs.building import memory_format
from drkd.studies.results import BASELINE
from drkd.targets import Cached, Frozen
from drkd.targets.teacher_cache import HEADER, TeacherCache
from drkd.training.checkpoint import TrainState
from drkd.training.classifier import ClassifierLearner
from drkd.training.compilation import choose_memory_format
from drkd.training.fit import fit
from drkd.training.step import Stepper, make_optimizer
from drkd.utils.device import choose_device, set_up_process
from drkd.utils.errors import InputError
from drkd.utils.files import write_json
from drkd.utils.machine import Environment, environment
from drkd.utils.timing import WARM_UP, Clock, Spread, peak_bytes, ratios, spread, take_turns, wait_for

CACHED = "dr_kd_cached"
"""DR-KD whose teacher's answers are found in a cache."""

EPOCH = 1
"""Completed epochs of a contender."""

LEARNING_RATE = 1e-4
"""Small, so that labels of noise do no harm; a step costs the same at any rate."""

EPOCH_STEPS = 8
"""Batches of the epoch that is measured, and of the loader."""

FAR_AHEAD = "1000000s"
"""When the next checkpoint is due: none is written."""


@dataclass(frozen=True)
class MethodCost:
    """What a method costs.

    Attributes:
        milliseconds: of a step.
        ratio: to cross-entropy's step of the same round.
        objective_share: fraction of a step that the losses, their gradients and a teacher's pass take.
        peak_mib: what a step holds at most beyond weights, optimizer and batch.
    """

    milliseconds: Spread
    ratio: Spread
    objective_share: Spread
    peak_mib: float


@dataclass(frozen=True)
class EpochCost:
    """What an epoch of `drkd.fit` costs: its steps, its time, and that over the time of its bare steps alone."""

    steps: int
    milliseconds: Spread
    ratio: Spread


@dataclass(frozen=True)
class BenchResults:
    """What `bench` measures; all but the peak and the number of steps have `median`, `min` and `max`.

    Attributes:
        environment, settings: with what, and what.
        methods: by name, cross-entropy first.
        loader: images per second.
        epoch: of cross-entropy.
    """

    environment: Environment
    settings: BenchConfig
    methods: dict[str, MethodCost]
    loader: Spread
    epoch: EpochCost

    def to_json(self) -> dict[str, Any]:
        """As it is written to a file."""
        return {
            "environment": self.environment,
            "settings": self.settings.model_dump(exclude={"out", "threads"}),
            "methods": {name: vars(cost) for name, cost in self.methods.items()},
            "loader": {"images_per_second": self.loader},
            "epoch": vars(self.epoch),
        }


def bench(config: BenchConfig, *, clock: Clock = time.perf_counter) -> BenchResults:
    """Measure what the methods cost, and print nothing.

    Args:
        config: what to measure; with `out` the result is also written there, as JSON.
        clock: seconds from any start.

    Raises:
        InputError: for unknown names, or a network that does not fit the images.

    Example:
        >>> sizes = {"model": "mlp", "image_size": 4, "batch_size": 2, "rounds": 1}
        >>> found = bench(BenchConfig(**sizes, methods=["label_smoothing"]))
        >>> list(found.methods), found.methods["cross_entropy"].ratio["median"]
        (['cross_entropy', 'label_smoothing'], 1.0)
    """
    for name in config.methods:
        get_method(name)
    if config.out is not None and (Path(config.out).is_dir() or not Path(config.out).absolute().parent.is_dir()):
        raise InputError(f"--out should be a file in a folder that exists, got {config.out!r}")
    set_up_process(config.threads)
    config = config.model_copy(update={"device": str(choose_device(config.device))})
    found = BenchResults(
        environment={**environment(), "threads": torch.get_num_threads()},
        settings=config,
        methods=measure_methods(config, clock=clock),
        loader=measure_loader(config, samples=EPOCH_STEPS * config.batch_size, clock=clock),
        epoch=measure_epoch(config, clock=clock),
    )
    if config.out is not None:
        write_json(Path(config.out), found.to_json())
    return found


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


def measure_methods(config: BenchConfig, *, clock: Clock = time.perf_counter) -> dict[str, MethodCost]:
    """Steps and objectives of all methods in turns, cross-entropy first."""
    names = list(dict.fromkeys([BASELINE, *config.methods]))
    if "dr_kd" in names:
        names.insert(names.index("dr_kd") + 1, CACHED)
    contenders = {name: Contender(name, config) for name in names}
    turns = {(name, "step"): contender.step for name, contender in contenders.items()}
    turns |= {(name, "objective"): contender.objective_alone for name, contender in contenders.items()}
    seconds = take_turns(turns, rounds=config.rounds, device=config.device, clock=clock)
    return {
        name: MethodCost(
            milliseconds=spread([1e3 * taken for taken in seconds[name, "step"]]),
            ratio=ratios(seconds[name, "step"], seconds[BASELINE, "step"]),
            objective_share=ratios(seconds[name, "objective"], seconds[name, "step"]),
            peak_mib=contender.peak_bytes() / 2**20,
        )
        for name, contender in contenders.items()
    }


def measure_loader(config: BenchConfig, *, samples: int, clock: Clock = time.perf_counter) -> Spread:
    """Images per second of the training loader alone, in epochs of so many."""
    data = made_up(config, samples)
    loader = Loader(data, data.train, batch_size=config.batch_size, training=True, device=config.device)
    epochs = itertools.count()

    def serve() -> None:
        for _ in loader.batches(next(epochs)):
            pass

    seconds = take_turns({"loader": serve}, rounds=config.rounds, device=config.device, clock=clock)["loader"]
    return spread([samples / taken for taken in seconds])


def measure_epoch(config: BenchConfig, *, clock: Clock = time.perf_counter) -> EpochCost:
    """Whole epochs of `drkd.fit` with cross-entropy in turns with as many bare steps.

    An epoch lasts from one call of `on_epoch` to the next: loader, steps, sums and `metrics.csv` are in it.
    """
    bare = Contender(BASELINE, config, batches=EPOCH_STEPS)
    epochs: list[float] = []
    steps: list[float] = []
    started = 0.0

    def on_epoch(_: object) -> None:
        nonlocal started
        wait_for(config.device)
        ended = clock()
        epochs.append(ended - started)
        for _step in range(EPOCH_STEPS):
            bare.step()
        wait_for(config.device)
        started = clock()
        steps.append(started - ended)

    data = made_up(config, EPOCH_STEPS * config.batch_size)
    with tempfile.TemporaryDirectory() as out:
        settings = settings_of(config, epochs=WARM_UP + config.rounds, out=out, checkpoint_every=FAR_AHEAD)
        started = clock()
        fit(new_network(config), create(BASELINE, {}), data, settings=settings, on_epoch=on_epoch)
    epochs, steps = epochs[WARM_UP:], steps[WARM_UP:]
    return EpochCost(EPOCH_STEPS, spread([1e3 * taken for taken in epochs]), ratios(epochs, steps))


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
