"""How the defaults of alpha and temperature were chosen: a sweep judged on validation splits, paired by seed.

    python benchmarks/defaults.py --data digits --seeds 8
    python benchmarks/defaults.py --data FOLDER --limit-train 5000 --epochs 20 --seeds 3
    python benchmarks/defaults.py --methods online_dr_kd:source=memory online_dr_kd:source=ema

For every (alpha, temperature) it prints the validation accuracy minus cross-entropy's, in points, with its standard
error over seeds. A self-teacher is the cross-entropy network of the same seed. The choice does not look at the test
split. Results are kept under --out, and a second call resumes where the first stopped.
"""

import argparse
import json
import math

from drkd import compare
from drkd.studies.comparison import Comparison
from drkd.studies.results import BASELINE
from drkd.studies.statistics import mean_and_deviation


def run(arguments: argparse.Namespace) -> Comparison:
    settings = [f"alpha={a:g}:temperature={t:g}" for a in arguments.alphas for t in arguments.temperatures]
    options = {
        name: value for name, value in vars(arguments).items() if name not in ("methods", "alphas", "temperatures")
    }
    methods = [f"{method}:{setting}" for method in arguments.methods for setting in settings]
    return compare(
        methods=methods, resume=True, **{name: value for name, value in options.items() if value is not None}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--methods", nargs="+", default=["tf_kd_self", "dr_kd"])
    parser.add_argument("--model")
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--label-noise", type=float, default=0.0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--out", default="runs/defaults")
    arguments = parser.parse_args()
    methods = run(arguments).results.panels[0].methods
    base = methods[BASELINE].val["accuracy"]
    print(json.dumps(vars(arguments)))
    print(f"cross_entropy: validation accuracy {100 * mean_and_deviation(base)[0]:.2f}%")
    for method in arguments.methods:
        print(f"{method:<12}" + "".join(f"       T={t:g}     " for t in arguments.temperatures))
        for alpha in arguments.alphas:
            names = [f"{method}:alpha={alpha:g}:temperature={t:g}" for t in arguments.temperatures]
            print(f"  alpha {alpha:g}  " + "  ".join(_cell(methods[name].val["accuracy"], base) for name in names))


def _cell(ours: list[float | None], base: list[float | None]) -> str:
    differences = [100 * (a - b) for a, b in zip(ours, base, strict=True) if a is not None and b is not None]
    if len(differences) < len(base):
        return f"{len(base) - len(differences)} diverged  "
    mean, deviation = mean_and_deviation(differences)
    return f"{mean:+5.2f} +- {(deviation or 0) / math.sqrt(len(differences)):4.2f}"


if __name__ == "__main__":
    main()
