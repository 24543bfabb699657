"""Tables and the plot of `rectifiers.py`.

    python benchmarks/evidence/rectifier_tables.py choose.csv      # points over cross-entropy +- standard error
    python benchmarks/evidence/rectifier_tables.py final.csv --plot docs/evidence/rectifier.png
    python benchmarks/evidence/rectifier_tables.py tuned.csv         # and weights.csv
    python benchmarks/evidence/rectifier_tables.py tune.csv            # cross-entropy by its settings

Points are paired by seed. In the table of `final` the family of Holm's correction is every line with a "minus".
"""

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from drkd.studies.statistics import holm, mean_and_deviation, paired

Key = tuple[str, ...]
SOURCES = {
    "virtual": "no teacher",
    "finished": "finished self-teacher",
    "folds2": "two-fold self-teachers",
    "average": "running average",
}
METRICS = {"average_accuracy": 100, "ece": 100, "aurc": 1000, "rectified": 100}


class Results:
    """The CSV by training, then by seed."""

    def __init__(self, path: Path) -> None:
        self.rows: dict[Key, dict[int, dict[str, str]]] = defaultdict(dict)
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                soft = f"{float(row['alpha']):g}", f"{float(row['temperature']):g}"
                key = (row["bed"], row["source"], row["rule"], *soft, row["epochs"], row["lr"], row["weight_decay"])
                self.rows[key][int(row["seed"])] = row
        self.beds = sorted({key[0] for key in self.rows})

    def values(self, key: Key, column: str, seeds: list[int]) -> list[float | None]:
        return [float(self.rows[key][seed][column]) if seed in self.rows[key] else None for seed in seeds]

    def seeds(self, bed: str) -> list[int]:
        """Those that every training of a bed has."""
        return sorted(set.intersection(*(set(seeds) for key, seeds in self.rows.items() if key[0] == bed)))

    def baseline(self, bed: str) -> Key:
        return next(key for key in self.rows if key[:2] == (bed, "labels"))

    def difference(self, ours: Key, theirs: Key, column: str = "accuracy") -> tuple[list[float], list[float]]:
        seeds = self.seeds(ours[0])
        return self.values(ours, column, seeds), self.values(theirs, column, seeds)


def points(results: Results, ours: Key, theirs: Key, column: str = "accuracy") -> str:
    """Mean and standard error."""
    pairs = zip(*results.difference(ours, theirs, column), strict=True)
    mean, deviation = mean_and_deviation([100 * (a - b) for a, b in pairs])
    return f"{mean:+.2f}" + (
        "" if deviation is None else f" ± {deviation / math.sqrt(len(results.seeds(ours[0]))):.2f}"
    )


def mean_of(results: Results, key: Key, column: str) -> float:
    return mean_and_deviation(results.values(key, column, results.seeds(key[0])))[0]


def by_rule(results: Results, bed: str, cell: Callable[[Key], str]) -> list[str]:
    """A line for each rule, a column for each source and weight."""
    columns = list(dict.fromkeys((key[1], *key[3:]) for key in results.rows if key[0] == bed and key[1] in SOURCES))
    columns.sort(key=lambda each: ([*SOURCES].index(each[0]), each[1:]))
    lines = [f"{bed}, {len(results.seeds(bed))} seeds", ""]
    lines += [
        "| rule | " + " | ".join(f"{SOURCES[source]}, {alpha}, {heat}" for source, alpha, heat, *_ in columns) + " |"
    ]
    lines += ["|---|" + "---:|" * len(columns)]
    for rule in dict.fromkeys(key[2] for key in results.rows if key[0] == bed and key[1] in SOURCES):
        keys = [(bed, source, rule, *rest) for source, *rest in columns]
        lines.append(f"| {rule} | " + " | ".join(cell(key) if key in results.rows else "" for key in keys) + " |")
    return [*lines, ""]


def accuracy_tables(results: Results) -> list[str]:
    """Points over cross-entropy of the classifiers."""
    lines = []
    for bed in results.beds:
        base = results.baseline(bed)
        lines += by_rule(results, bed, lambda key, base=base: points(results, key, base))
    return lines


def other_tables(results: Results) -> list[str]:
    """What else is measured, means: the accuracy of the averages, ECE and AURC, rectified targets."""
    lines = []
    for bed in results.beds:
        base = results.baseline(bed)
        lines += [
            f"{bed}: accuracy % of the average / ECE % / AURC e-3 / rectified %. Cross-entropy: "
            + " / ".join(f"{METRICS[name] * mean_of(results, base, name):.1f}" for name in METRICS)
            + f", accuracy {100 * mean_of(results, base, 'accuracy'):.2f}.",
            "",
        ]
        lines += by_rule(
            results,
            bed,
            lambda key: " / ".join(f"{METRICS[name] * mean_of(results, key, name):.1f}" for name in METRICS),
        )
    return lines


