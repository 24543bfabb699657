"""The parts of benchmarks/gpu.py: each yields figures as it knows them."""

import multiprocessing
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from drkd.config import BenchConfig
from drkd.studies.benchmarking import measure_epoch
from drkd.studies.contenders import CACHED, Contender
from drkd.training.step import CHECK_EVERY
from drkd.utils.timing import Spread, ratios, spread, take_turns, wait_for

ROOT = Path(__file__).resolve().parents[1]
LIVE, WITHOUT_PASS, REAL = 1.30, 1.03, 0.95
METHODS = ("cross_entropy", "dr_kd", CACHED, "ps_kd", "online_dr_kd")


@dataclass(frozen=True)
class Figure:
    """A row of gpu.csv; a target that starts with `<` is an upper bound."""

    part: str
    what: str
    median: float
    least: float
    most: float
    unit: str
    target: str = ""

    @property
    def met(self) -> str:
        if not self.target:
            return ""
        bound = float(self.target[1:])
        return "met" if (self.median <= bound if self.target[0] == "<" else self.median >= bound) else "missed"


@dataclass(frozen=True)
class Setting:
    """How large everything is."""

    device: str
    models: tuple[str, ...] = ("resnet18", "mobilenetv2")
    sizes: tuple[int, ...] = (32, 64)
    classes: int = 100
    batch: int = 128
    rounds: int = 4
    block: int = 20
    steps: int = 120
    processes: tuple[int, ...] = (4, 8)
    seconds: float = 4.0
    shapes: tuple[tuple[int, int], ...] = ((256, 21841), (8192, 32000))

    def config(self, model: str, size: int, compiled: bool = False) -> BenchConfig:
        return BenchConfig(
            model=model,
            image_size=size,
            classes=self.classes,
            batch_size=self.batch,
            rounds=self.rounds,
            device=self.device,
            precision="bfloat16",
            memory_format="channels_last",
            compile="on" if compiled else "off",
        )


DRY = Setting("cpu", ("small_cnn",), (8,), 10, 16, 1, 2, 3, (2,), 0.2, ((16, 5000),))


def figure(part: str, what: str, values: Spread, unit: str = "x", target: str = "") -> Figure:
    return Figure(part, what, values["median"], values["min"], values["max"], unit, target)


def tests(setting: Setting, seconds: float) -> Iterator[Figure]:
    """Those of a GPU; on the processor the same ones run with every other test."""
    del setting
    environ = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    places = ["tests/training/test_on_devices.py", "tests/objective"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist", *places]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=seconds
        )
        said = done.stdout
    except subprocess.TimeoutExpired as late:
        said = f"{late.stdout}\n1 failed: out of time"
    print(said[-6000:])
    for word in ("passed", "failed", "error", "skipped"):
        count = sum(int(number) for number in re.findall(rf"(\d+) {word}", said.splitlines()[-1] if said else ""))
        target = {"failed": "<0", "error": "<0"}.get(word, "")
        yield Figure("tests", word, count, count, count, "tests", target)


def sync(setting: Setting, seconds: float) -> Iterator[Figure]:
    """Steps from the third on, between two readings of the guard: torch's own watch, then the calls in a profile."""
    del seconds
    for method in METHODS:
        contender = Contender(method, setting.config(setting.models[0], setting.sizes[0]), batches=CHECK_EVERY)
        batches = contender.stepper.learner.loader.batches()
        contender.batches = list(islice(batches, 2))  # the first choose algorithms, and size tables
        contender.step()
        contender.step()
        steps = CHECK_EVERY - 3
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            if setting.device != "cpu":
                torch.cuda.set_sync_debug_mode("warn")
            for batch in islice(batches, steps):  # made meanwhile, as in a training
                contender.batches = [batch]
                contender.step()
            if setting.device != "cpu":
                torch.cuda.set_sync_debug_mode("default")
        found = [str(wait.message) for wait in waits if "called a synchronizing" in str(wait.message)]
        for message in sorted(set(found)):
            print(f"sync: {method}: {message}")
        yield figure("sync", f"{method}: waits in {steps} steps", spread([len(found)]), "waits", "<0")
        yield figure("sync", f"{method}: profiled", spread([profiled_waits(contender)]), "waits a step", "<0")


