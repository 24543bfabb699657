"""The papers' networks on whole data sets on a GPU, in sessions of a few minutes, each of which resumes the last.

    python benchmarks/papers_gpu.py D1 --data FOLDER --out runs/papers --minutes 8 --total-minutes 30
    python benchmarks/papers_gpu.py D1 --data FOLDER --out runs/papers --dry-run     # tiny, on the processor

    D1   ResNet-18, CIFAR-10 in full, 3 seeds
    D2   the same on CIFAR-10N's `worse_label`: 40% of the training labels are wrong, the test labels are not
    D3   MobileNetV2, Tiny ImageNet in full at 64, 2 seeds
    D4   ResNet-18 and ShuffleNetV2 there

The first session measures for up to a minute how many images a second `--jobs` trainings at once get through, chooses
the epochs that fit `--total-minutes` (30 at most), and keeps both in OUT/STAGE/plan.json. A session ends by itself
after `--minutes`; the same command then resumes from the checkpoints. OUT/results.csv has a row for every training
that is finished, as soon as it is; a stage that is done prints its table with paired differences. The last epoch is
measured, nothing is chosen on the test split, and no validation images are held out. Methods have the package's
defaults; `--averages` measures the average (`--average ema`) of each in a comparison of its own.

FOLDER holds `cifar10/{train,test}.parquet`, `cifar10n/labels.npz` and, for D3 and D4, `tiny-imagenet/`.
"""

import argparse
import csv
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from gpu_parts import DRY, Setting, processes

import drkd
from drkd.runs.events import Event, RunDone
from drkd.utils.files import read_json, write_json

METHODS = (
    *("cross_entropy", "label_smoothing", "tf_kd_self", "dr_kd", "ps_kd"),
    *("online_dr_kd:source=memory", "online_dr_kd:source=ema"),
)
COST = 1 + 1 + 1.4 + 1.4 + 1 + 1 + 1.4 + 2
"""Of a seed of all methods in trainings of cross-entropy: a teacher's pass is a third; the control is twice as long."""

WARM_UP = 0.15
"""Of the epochs; then the rate falls along a cosine: the shape of a one-cycle schedule."""

MOST_EPOCHS, IN_PRACTICE = 30, 0.8
"""Loader, evaluation, the start of each process: what is left of the bare steps' images a second."""

STAGES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "D1": ("cifar10", ("resnet18",), 3),
    "D2": ("cifar10n-worse_label", ("resnet18",), 3),
    "D3": ("tiny-imagenet", ("mobilenetv2",), 2),
    "D4": ("tiny-imagenet", ("resnet18", "shufflenetv2"), 2),
}
SIZES = {"cifar10": (50_000, 32, 10), "cifar10n-worse_label": (50_000, 32, 10), "tiny-imagenet": (100_000, 64, 200)}
"""Training images, side length, classes."""

TINY: dict[str, Any] = {"epochs": 1, "seeds": 1, "limit_train": 64, "limit_test": 64, "model": "small_cnn", "jobs": 1}