def verdicts(results: Results) -> list[str]:
    """The rules that know about noise, minus the swap, no rectification, and the same rule without a teacher."""
    tests = []
    for key in results.rows:
        if key[2].partition(":")[0] in ("plausible", "bayes"):
            for other in ("swap", "none"):
                theirs = (*key[:2], other, *key[3:])
                if theirs in results.rows:
                    tests.append((key, other, paired(*results.difference(key, theirs))))
            without = (key[0], "virtual", *key[2:])
            if without in results.rows and without != key:
                tests.append((key, "no teacher", paired(*results.difference(key, without))))
    corrected = holm([None if test is None else test.p_value for *_, test in tests])
    lines = [
        "| bed | teacher | α, T | rule | minus | points | 95% interval | p (Holm) |",
        "|---|---|---|---|---|---:|---:|---:|",
    ]
    for (key, other, test), p in sorted(zip(tests, corrected, strict=True), key=lambda each: each[0][:2]):
        if test is None or test.ci95 is None:
            continue
        low, high = (f"{100 * end:+.2f}" for end in test.ci95)
        cells = [key[0], SOURCES[key[1]], f"{key[3]}, {key[4]}", key[2], other, f"{100 * test.mean_difference:+.2f}"]
        cells += [f"[{low}, {high}]", "" if p is None else f"{p:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def against_baseline(results: Results) -> list[str]:
    """Every row minus cross-entropy with the same settings; Holm's correction is over all lines."""
    keys = [key for key in sorted(results.rows) if key[1] != "labels"]
    tests = [paired(*results.difference(key, results.baseline(key[0]))) for key in keys]
    corrected = holm([None if test is None else test.p_value for test in tests])
    lines = ["| bed | teacher | rule | accuracy % | minus cross-entropy | 95% interval | p (Holm) | ECE % | AURC e-3 |"]
    lines.append("|---|---|---|" + "---:|" * 6)
    for bed in results.beds:
        base = results.baseline(bed)
        ece, aurc = (METRICS[name] * mean_of(results, base, name) for name in ("ece", "aurc"))
        own = 100 * mean_of(results, base, "accuracy")
        lines.append(f"| {bed} | cross-entropy | | {own:.2f} | | | | {ece:.1f} | {aurc:.1f} |")
        for key, test, p in zip(keys, tests, corrected, strict=True):
            if key[0] == bed and test is not None and test.ci95 is not None:
                ece, aurc = (METRICS[name] * mean_of(results, key, name) for name in ("ece", "aurc"))
                low, high = (f"{100 * end:+.2f}" for end in test.ci95)
                cells = [bed, SOURCES[key[1]], key[2], f"{100 * mean_of(results, key, 'accuracy'):.2f}"]
                cells += [f"{100 * test.mean_difference:+.2f}", f"[{low}, {high}]", "" if p is None else f"{p:.3f}"]
                lines.append("| " + " | ".join([*cells, f"{ece:.1f}", f"{aurc:.1f}"]) + " |")
    return lines


def settings_table(results: Results) -> list[str]:
    """Accuracy on the judged split by epochs, learning rate and weight decay, with the average's in brackets."""
    lines = [
        "| bed | epochs | learning rate | weight decay | accuracy % | its average |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for key in sorted(results.rows, key=lambda k: (k[0], -mean_of(results, k, "accuracy"))):
        own, average = (100 * mean_of(results, key, name) for name in ("accuracy", "average_accuracy"))
        lines.append(f"| {key[0]} | {key[5]} | {key[6]} | {key[7]} | {own:.2f} | {average:.2f} |")
    return lines


def draw(results: Results, path: Path) -> None:
    """Points over cross-entropy by rule, a panel for each bed, a group for each teacher with its alpha and T."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = {"none": "#009e73", "swap": "#d55e00", "plausible": "#0072b2", "bayes": "#cc79a7"}
    lines = math.ceil(len(results.beds) / 4)
    figure, panels = pyplot.subplots(lines, 4, figsize=(14, 3.4 * lines), squeeze=False)
    for axes in panels.flat[len(results.beds) :]:
        axes.axis("off")
    for axes, bed in zip(panels.flat, results.beds, strict=False):
        taught = [k for k in results.rows if k[0] == bed and k[1] in SOURCES and k[2] != "drop"]
        groups = sorted({(k[1], k[3], k[4]) for k in taught}, key=lambda each: ([*SOURCES].index(each[0]), each[1:]))
        for place, group in enumerate(groups):
            keys = [k for k in taught if (k[1], k[3], k[4]) == group]
            for number, key in enumerate(keys):
                test = paired(*results.difference(key, results.baseline(bed)))
                at, kind = place + 0.16 * number - 0.32, key[2].partition(":")[0]
                mean = 100 * test.mean_difference
                low, high = (100 * end for end in test.ci95 or (test.mean_difference,) * 2)
                label = kind if group == groups[-1] else None
                axes.errorbar(at, mean, [[mean - low], [high - mean]], fmt="o", ms=4, color=colours[kind], label=label)
        axes.axhline(0, color="#444444", lw=0.8)
        names = [f"{source}\n{alpha}, {heat}" for source, alpha, heat in groups]
        axes.set_xticks(range(len(groups)), names, fontsize=6, rotation=45)
        axes.set_title(f"{bed}, {len(results.seeds(bed))} seeds", fontsize=9)
    panels[0][0].set_ylabel("points over cross-entropy, test")
    panels[0][0].legend(fontsize=7, title="rule", title_fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    results = Results(options.table)
    sources = {key[1] for key in results.rows}
    if sources == {"labels"}:
        print("\n".join(settings_table(results)))
    elif "finished" in sources:
        print("\n".join([*accuracy_tables(results), *other_tables(results), *verdicts(results)]))
    elif "virtual" in sources:
        print("\n".join([*accuracy_tables(results), *against_baseline(results)]))
    else:
        print("\n".join(accuracy_tables(results)))
    if options.plot:
        draw(results, options.plot)


if __name__ == "__main__":
    main()
