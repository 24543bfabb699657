"""Does it help? Every method with its best settings, chosen on validation splits, beside cross-entropy.

    python benchmarks/evidence/study.py --data FOLDER --name cifar10 --limit-train 1000 --epochs 60
    python benchmarks/evidence/study.py ... --stage tables           # print them again

Stage `sweep`: for each noise level every method at six settings, so that all have the same budget, judged by the
validation accuracy at the chosen epoch, mean over the sweep's seeds. Stage `final`: each method at its best setting,
with more seeds, measured once on the test split. Both are ordinary comparisons under OUT/NAME, with their reports; a
second call goes on where the first stopped. Stage `tables` prints what the log and the guide show.
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drkd import compare
from drkd.comparison import CONTROL, panel_name
from drkd.results import BASELINE
from drkd.stats import holm, mean_and_deviation, paired
from drkd.storage import read_json, write_json

SOFT = [f"alpha={alpha}:temperature={temperature}" for alpha in (0.1, 0.3, 0.7) for temperature in (1, 4)]
GRID = {
    "label_smoothing": [f"epsilon={e}" for e in (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)],
    "tf_kd_reg": SOFT,
    "tf_kd_self": SOFT,
    "dr_kd": SOFT,
    "dr_kd:rectify=lift": SOFT,
    "dr_kd:rectify=swap_unsure": SOFT,
    "ps_kd": [f"alpha={a}" for a in (0.2, 0.3, 0.4, 0.6, 0.8, 0.9)],
    "online_dr_kd:source=memory": SOFT,
    "online_dr_kd:source=ema": SOFT,
    "max_sup": [f"weight={w}" for w in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)],
}
"""Six settings for each method."""

PAIRS = [
    ("dr_kd", "tf_kd_self"),
    ("dr_kd", CONTROL),
    ("dr_kd:rectify=lift", "dr_kd"),
    ("dr_kd:rectify=swap_unsure", "dr_kd"),
]
"""What is compared beside each method with cross-entropy."""

METRICS = {"accuracy": 100, "nll": 1, "ece": 100, "aurc": 1000}


def common(arguments: argparse.Namespace) -> dict[str, Any]:
    own = ("name", "noise", "sweep_seeds", "seeds", "stage", "out")
    options = {name: value for name, value in vars(arguments).items() if name not in own and value is not None}
    return {**options, "resume": True, "cache_size": "4GB", "checkpoint_every": "1000s"}


def sweep(arguments: argparse.Namespace, noise: float, out: Path) -> list[str]:
    """The best variant of each method on validation; written to `out`/chosen.json."""
    variants = [f"{method}:{setting}" for method, settings in GRID.items() for setting in settings]
    options = {**common(arguments), "methods": variants, "label_noise": [noise], "seeds": arguments.sweep_seeds}
    methods = compare(**options, limit_test=1000, out=str(out)).results["panels"][0]["methods"]
    means = {name: _validation(lists) for name, lists in methods.items()}
    chosen = [max((f"{m}:{s}" for s in settings), key=lambda name: means[name]) for m, settings in GRID.items()]
    write_json(out / "chosen.json", {"noise": noise, "chosen": chosen, "validation_accuracy": means})
    return chosen


def _validation(lists: Mapping[str, Any]) -> float:
    """Minus infinity where a training diverged: such a setting cannot be recommended."""
    values = lists["val_accuracy"]
    return -math.inf if None in values else sum(values) / len(values)


def final(arguments: argparse.Namespace, noise: float, chosen: list[str], out: Path) -> None:
    options = {**common(arguments), "methods": chosen, "label_noise": [noise], "seeds": arguments.seeds}
    compare(**options, out=str(out))


def table(results: Mapping[str, Any]) -> str:
    """Mean test metrics; differences of accuracy in points, with their 95% interval and Holm's p."""
    panel = results["panels"][0]
    methods = panel["methods"]
    base = methods[BASELINE]["accuracy"]
    others = [name for name in methods if name != BASELINE]
    tests = {name: paired(methods[name]["accuracy"], base) for name in others}
    corrected = dict(zip(others, holm([test and test.p_value for test in tests.values()]), strict=True))
    head = (
        "| | accuracy % | points over cross-entropy | p (Holm) | NLL | ECE % | AURC x1000 | rectified % | training % |"
    )
    lines = [f"{panel['name']}, {len(panel['seeds'])} seeds", "", head, "|---|" + "---:|" * 8]
    for name, lists in methods.items():
        means = {metric: scale * mean_and_deviation(lists[metric])[0] for metric, scale in METRICS.items()}
        test, p = tests.get(name), corrected.get(name)
        ends = "" if test is None or test.ci95 is None else " [{:+.2f}, {:+.2f}]".format(*(100 * e for e in test.ci95))
        cells = [
            name,
            f"{means['accuracy']:.2f}",
            "" if test is None else f"{100 * test.mean_difference:+.2f}{ends}",
            "" if p is None else f"{p:.3f}",
            f"{means['nll']:.3f}",
            f"{means['ece']:.1f}",
            f"{means['aurc']:.0f}",
            _percent(lists["rectified_fraction"]),
            _percent(lists["train_accuracy"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    seconds = sum(s for lists in methods.values() for s in lists["train_seconds"] if s is not None)
    for ours, theirs in PAIRS:
        a, b = (_named(methods, name) for name in (ours, theirs))
        test = paired(methods[a]["accuracy"], methods[b]["accuracy"])
        if test is not None and test.ci95 is not None:
            low, high = (100 * end for end in test.ci95)
            lines.append(f"{a} - {b}: {100 * test.mean_difference:+.2f} [{low:+.2f}, {high:+.2f}] points")
    return "\n".join([*lines, f"{seconds / 60:.0f} processor minutes of training", ""])


def _percent(values: list[float | None]) -> str:
    return "" if None in values else f"{100 * mean_and_deviation(values)[0]:.1f}"


def _named(methods: Mapping[str, Any], start: str) -> str:
    """The one variant that begins so; `dr_kd` itself has no rectifier in its name."""
    rectifies = "rectify" in start
    begin = [name for name in methods if name == start or name.startswith(f"{start}:")]
    return next(name for name in begin if ("rectify" in name) == rectifies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--name", required=True, help="of the folder under --out")
    parser.add_argument("--model", default="small_cnn")
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--augment")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--validation", type=float, default=0.05)
    parser.add_argument("--select", choices=["best", "last"], default="best")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.2, 0.4])
    parser.add_argument("--sweep-seeds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--stage", choices=["all", "tables"], default="all")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    arguments = parser.parse_args()
    folder = arguments.out / arguments.name
    for noise in arguments.noise:
        place = folder / panel_name(noise).replace(" ", "-")
        if arguments.stage == "all":
            final(arguments, noise, sweep(arguments, noise, place / "sweep"), place / "final")
        print(table(read_json(place / "final" / "results.json")), flush=True)


if __name__ == "__main__":
    main()
