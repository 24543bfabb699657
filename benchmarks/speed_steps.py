"""Figures of speed.py that are of steps: every method's, in bfloat16, and beside the naive loop."""

import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from naive import NaiveLoop

from drkd.config import BenchConfig, TrainConfig
from drkd.report.speed import describe_spread
from drkd.runs.precision import ANY, choose
from drkd.studies.benchmarking import measure_methods
from drkd.studies.contenders import CACHED, Contender, made_up, new_network
from drkd.targets import Frozen
from drkd.training.compilation import has_compiler
from drkd.utils.timing import Spread, ratios, spread, take_turns

LIVE = {"mobilenetv2": 1.20, "shufflenetv2": 1.20, "resnet18": 1.25}
"""Targets of a DR-KD step with the teacher's pass in it, over a cross-entropy step, all in float32."""

FAST_LIVE = {"mobilenetv2": 1.08, "shufflenetv2": 1.08, "resnet18": 1.10}
"""The same where the teacher is asked in bfloat16."""

WITHOUT_PASS = dict.fromkeys((CACHED, "ps_kd", "online_dr_kd"), 1.03)
"""Targets of the steps without a second network's pass."""

NAIVE = {"mobilenetv2": 0.50, "shufflenetv2": 0.70, "resnet18": 0.70}
"""Targets of our DR-KD step with all that pays in a long training, over the naive loop's."""

IMAGE_SUFFIXES = 2048
"""Per epoch of the input pipelines."""


@dataclass
class Row:
    """A figure; `most` and `least` are targets."""

    part: str
    what: str
    measured: Spread
    unit: str = "x"
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool | None:
        if self.most is None and self.least is None:
            return None
        median = self.measured["median"]
        return (self.most is None or median <= self.most) and (self.least is None or median >= self.least)

    def cells(self) -> list[str]:
        target = f"<= {self.most}" if self.most is not None else f">= {self.least}" if self.least is not None else ""
        met = {True: "met", False: "missed", None: ""}[self.met]
        return [self.what, f"{describe_spread(self.measured)} {self.unit}", target, met]


def setting(arguments: Namespace, model: str, **changes: Any) -> BenchConfig:
    """The papers' setting on CIFAR-100, or a changed one."""
    common = {"model": model, "classes": 100, "rounds": arguments.rounds, "device": arguments.device}
    return BenchConfig(**{**common, **changes})


def measured(turns: dict[str, Callable[[], object]], arguments: Namespace) -> dict[str, list[float]]:
    """Seconds of each in turns; with `--processor-time` those of this process alone."""
    clock = time.process_time if arguments.processor_time else time.perf_counter
    return take_turns(turns, rounds=arguments.rounds, device=arguments.device, clock=clock)


def milliseconds(seconds: list[float]) -> Spread:
    return spread([1e3 * taken for taken in seconds])


def steps(arguments: Namespace) -> list[Row]:
    """Every method beside cross-entropy."""
    rows = []
    for model in arguments.models:
        found = measure_methods(setting(arguments, model, methods=["dr_kd", "ps_kd", "online_dr_kd"]))
        for method, cost in found.items():
            target = LIVE.get(model) if method == "dr_kd" else WITHOUT_PASS.get(method)
            rows.append(Row("steps", f"{model}: {method} / cross_entropy", cost.ratio, most=target))
            rows.append(Row("steps", f"{model}: {method}", cost.milliseconds, "ms"))
            rows.append(Row("steps", f"{model}: objective of {method} / its step", cost.objective_share))
            rows.append(Row("steps", f"{model}: peak memory of {method}", spread([cost.peak_mib]), "MiB"))
    return rows


def bfloat16_teacher(config: BenchConfig) -> Frozen:
    """Random weights asked in bfloat16, whatever they answer."""
    return Frozen(new_network(config), precision="bfloat16", kept_within=ANY)


def precision(arguments: Namespace) -> list[Row]:
    """Steps in bfloat16 over steps in float32, and DR-KD whose teacher is asked in bfloat16."""
    rows = []
    for model in arguments.models:
        turns: dict[str, Callable[[], object]] = {}
        for name in ("float32", "bfloat16"):
            config = setting(arguments, model, precision=name)
            turns[name] = Contender("cross_entropy", config).step
            turns[f"dr_kd {name}"] = Contender("dr_kd", config, teacher=bfloat16_teacher(config)).step
        plain = Contender("dr_kd", setting(arguments, model))
        turns["dr_kd"] = plain.step
        for name in ("float32", "bfloat16"):
            asked = Frozen(new_network(config), precision=name, kept_within=ANY).to(memory_format=torch.channels_last)
            turns[f"teacher {name}"] = partial(asked.answer, plain.batch.inputs)
        seconds = measured(turns, arguments)
        for above, below, what, most in (
            ("bfloat16", "float32", "cross_entropy in bfloat16 / in float32", None),
            ("teacher bfloat16", "teacher float32", "teacher's pass in bfloat16 / in float32", None),
            ("teacher bfloat16", "float32", "teacher's pass in bfloat16 / cross_entropy in float32", None),
            ("dr_kd", "float32", "dr_kd / cross_entropy, float32", LIVE.get(model)),
            ("dr_kd float32", "float32", "dr_kd, teacher in bfloat16 / cross_entropy, float32", FAST_LIVE.get(model)),
            ("dr_kd bfloat16", "bfloat16", "dr_kd / cross_entropy, bfloat16", FAST_LIVE.get(model)),
        ):
            rows.append(Row("precision", f"{model}: {what}", ratios(seconds[above], seconds[below]), most=most))
    return rows


def naive(arguments: Namespace) -> list[Row]:
    """Our DR-KD step beside the naive loop's: as it comes, and with all that pays in a long training."""
    rows = []
    for model in arguments.models:
        config = setting(arguments, model)
        ours, plain = Contender("dr_kd", config), Contender("cross_entropy", config)
        asked = TrainConfig(model=model, method="dr_kd", precision="auto", device=config.device)
        chosen = choose(asked, made_up(config, IMAGE_SUFFIXES), new_network(config), None, taught=True)
        long = setting(arguments, model, precision=chosen.precision, compile="on" if has_compiler() else "off")
        teacher = Frozen(new_network(long), precision=chosen.teacher_precision, kept_within=ANY)
        best = Contender("dr_kd", long, teacher=teacher)
        student, other = (new_network(config).to(config.device) for _ in range(2))
        theirs = NaiveLoop(student, other, [(batch.inputs, batch.labels) for batch in ours.batches])
        turns = {"ours": ours.step, "naive": theirs.step, "plain": plain.step, "best": best.step}
        seconds = measured(turns, arguments)
        ratio = ratios(seconds["best"], seconds["naive"])
        how = f"{long.precision}, teacher {chosen.teacher_precision}, compile {long.compile}"
        rows.append(Row("naive", f"{model}: dr_kd ({how}) / naive loop's DR-KD", ratio, most=NAIVE.get(model)))
        ratio = ratios(seconds["ours"], seconds["naive"])
        rows.append(Row("naive", f"{model}: dr_kd / naive loop's DR-KD", ratio))
        ratio = ratios(seconds["naive"], seconds["plain"])
        rows.append(Row("naive", f"{model}: naive loop's DR-KD / our cross_entropy", ratio))
        rows.append(Row("naive", f"{model}: naive loop's DR-KD", milliseconds(seconds["naive"]), "ms"))
    return rows
