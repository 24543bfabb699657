"""How the defaults of alpha and temperature were chosen: a sweep judged on validation splits, paired by seed.

    python benchmarks/defaults.py --data digits --seeds 8
    python benchmarks/defaults.py --data FOLDER --limit-train 5000 --epochs 20 --seeds 3

For every (alpha, temperature) it prints the validation accuracy minus cross-entropy's, in points, with its standard
error over seeds, for Tf-KD_self and DR-KD. The self-teacher is the cross-entropy network of the same seed. The test
split is not looked at. Results are kept under --out, and a second call goes on where the first stopped.
"""

import argparse
import json
import math
from pathlib import Path

from drkd.comparison import Training, train_one
from drkd.config import TrainConfig, resolve
from drkd.scheduling import Failed, Job, run_jobs
from drkd.stats import mean_and_deviation

METHODS = ("tf_kd_self", "dr_kd")


def plan(arguments: argparse.Namespace, out: Path) -> list[Training]:
    common = {"data": arguments.data, "limit_train": arguments.limit_train, "label_noise": arguments.label_noise}
    common |= {"model": arguments.model, "epochs": arguments.epochs, "checkpoint_every": "1000s"}
    common["image_size"] = arguments.image_size
    trainings = []
    for seed in range(arguments.seeds):
        base = out / f"seed-{seed}" / "cross_entropy"
        plain, _ = resolve(TrainConfig, {**common, "seed": seed, "method": "cross_entropy"})
        trainings.append(Training("", "cross_entropy", plain, base))
        for method in METHODS:
            for alpha in arguments.alphas:
                for temperature in arguments.temperatures:
                    name = f"{method} {alpha:g} {temperature:g}"
                    special = {"method": method, "alpha": alpha, "temperature": temperature, "teacher": str(base)}
                    config, _ = resolve(TrainConfig, {**common, "seed": seed, **special})
                    trainings.append(Training("", name, config, base.with_name(name.replace(" ", "-"))))
    return trainings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model")
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--label-noise", type=float, default=0.0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    arguments = parser.parse_args()
    trainings = plan(arguments, arguments.out)
    jobs = [Job(str(t.out), t, after=None if t.config.teacher is None else t.config.teacher) for t in trainings]
    found = run_jobs(jobs, train_one, processes=arguments.jobs, progress=print_progress(len(jobs)))
    accuracy: dict[str, list[float | None]] = {}
    for training in trainings:
        outcome = found[str(training.out)]
        failed = isinstance(outcome, Failed)
        accuracy.setdefault(training.method, []).append(None if failed else outcome["val"]["accuracy"])
    base = accuracy["cross_entropy"]
    print(json.dumps(vars(arguments), default=str))
    print(f"cross_entropy: validation accuracy {100 * mean_and_deviation(base)[0]:.2f}%")
    for method in METHODS:
        print(f"{method:<12}" + "".join(f"       T={temperature:g}     " for temperature in arguments.temperatures))
        for alpha in arguments.alphas:
            cells = [
                _cell(accuracy[f"{method} {alpha:g} {temperature:g}"], base) for temperature in arguments.temperatures
            ]
            print(f"  alpha {alpha:g}  " + "  ".join(cells))


def _cell(ours: list[float | None], base: list[float | None]) -> str:
    differences = [100 * (a - b) for a, b in zip(ours, base, strict=True) if a is not None and b is not None]
    if len(differences) < len(base):
        return f"{len(base) - len(differences)} diverged  "
    mean, deviation = mean_and_deviation(differences)
    return f"{mean:+5.2f} +- {(deviation or 0) / math.sqrt(len(differences)):4.2f}"


def print_progress(count: int):
    done = []

    def tell(name: str, said: object) -> None:
        if isinstance(said, Failed) or (isinstance(said, dict) and "test" in said):
            done.append(name)
            if len(done) % 25 == 0 or len(done) == count:
                print(f"{len(done)}/{count}", flush=True)

    return tell


if __name__ == "__main__":
    main()
