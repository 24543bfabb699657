"""Networks whose weights are all trained: tables and a plot from the `results.csv` of comparisons.

    python benchmarks/evidence/whole.py "birds, fine-tuned=whole-birds.csv" --plot docs/evidence/whole.png

Points are paired by seed, intervals are of 95%, and Holm's correction is over all differences of a comparison.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import METRICS, compare, minutes, table

from drkd.methods.registry import all_methods
from drkd.report.labels import label_of
from drkd.studies.results import BASELINE


def read(name: str, path: Path) -> dict[str, Any]:
    """What `results.json` says of a panel, as far as the rows do."""
    methods: dict[str, Any] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for column in (*METRICS, "rectified_fraction", "train_seconds"):
                methods[row["method"]][column].append(float(row[column]) if row[column] else None)
    return {"name": name, "seeds": methods[BASELINE]["accuracy"], "methods": methods}


def draw(panels: Sequence[dict[str, Any]], figure: Any) -> None:
    """Points over cross-entropy."""
    plots = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    methods = list(dict.fromkeys(name for panel in panels for name in panel["methods"] if name != BASELINE))
    for axes, panel in zip(plots, panels, strict=True):
        tests = compare(panel)
        for place, method in enumerate(methods):
            if (test := tests.get((method, BASELINE))) is not None:
                colour = all_methods()[method.partition(":")[0].removesuffix("_2x")].colour
                mean, (low, high) = 100 * test.mean_difference, (100 * end for end in test.ci95 or ())
                axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", capsize=3, color=colour)
        axes.set_yticks(range(len(methods)), [label_of(method) for method in methods])
        axes.axvline(0, color="#444444", lw=0.8)
        axes.set_title(panel["name"], fontsize=10)
        axes.set_xlabel("points over cross-entropy")
    plots[0].invert_yaxis()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    panels = [read(name, Path(path)) for name, _, path in (each.partition("=") for each in options.results)]
    for panel in panels:
        print(f"{table(panel)}\n\n{minutes(panel):.0f} minutes of training\n")
    if options.plot:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5 + 3 * len(panels), 3.2), layout="constrained")
        draw(panels, figure)
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.plot, dpi=75)


if __name__ == "__main__":
    main()
