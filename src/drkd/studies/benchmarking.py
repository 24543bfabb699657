"""What each method costs on a network and a machine: steps side by side, the loader, a whole epoch.

Everything is measured on images of noise with the training loop's own parts: `drkd.training.step.Stepper`, the
objective's `update`, the loader, `drkd.fit`. Contenders take turns within one process (`drkd.utils.timing`).
"""

import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from drkd.config import BenchConfig
from drkd.config.effects import has_effect
from drkd.methods.registry import create, get_method
from drkd.studies.contenders import CACHED, Contender, made_up, new_network, settings_of, trained_as
from drkd.studies.results import BASELINE
from drkd.training.fit import assemble, fit
from drkd.utils.device import choose_device, set_up_process
from drkd.utils.errors import InputError
from drkd.utils.files import JsonObject, write_json
from drkd.utils.machine import Environment, environment
from drkd.utils.timing import WARM_UP, Clock, Spread, ratios, spread, take_turns, wait_for

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
        objective_share: fraction of a step that the losses, their gradients and a teacher's pass take; None for tasks
            whose losses are not of a table of logits.
        peak_mib: what a step holds at most beyond weights, optimizer and batch.
    """

    milliseconds: Spread
    ratio: Spread
    objective_share: Spread | None
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

    def to_json(self) -> JsonObject:
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


def measure_methods(config: BenchConfig, *, clock: Clock = time.perf_counter) -> dict[str, MethodCost]:
    """Steps and objectives of all methods in turns, cross-entropy first."""
    names = list(dict.fromkeys([BASELINE, *config.methods]))
    if "dr_kd" in names and has_effect(trained_as(config, "dr_kd"), "cache_size"):
        names.insert(names.index("dr_kd") + 1, CACHED)
    contenders = {name: Contender(name, config) for name in names}
    turns = {(name, "step"): contender.step for name, contender in contenders.items()}
    alone = {name: contender for name, contender in contenders.items() if contender.logits is not None}
    turns |= {(name, "objective"): contender.objective_alone for name, contender in alone.items()}
    seconds = take_turns(turns, rounds=config.rounds, device=config.device, clock=clock)
    return {
        name: MethodCost(
            milliseconds=spread([1e3 * taken for taken in seconds[name, "step"]]),
            ratio=ratios(seconds[name, "step"], seconds[BASELINE, "step"]),
            objective_share=ratios(seconds[name, "objective"], seconds[name, "step"]) if name in alone else None,
            peak_mib=contender.peak_bytes() / 2**20,
        )
        for name, contender in contenders.items()
    }


def measure_loader(config: BenchConfig, *, samples: int, clock: Clock = time.perf_counter) -> Spread:
    """Images per second of the training loader alone, in epochs of `samples`."""
    data = made_up(config, samples)
    loader = assemble(new_network(config), create(BASELINE, {}), data, settings_of(config, data)).learner.loader
    epochs = itertools.count()

    def serve() -> None:
        for _ in loader.batches(next(epochs), 0):
            pass

    seconds = take_turns({"loader": serve}, rounds=config.rounds, device=config.device, clock=clock)["loader"]
    return spread([samples / taken for taken in seconds])


def measure_epoch(
    config: BenchConfig, *, steps_per_epoch: int = EPOCH_STEPS, clock: Clock = time.perf_counter
) -> EpochCost:
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
        for _step in range(steps_per_epoch):
            bare.step()
        wait_for(config.device)
        started = clock()
        steps.append(started - ended)

    data = made_up(config, steps_per_epoch * config.batch_size)
    with tempfile.TemporaryDirectory() as out:
        settings = settings_of(config, data, epochs=WARM_UP + config.rounds, out=out, checkpoint_every=FAR_AHEAD)
        started = clock()
        fit(new_network(config), create(BASELINE, {}), data, settings=settings, on_epoch=on_epoch)
    epochs, steps = epochs[WARM_UP:], steps[WARM_UP:]
    return EpochCost(steps_per_epoch, spread([1e3 * taken for taken in epochs]), ratios(epochs, steps))
