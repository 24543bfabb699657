"""Does it help? Every method with its best settings, chosen on validation splits, beside cross-entropy.

    python benchmarks/evidence/study.py --data FOLDER --name cifar10 --limit-train 1000 --epochs 60
    python benchmarks/evidence/study.py ... --stage tables           # print them again
    python benchmarks/evidence/study.py ... --settings-of cifar10    # no sweep: the settings that one chose

Stage `sweep`: for each noise level every method at six settings, so that all have the same budget, judged by the
validation accuracy at the chosen epoch, mean over the sweep's seeds. Stage `final`: each method at its best setting,
with more seeds, measured on the test split, which decides nothing. Both are ordinary comparisons under OUT/NAME, with
their reports; a second call resumes where the first stopped. Stage `tables` prints what the log and the guide show.
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tables import minutes, table

from drkd import compare
from drkd.studies.comparison import panel_name
from drkd.utils.files import read_json, write_json

SOFT = [f"alpha={alpha}:temperature={temperature}" for alpha in (0.1, 0.3, 0.7) for temperature in (1, 4)]
GRID = {
    "label_smoothing": [f"epsilon={e}" for e in (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)],
    "tf_kd_reg": SOFT,
    "tf_kd_self": SOFT,
    "dr_kd": SOFT,
    "ps_kd": [f"alpha={a}" for a in (0.2, 0.3, 0.4, 0.6, 0.8, 0.9)],
    "online_dr_kd:source=memory": SOFT,
    "online_dr_kd:source=ema": SOFT,
    "max_sup": [f"weight={w}" for w in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)],
}
"""Six settings for each method."""


def common(arguments: argparse.Namespace) -> dict[str, Any]:
    own = ("name", "noise", "sweep_seeds", "seeds", "stage", "out", "settings_of")
    options = {name: value for name, value in vars(arguments).items() if name not in own and value is not None}
    return {**options, "resume": True, "cache_size": "4GB", "checkpoint_every": "1000s"}


def sweep(arguments: argparse.Namespace, noise: float, out: Path) -> list[str]:
    """The best variant of each method on validation; written to `out`/chosen.json."""
    variants = [f"{method}:{setting}" for method, settings in GRID.items() for setting in settings]
    options = {**common(arguments), "methods": variants, "label_noise": [noise], "seeds": arguments.sweep_seeds}
    methods = compare(**options, limit_test=1000, out=str(out)).results.to_json()["panels"][0]["methods"]
    means = {name: _validation(lists) for name, lists in methods.items()}
    chosen = [max((f"{m}:{s}" for s in settings), key=lambda name: means[name]) for m, settings in GRID.items()]
    write_json(out / "chosen.json", {"noise": noise, "chosen": chosen, "validation_accuracy": means})
    return chosen


def carried_over(path: Path) -> list[str]:
    """What the sweep of another study chose, of the methods that this one has."""
    chosen = read_json(path / "chosen.json")["chosen"]
    return [name for method, settings in GRID.items() for name in chosen if name.removeprefix(f"{method}:") in settings]


def _validation(lists: Mapping[str, Any]) -> float:
    """Minus infinity where a training diverged: such a setting cannot be recommended."""
    values = lists["val_accuracy"]
    return -math.inf if None in values else sum(values) / len(values)


def final(arguments: argparse.Namespace, noise: float, chosen: list[str], out: Path) -> None:
    options = {**common(arguments), "methods": chosen, "label_noise": [noise], "seeds": arguments.seeds}
    compare(**options, out=str(out))


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
    parser.add_argument("--settings-of", help="study under --out whose choice is taken over: nothing is swept")
    parser.add_argument("--stage", choices=["all", "tables"], default="all")
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    arguments = parser.parse_args()
    folder = arguments.out / arguments.name
    for noise in arguments.noise:
        called = panel_name(noise).replace(" ", "-")
        path = folder / called
        parts = ["final"] if arguments.settings_of else ["sweep", "final"]
        if arguments.stage == "all":
            swept = arguments.out / arguments.settings_of / called / "sweep" if arguments.settings_of else None
            chosen = sweep(arguments, noise, path / "sweep") if swept is None else carried_over(swept)
            final(arguments, noise, chosen, path / "final")
        panels = {part: read_json(path / part / "results.json")["panels"][0] for part in parts}
        print(table(panels["final"]))
        spent = ", ".join(f"{minutes(panel):.0f} for the {part}" for part, panel in panels.items())
        print(f"processor minutes of training: {spent}\n", flush=True)


if __name__ == "__main__":
    main()
