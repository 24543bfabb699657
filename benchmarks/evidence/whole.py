"""Networks whose weights are all trained: tables and a picture from the `results.csv` of comparisons.

    python benchmarks/evidence/whole.py "birds, fine-tuned=whole-birds.csv" --picture docs/evidence/whole.png

Points are paired by seed, intervals are of 95%, and Holm's correction is over all differences of a comparison.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

from tables import compare, points

from drkd.methods.registry import all_methods
from drkd.report.labels import label_of
from drkd.studies.comparison import CONTROL
from drkd.studies.results import BASELINE
from drkd.studies.statistics import holm, mean_and_deviation

Lists = dict[str, dict[str, list[float | None]]]
"""Numbers by method and metric, one a seed."""


def read(path: Path) -> Lists:
    lists: Lists = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name in ("accuracy", "nll", "ece", "aurc", "rectified_fraction"):
                lists[row["method"]][name].append(float(row[name]) if row[name] else None)
    return lists


def table(name: str, lists: Lists) -> list[str]:
    tests = compare({"methods": lists})
    corrected = dict(zip(tests, holm([test.p_value for test in tests.values()]), strict=True))

    def cell(ours: str, theirs: str) -> str:
        if (ours, theirs) not in tests:
            return ""
        shown, p = points(tests[ours, theirs]), corrected[ours, theirs]
        return f"**{shown}**" if p is not None and p < 0.05 else shown

    seeds = len(lists[BASELINE]["accuracy"])
    title = f"| {name}, {seeds} seeds | accuracy % | - cross-entropy | - twice the epochs | - Tf-KD_self |"
    lines = [f"{title} NLL | ECE % | AURC e-3 | rectified % |", "|---|" + "---:|" * 8]
    for method, numbers in lists.items():
        means = {n: mean_and_deviation(values)[0] for n, values in numbers.items() if None not in values}
        cells = [f"{method}", f"{100 * means['accuracy']:.2f}"]
        cells += [cell(method, theirs) for theirs in (BASELINE, CONTROL, "tf_kd_self")]
        cells += [f"{means['nll']:.3f}", f"{100 * means['ece']:.1f}", f"{1000 * means['aurc']:.1f}"]
        cells.append(f"{100 * means['rectified_fraction']:.1f}" if "rectified_fraction" in means else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def draw(beds: dict[str, Lists], figure: Any) -> None:
    """Points over cross-entropy."""
    panels = figure.subplots(1, len(beds), sharey=True, squeeze=False)[0]
    methods = list(dict.fromkeys(method for lists in beds.values() for method in lists if method != BASELINE))
    for axes, (name, lists) in zip(panels, beds.items(), strict=True):
        tests = compare({"methods": lists})
        for place, method in enumerate(methods):
            if (test := tests.get((method, BASELINE))) is not None:
                colour = all_methods()[method.partition(":")[0].removesuffix("_2x")].colour
                mean, (low, high) = 100 * test.mean_difference, (100 * end for end in test.ci95 or ())
                axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", capsize=3, color=colour)
        axes.set_yticks(range(len(methods)), [label_of(method) for method in methods])
        axes.axvline(0, color="#444444", lw=0.8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("points over cross-entropy")
    panels[0].invert_yaxis()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    beds = {name: read(Path(path)) for name, _, path in (each.partition("=") for each in options.results)}
    print("\n\n".join("\n".join(table(name, lists)) for name, lists in beds.items()))
    if options.picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5 + 3 * len(beds), 3.2), layout="constrained")
        draw(beds, figure)
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.picture, dpi=75)


if __name__ == "__main__":
    main()
