"""Figures of docs/speed-tables.md, each beside its target where it has one.

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
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from naive import PerSample, per_sample_loader
from speed_steps import IMAGE_SUFFIXES, LIVE, Row, milliseconds, naive, precision, setting, steps
from step_profile import print_profile
from torch import nn

from drkd.data.loader import Loader
from drkd.models import CONTIGUOUS, MODELS
from drkd.models.counting import count_macs
from drkd.report.speed import describe_machine
from drkd.studies.benchmarking import measure_epoch, measure_loader
from drkd.studies.contenders import Contender, made_up, new_network
from drkd.targets import Frozen
from drkd.training.compilation import has_compiler
from drkd.utils.device import choose_device, set_up_process
from drkd.utils.machine import environment
from drkd.utils.timing import ratios, spread, take_turns

PIPELINE, EPOCH, COMPARE = 10.0, 1.05, 30.0
FEW_ROUNDS = 5
"""At most so many rounds where many settings are measured."""

HEAVY, HEAVY_BATCH = 6e8, 32
"""Networks of more multiply-adds per image get smaller batches where all networks are measured."""


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