def profiled_waits(contender: Contender) -> float:
    """Calls of CUDA that wait for the GPU in a step."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    contender.state.result.step = 1
    with torch.profiler.profile() as profile:
        for _ in range(5):
            contender.step()
    calls = {event.key: event.count for event in profile.key_averages() if "Synchronize" in event.key}
    calls.pop("cudaDeviceSynchronize", None)  # the profiler's own, at its end
    return sum(calls.values()) / 5


def steps(setting: Setting, seconds: float, *, compiled: bool = False) -> Iterator[Figure]:
    started = time.perf_counter()
    methods = METHODS[:3] if compiled else METHODS  # each compiles a network of its own
    for model in setting.models:
        for size in setting.sizes[:1]:
            if time.perf_counter() - started > seconds:
                return
            made = {name: Contender(name, setting.config(model, size, compiled)) for name in methods}
            turns = {name: partial(repeat, contender.step, setting.block) for name, contender in made.items()}
            taken = take_turns(turns, rounds=setting.rounds, device=setting.device)
            what = f"{model} {size}{' compiled' if compiled else ''}"
            base = [1e3 * each / setting.block for each in taken["cross_entropy"]]
            yield figure("steps", f"{what}: cross_entropy", spread(base), "ms")
            for name in methods[1:]:
                target = f"<{LIVE if name == 'dr_kd' else WITHOUT_PASS}"
                ratio = ratios(taken[name], taken["cross_entropy"])
                yield figure("steps", f"{what}: {name} / cross_entropy", ratio, target=target)


def epochs(setting: Setting, seconds: float, *, compiled: bool = False) -> Iterator[Figure]:
    started = time.perf_counter()
    for size in setting.sizes:
        for model in setting.models:
            if time.perf_counter() - started > seconds:
                return
            cost = measure_epoch(setting.config(model, size, compiled), steps_per_epoch=setting.steps)
            what, ratio = f"{model} {size}{' compiled' if compiled else ''}", cost.ratio
            images = {name: 1e3 * setting.batch * cost.steps / taken for name, taken in cost.milliseconds.items()}
            swapped = {"median": images["median"], "min": images["max"], "max": images["min"]}
            yield figure("epochs", f"{what}: drkd.fit", swapped, "images/s")
            share = {"median": 1 / ratio["median"], "min": 1 / ratio["max"], "max": 1 / ratio["min"]}
            yield figure("epochs", f"{what}: drkd.fit / bare steps", share, target=f">{REAL}")


def train_for(setting: Setting, model: str, ready: Any, counts: Any) -> None:
    """One of several trainings: when all are ready, images per second for a while."""
    contender = Contender("cross_entropy", setting.config(model, setting.sizes[0]), batches=4)
    repeat(contender.step, setting.block)
    wait_for(setting.device)
    ready.wait()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < setting.seconds:
        repeat(contender.step, setting.block)
        wait_for(setting.device)
        steps += setting.block
    counts.put(setting.batch * steps / (time.perf_counter() - started))


def processes(setting: Setting, seconds: float) -> Iterator[Figure]:
    started, context = time.perf_counter(), multiprocessing.get_context("spawn")
    for model in setting.models:
        alone = 0.0
        for number in (1, *setting.processes):
            if time.perf_counter() - started > seconds:
                return
            ready, counts = context.Barrier(number), context.Queue()
            workers = [context.Process(target=train_for, args=(setting, model, ready, counts)) for _ in range(number)]
            for worker in workers:
                worker.start()
            try:
                total = sum(counts.get(timeout=120) for _ in workers)
            finally:
                for worker in workers:
                    worker.join(timeout=5)
                    worker.kill()
            alone = alone or total
            what = f"{model} {setting.sizes[0]}: {number} at once"
            yield figure("processes", what, spread([total]), "images/s")
            yield figure("processes", f"{what} / one", spread([total / alone]))


def large_k(setting: Setting, seconds: float) -> Iterator[Figure]:
    from large_k import measure

    started = time.perf_counter()
    for rows, classes in setting.shapes:
        for kernels in (True, False):
            if time.perf_counter() - started > seconds:
                return
            found = measure(rows, classes, setting.rounds, device=setting.device, kernels=kernels, block=setting.block)
            how = "Triton" if kernels else "in pieces"
            for row in found:
                target = "<2" if kernels and row["method"] in ("kd", "dr_kd") else ""
                yield figure(
                    "large_k", f"{rows}x{classes}, {how}: {row['method']}", spread([row["ratio"]]), target=target
                )


def repeat(step: Any, times: int) -> None:
    for _ in range(times):
        step()


PARTS: dict[str, tuple[Callable[[Setting, float], Iterator[Figure]], float]] = {
    "sync": (sync, 20),
    "steps": (steps, 30),
    "epochs": (epochs, 90),
    "tests": (tests, 60),
    "large_k": (large_k, 25),
    "processes": (processes, 90),
    "epochs_compiled": (partial(epochs, compiled=True), 90),
    "steps_compiled": (partial(steps, compiled=True), 60),
}
"""In the order in which they run, with the seconds that each may take or so."""