def with_human_labels(data: Path, name: str, out: Path) -> Path:
    """CIFAR-10 whose training labels are those of CIFAR-10N; the test split is as it was."""
    folder = out / "data" / f"cifar10n-{name}"
    if not (folder / "test.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(data / "cifar10" / "train.parquet")
        labels = pa.array(np.load(data / "cifar10n" / "labels.npz")[name], table.schema.field("label").type)
        column = table.schema.get_field_index("label")
        pq.write_table(table.set_column(column, table.schema.field("label"), labels), folder / "train.parquet")
        shutil.copyfile(data / "cifar10" / "test.parquet", folder / "test.parquet")
    return folder


def plan_of(stage: str, out: Path, total_minutes: float, jobs: int, dry: bool) -> dict[str, Any]:
    """What the first session measured and chose; the later ones read it."""
    if (out / "plan.json").exists():
        return dict(read_json(out / "plan.json"))
    name, networks, seeds = STAGES[stage]
    images, size, classes = SIZES[name]
    setting = replace(
        DRY if dry else Setting("cuda"),
        **({} if dry else {"models": networks, "sizes": (size,), "classes": classes}),
        processes=(jobs,) if jobs > 1 else (),
    )
    found = [each for each in processes(setting, 60) if each.unit == "images/s"]
    rates = [each.median for each in found if each.what.endswith(f" {jobs} at once")]
    seconds_per_epoch = sum(images * COST * seeds / (rate * IN_PRACTICE) for rate in rates)
    epochs = max(2, min(MOST_EPOCHS, int(60 * total_minutes / seconds_per_epoch)))
    plan = {"images_per_second": dict(zip(networks, rates, strict=False)), "jobs": jobs, "epochs": epochs}
    write_json(out / "plan.json", {**plan, "estimated_minutes": epochs * seconds_per_epoch / 60})
    return plan


class Rows:
    """OUT/results.csv: a row for every training that is finished, written again with each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, ...], dict[str, Any]] = {}
        if path.exists():
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    self.rows[row["stage"], row["network"], row["run"]] = row

    def note(self, stage: str, network: str, event: Event) -> None:
        if not isinstance(event, RunDone):
            return
        summary = event.summary
        metrics = {name: value for name, value in asdict(summary.test).items() if isinstance(value, int | float)}
        self.rows[stage, network, event.run] = {
            **{"stage": stage, "network": network, "run": event.run, "method": summary.method, "seed": summary.seed},
            **{"epochs": summary.epochs, **metrics, "train_accuracy": summary.train_accuracy},
            "seconds": summary.train_seconds,
        }
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows.values())
        print(f"{stage} {network} {event.run}: {100 * summary.test.accuracy:.2f}%", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8, help="of this session")
    parser.add_argument("--total-minutes", type=float, default=30, help="of all sessions of the stage")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--averages", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    started, dry = time.perf_counter(), arguments.dry_run or not torch.cuda.is_available()
    name, networks, seeds = STAGES[arguments.stage]
    folder = arguments.out / ("dry-run" if dry else "") / f"{arguments.stage}{'-averages' * arguments.averages}"
    folder.mkdir(parents=True, exist_ok=True)
    human = name.startswith("cifar10n-")
    data = arguments.data / name
    if human:
        data = with_human_labels(arguments.data, name.removeprefix("cifar10n-"), arguments.out)
    plan = plan_of(arguments.stage, folder, arguments.total_minutes, 1 if dry else arguments.jobs, dry)
    print(f"{arguments.stage}: {plan}", flush=True)
    rows = Rows(folder.parent / "results.csv")
    options: dict[str, Any] = {
        **{"data": str(data), "methods": [f"{each}{':average=ema' * arguments.averages}" for each in METHODS]},
        **{"seeds": seeds, "epochs": plan["epochs"], "jobs": plan["jobs"], "label_noise": [0], "validation": 0},
        **{
            "select": "last",
            "schedule": "cosine",
            "warmup_epochs": WARM_UP * plan["epochs"],
            "lr": 0.1,
            "augment": "crop_flip",
            "batch_size": 128,
        },
        **{"precision": "bfloat16", "device": "cpu" if dry else "cuda", "checkpoint_every": "30s", "resume": True},
    }
    if arguments.averages:
        options["methods"].insert(0, "cross_entropy")
    left = max(5.0, 60 * arguments.minutes - (time.perf_counter() - started))
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, left)
    for network in networks:
        asked = {**options, "model": network, **(TINY if dry else {})}

        def note(event: Event, network: str = network) -> None:
            rows.note(arguments.stage, network, event)

        try:
            print(drkd.compare(**asked, out=str(folder / network), on_event=note))
        except KeyboardInterrupt:
            print(f"{arguments.stage}: the session is over; the same command resumes it", flush=True)
            sys.exit(130)
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
