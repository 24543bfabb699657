"""Every figure of docs/speed.md, beside its target where it has one.

    python benchmarks/speed.py                                        # everything but `compare`; takes long
    python benchmarks/speed.py --parts steps,naive --models mobilenetv2 --rounds 5
    python benchmarks/speed.py --parts compare                        # `drkd compare` as it comes, as a process
    python benchmarks/speed.py --profile mobilenetv2                  # where the time of a DR-KD step goes

Contenders take turns in one process; figures are medians [ranges] over the rounds, ratios are taken within a round.
What ours is compared with in `naive` and `pipeline` is benchmarks/naive.py. Networks have 100 classes, batches 128
images of 32x32 where nothing else is said. A missed target is no error: the exit code is 0.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from naive import NaiveLoop, PerSample, per_sample_loader
from step_profile import print_profile
from torch import nn

from drkd.config import BenchConfig, TrainConfig
from drkd.data.loader import Loader
from drkd.models import CONTIGUOUS, MODELS
from drkd.models.counting import count_macs
from drkd.report.speed import describe_machine, describe_spread
from drkd.runs.precision import ANY, choose
from drkd.studies.benchmarking import measure_epoch, measure_loader, measure_methods
from drkd.studies.contenders import CACHED, Contender, made_up, new_network
from drkd.targets import Frozen
from drkd.training.compilation import has_compiler
from drkd.utils.device import choose_device, set_up_process
from drkd.utils.machine import environment
from drkd.utils.timing import Spread, ratios, spread, take_turns

LIVE = {"mobilenetv2": 1.20, "shufflenetv2": 1.20, "resnet18": 1.25}
"""Targets of a DR-KD step with the teacher's pass in it, over a cross-entropy step, all in float32."""

FAST_LIVE = {"mobilenetv2": 1.08, "shufflenetv2": 1.08, "resnet18": 1.10}
"""The same where the teacher is asked in bfloat16."""

WITHOUT_PASS = dict.fromkeys((CACHED, "ps_kd", "online_dr_kd"), 1.03)
"""Targets of the steps without a second network's pass."""

NAIVE = {"mobilenetv2": 0.50, "shufflenetv2": 0.70, "resnet18": 0.70}
"""Targets of our DR-KD step with all that pays in a long training, over the naive loop's."""

PIPELINE, EPOCH, COMPARE = 10.0, 1.05, 30.0
FEW_ROUNDS = 5
"""At most so many rounds where many settings are measured."""

HEAVY, HEAVY_BATCH = 6e8, 32
"""Networks of more multiply-adds per image get smaller batches where all networks are measured."""

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


def pipeline(arguments: Namespace) -> list[Row]:
    """Augmented and normalised images per second, ours beside torchvision image by image; none is kept."""
    config = setting(arguments, "mlp")
    data = made_up(config, IMAGE_SUFFIXES)
    ours = Loader(data, data.train, batch_size=config.batch_size, training=True, device=config.device)
    samples = PerSample(data.train.inputs, data.train.labels, data.mean, data.std)
    theirs = {workers: per_sample_loader(samples, config.batch_size, workers) for workers in (0, 2)}
    turns: dict[str, Callable[[], object]] = {"ours": lambda: deque(ours.batches(), maxlen=0)}
    turns |= {f"{workers} workers": partial(deque, loader, maxlen=0) for workers, loader in theirs.items()}
    seconds = take_turns(turns, rounds=arguments.rounds, device=config.device)
    rows = [
        Row("pipeline", f"per-sample torchvision, {name} / ours", ratios(seconds[name], seconds["ours"]), least=least)
        for name, least in (("0 workers", PIPELINE), ("2 workers", None))
    ]
    return rows + [
        Row("pipeline", name, spread([IMAGE_SUFFIXES / taken for taken in seconds[name]]), "images/s") for name in turns
    ]


def epoch(arguments: Namespace) -> list[Row]:
    """A whole epoch of `drkd.fit` over its bare steps, cross-entropy."""
    found = {model: measure_epoch(setting(arguments, model)) for model in arguments.models}
    return [
        Row("epoch", f"{model}: epoch of {cost.steps} steps / bare steps", cost.ratio, most=EPOCH)
        for model, cost in found.items()
    ]


def scaling(arguments: Namespace) -> list[Row]:
    """The step with the number of classes and the batch size, the loader with the size of the data set."""
    model, rounds = arguments.models[0], min(arguments.rounds, FEW_ROUNDS)
    settings = {f"K {k}": {"classes": k} for k in (10, 100, 1000)} | {
        f"B {b}": {"batch_size": b} for b in (32, 128, 512)
    }
    rows = []
    for name, changes in settings.items():
        config = setting(arguments, model, **changes)
        turns = {method: Contender(method, config).step for method in ("cross_entropy", "dr_kd")}
        seconds = take_turns(turns, rounds=rounds, device=config.device)
        rows += [Row("scaling", f"{model}, {name}: {method}", milliseconds(seconds[method]), "ms") for method in turns]
        ratio = ratios(seconds["dr_kd"], seconds["cross_entropy"])
        rows.append(Row("scaling", f"{model}, {name}: dr_kd / cross_entropy", ratio))
    for samples in (10**3, 10**4, 10**5):
        found = measure_loader(setting(arguments, "mlp", rounds=rounds), samples=samples)
        rows.append(Row("scaling", f"loader, N {samples}", found, "images/s"))
    return rows


