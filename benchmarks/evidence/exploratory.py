"""KD, reversed KD and defective KD, the exploratory experiments of Tf-KD (arXiv 1909.11723), in small.

    python benchmarks/evidence/exploratory.py --data FOLDER --limit-train 1000 --image-size 16

A small network (`small_cnn`) and a larger one (`cnn`) teach each other. For the small one: cross-entropy, label
smoothing, KD from the larger one. For the larger one: cross-entropy, label smoothing, Re-KD from the small one, De-KD
from its own self after `--poor-epoch`, and KD from its finished self (Tf-KD_self). Every teacher is trained with the
seed and on the images of its student. alpha and temperature, or epsilon, are chosen on the validation split with the
first two seeds, four settings each; the network of the last epoch is then measured on the test split with all seeds.
Every training is an ordinary run under OUT/seed-S; a second call resumes where the first stopped.
"""

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tables import minutes, table

from drkd.config import TrainConfig, resolve
from drkd.methods.registry import parse_variant
from drkd.runs.directory import kept_epoch, method_dirname
from drkd.runs.training import train

PLAIN = ("cross_entropy",)
SMOOTHINGS = tuple(f"label_smoothing:epsilon={e}" for e in (0.05, 0.1, 0.2, 0.4))
SOFT = tuple(f"kd:alpha={alpha}:temperature={temperature}" for alpha in (0.3, 0.7) for temperature in (1, 4))


@dataclass(frozen=True)
class Taught:
    """A row of a table: `student` trained by one of `variants`, chosen on validation, from `teacher`."""

    called: str
    student: str
    variants: tuple[str, ...]
    teacher: str | None = None
    poor: bool = False


ROWS = [
    Taught("cross_entropy", "small_cnn", PLAIN),
    Taught("label_smoothing", "small_cnn", SMOOTHINGS),
    Taught("KD from cnn", "small_cnn", SOFT, "cnn"),
    Taught("cross_entropy", "cnn", PLAIN),
    Taught("label_smoothing", "cnn", SMOOTHINGS),
    Taught("Re-KD from small_cnn", "cnn", SOFT, "small_cnn"),
    Taught("De-KD from its poor self", "cnn", SOFT, "cnn", poor=True),
    Taught("Tf-KD_self from its finished self", "cnn", SOFT, "cnn"),
]

Job = tuple[Taught, str, int, argparse.Namespace]


def describe_source(row: Taught, variant: str, seed: int, arguments: argparse.Namespace) -> Path:
    by = "" if row.teacher is None else f"-by-{'poor-' if row.poor else ''}{row.teacher}"
    return arguments.out / f"seed-{seed}" / f"{row.student}{by}" / method_dirname(variant)


def teacher_of(row: Taught, seed: int, arguments: argparse.Namespace) -> str | None:
    if row.teacher is None:
        return None
    finished = describe_source(Taught("cross_entropy", row.teacher, PLAIN), PLAIN[0], seed, arguments)
    return str(kept_epoch(finished, arguments.poor_epoch) if row.poor else finished)


def train_one(job: Job) -> dict[str, Any]:
    """What `summary.json` holds of one training; those found finished are not trained again."""
    row, variant, seed, arguments = job
    method, settings = parse_variant(variant)
    own = ("out", "jobs", "seeds", "poor_epoch")
    options = {name: value for name, value in vars(arguments).items() if name not in own}
    options |= {"model": row.student, "method": method, "seed": seed, "teacher": teacher_of(row, seed, arguments)}
    options |= {"keep_epochs": [arguments.poor_epoch] if variant in PLAIN else []}
    config, source = resolve(TrainConfig, {**options, **settings, "select": "last", "threads": 1, "resume": True})
    return train(config, source, describe_source(row, variant, seed, arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--augment", default="none")
    parser.add_argument("--validation", type=float, default=0.02)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--poor-epoch", type=int, default=1, help="epoch, from 0, after which De-KD's teacher is taken")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/exploratory"))
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    with ProcessPoolExecutor(arguments.jobs) as pool:

        def summaries(jobs: list[tuple[Taught, str, int]]) -> list[dict[str, Any]]:
            return list(pool.map(train_one, [(*job, arguments) for job in jobs]))

        summaries([(row, PLAIN[0], seed) for row in ROWS if row.variants == PLAIN for seed in seeds])  # the teachers
        tried = [(row, variant, seed) for row in ROWS for variant in row.variants for seed in seeds[:2]]
        validated: dict[tuple[Taught, str], float] = {}
        for (row, variant, _), summary in zip(tried, summaries(tried), strict=True):
            validated[row, variant] = validated.get((row, variant), 0) + summary["val"]["accuracy"]
        for student, rows in itertools.groupby(ROWS, key=lambda row: row.student):
            methods = {}
            for row in rows:
                best = max(row.variants, key=lambda variant: validated[row, variant])
                settings = best.partition(":")[2]
                done = summaries([(row, best, seed) for seed in seeds])
                methods[f"{row.called}, {settings}" if settings else row.called] = of_table(done)
                if row.variants == PLAIN:
                    poor = [summary["kept_epochs"][str(arguments.poor_epoch)]["accuracy"] for summary in done]
            panel = {"name": student, "seeds": list(seeds), "methods": methods}
            print(table(panel))
            print(f"after epoch {arguments.poor_epoch} it is at {100 * sum(poor) / len(poor):.2f}%")
            print(f"{minutes(panel):.0f} processor minutes, the sweep not counted\n", flush=True)


def of_table(summaries: list[dict[str, Any]]) -> dict[str, list[Any]]:
    tested = {
        metric: [summary["test"][metric] for summary in summaries] for metric in ("accuracy", "nll", "ece", "aurc")
    }
    return {
        **tested,
        "rectified_fraction": [None] * len(summaries),
        **{name: [summary[name] for summary in summaries] for name in ("train_accuracy", "train_seconds")},
    }


if __name__ == "__main__":
    main()