def teacher(arguments: Namespace) -> list[Row]:
    """The teacher's forward pass: as it is, with its batch norms folded, and laid out channels last too."""
    rows = []
    for model in arguments.models:
        config = setting(arguments, model)
        batch = Contender("cross_entropy", config).batches[0]
        network = new_network(config).to(config.device)
        frozen = {"as it is": Frozen(network, fold=False), "folded": Frozen(network)}
        frozen["folded, channels last"] = Frozen(network).to(memory_format=torch.channels_last)
        turns = {name: partial(target.answer, batch.inputs) for name, target in frozen.items()}
        seconds = take_turns(turns, rounds=arguments.rounds, device=config.device)
        for name in turns:
            rows.append(Row("teacher", f"{model}: teacher {name}", milliseconds(seconds[name]), "ms"))
            ratio = ratios(seconds[name], seconds["as it is"])
            rows.append(Row("teacher", f"{model}: teacher {name} / as it is", ratio))
    return rows


def compiled(arguments: Namespace) -> list[Row]:
    """Compiled steps over plain ones; compiling itself is in the warm-up."""
    if not has_compiler():
        print("compile: left out, for lack of a C++ compiler")
        return []
    rows = []
    for model in arguments.models:
        turns = {
            (method, choice): Contender(method, setting(arguments, model, compile=choice)).step
            for method in ("cross_entropy", "dr_kd")
            for choice in ("off", "on")
        }
        seconds = take_turns(turns, rounds=arguments.rounds, device=arguments.device)
        for method in ("cross_entropy", "dr_kd"):
            ratio = ratios(seconds[method, "on"], seconds[method, "off"])
            rows.append(Row("compile", f"{model}: {method} compiled / plain", ratio))
    return rows


def formats(arguments: Namespace) -> list[Row]:
    """Cross-entropy with weights channels last over contiguous ones, every network; checks `models.CONTIGUOUS`."""
    rows = []
    for model in MODELS:
        config = setting(arguments, model)
        network = new_network(config)
        if not any(isinstance(layer, nn.Conv2d) for layer in network.modules()):
            continue
        heavy = count_macs(network, (3, config.image_size, config.image_size)) > HEAVY
        config = config.model_copy(update={"batch_size": HEAVY_BATCH if heavy else config.batch_size})
        turns = {
            choice: Contender("cross_entropy", config.model_copy(update={"memory_format": choice})).step
            for choice in ("contiguous", "channels_last")
        }
        seconds = take_turns(turns, rounds=min(arguments.rounds, FEW_ROUNDS), device=config.device)
        target = {"least": 1.0} if model in CONTIGUOUS else {"most": 1.0}
        ratio = ratios(seconds["channels_last"], seconds["contiguous"])
        rows.append(Row("formats", f"{model}, B {config.batch_size}: channels last / contiguous", ratio, **target))
    return rows


def compare(arguments: Namespace) -> list[Row]:
    """`drkd compare` as it comes: all methods, five seeds, two panels of digits, the report."""
    del arguments
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "drkd", "compare", "--out", str(Path(folder) / "run")]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    return [Row("compare", "drkd compare", spread([seconds]), "s", most=COMPARE)]


PARTS: dict[str, Callable[[Namespace], list[Row]]] = {
    "steps": steps,
    "precision": precision,
    "naive": naive,
    "pipeline": pipeline,
    "epoch": epoch,
    "scaling": scaling,
    "teacher": teacher,
    "compile": compiled,
    "formats": formats,
    "compare": compare,
}


def names(known: Any) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        chosen = text.split(",")
        if strangers := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown {strangers[0]}; known are {', '.join(known)}")
        return chosen

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=names(PARTS), default=[name for name in PARTS if name != "compare"])
    parser.add_argument("--models", type=names(MODELS), default=list(LIVE))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--processor-time", action="store_true", help="of `precision` and `naive`: on a busy machine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=lambda name: str(choose_device(name)), default="cpu")
    parser.add_argument("--profile", choices=MODELS, metavar="MODEL", help="nothing else is measured then")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    set_up_process(arguments.threads)
    about = {**environment(), "threads": arguments.threads}
    print(describe_machine(about, arguments.device))
    if arguments.profile:
        print_profile(setting(arguments, arguments.profile))
        return
    rows: list[Row] = []
    for part in arguments.parts:
        print(f"\n| {part} | measured | target | |\n|---|---:|---:|---|")
        found = PARTS[part](arguments)
        for row in found:
            print("| " + " | ".join(row.cells()) + " |", flush=True)
        rows += found
        if arguments.json:  # after every part, since the next may take long
            result = {"environment": about, "rounds": arguments.rounds}
            result["rows"] = [{**asdict(row), "met": row.met} for row in rows]
            Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
