"""Tables and pictures of `methods.py`.

    python benchmarks/evidence/method_tables.py average rectifiers-final.csv average.csv --without cub50
    python benchmarks/evidence/method_tables.py map rectifiers-final.csv map.csv --without cub50 --picture map.png
    python benchmarks/evidence/method_tables.py calibration rectifiers-final.csv map.csv --without cub50
    python benchmarks/evidence/method_tables.py tuned tuned.csv --picture docs/evidence/tuned.png

Tables of `methods.py`, and of `rectifiers.py final`, which has the same rows at 12 epochs with all training images.
Points are paired by seed, intervals are of 95%, and Holm's correction is over all lines of a table that have a p.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drkd.studies.statistics import Paired, holm, mean_and_deviation, paired

Key = tuple[str, ...]
"""head, bed, source, rule, alpha, temperature, epochs, lr, weight_decay, decay."""

KEY = ("head", "bed", "source", "rule", "alpha", "temperature", "epochs", "lr", "weight_decay", "decay")
WRONG = {"clean_label": 0.0, "aggre_label": 9.0, "random_label1": 17.2, "worse_label": 40.2}
NAMES = {
    "labels": "cross-entropy",
    "smoothing": "label smoothing",
    "virtual": "no teacher",
    "finished": "finished self-teacher",
    "early1": "self-teacher of 1 epoch",
    "early3": "self-teacher of 3 epochs",
    "folds2": "two-fold self-teachers",
    "average": "running average",
}
COLOURS = {"finished": "#0072b2", "early1": "#d55e00", "early3": "#e69f00", "folds2": "#009e73", "average": "#cc79a7"}

Test = tuple[list[str], Paired | None]
"""The first cells of a line, and what is tested."""


class Results:
    """The rows of the test split by training, then by seed.

    The head of rows that `methods.py` wrote ends in `9/10`, as much of the training images as they were trained on.
    """

    def __init__(self, paths: list[Path], without: str = "") -> None:
        self.rows: dict[Key, dict[int, dict[str, str]]] = defaultdict(dict)
        for path in paths:
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    left_out = without and row["bed"].startswith(without)
                    if row.get("split", "test") == "test" and not left_out:
                        head = f"{row['head']}, 9/10" if "head" in row else "linear"
                        full = {**row, "head": head, "decay": row.get("decay", "0.999")}
                        self.rows[tuple(full[name] for name in KEY)][int(row["seed"])] = row
        order = sorted({key[:2] for key in self.rows}, key=lambda panel: (panel[0], kind_of(panel), wrong(panel[1])))
        self.panels = order

    def values(self, key: Key, column: str, seeds: list[int]) -> list[float]:
        return [float(self.rows[key][seed][column]) for seed in seeds]

    def seeds(self, *keys: Key) -> list[int]:
        return sorted(set.intersection(*(set(self.rows[key]) for key in keys)))

    def minus(self, ours: tuple[Key, str], theirs: tuple[Key, str]) -> Paired | None:
        """Training and column each."""
        seeds = self.seeds(ours[0], theirs[0])
        return paired(self.values(*ours, seeds), self.values(*theirs, seeds))

    def mean(self, key: Key, column: str = "accuracy") -> float:
        return mean_and_deviation(self.values(key, column, self.seeds(key)))[0]

    def has(self, panel: Key, column: str) -> bool:
        return all(column in row for key in self.of(panel) for row in self.rows[key].values())

    def of(self, panel: Key, **wanted: str) -> list[Key]:
        return [key for key in self.rows if key[:2] == panel and all(key[KEY.index(n)] == v for n, v in wanted.items())]


def kind_of(panel: Key) -> tuple[str, str]:
    return panel[0], panel[1].partition(":")[0]


def wrong(bed: str) -> float:
    """The fraction of wrong labels, in %."""
    kind = bed.partition(":")[2]
    return WRONG.get(kind, 100 * float(kind) if kind[:1].isdigit() else 0.0)


def soft_of(key: Key) -> str:
    return f"{key[4]}, {key[5]}"


def with_intervals(header: list[str], tests: list[Test], scale: float = 100) -> list[str]:
    """A table whose last columns are a difference, its interval and p."""
    corrected = holm([None if test is None else test.p_value for _, test in tests])
    lines = ["| " + " | ".join([*header, "difference", "95% interval", "p (Holm)"]) + " |"]
    lines.append("|" + "---|" * len(header) + "---:|" * 3)
    for (cells, test), p in zip(tests, corrected, strict=True):
        if test is None or test.ci95 is None:
            continue
        low, high = (f"{scale * end:+.2f}" for end in test.ci95)
        numbers = [f"{scale * test.mean_difference:+.2f}", f"[{low}, {high}]", "" if p is None else f"{p:.3f}"]
        lines.append("| " + " | ".join([*cells, *numbers]) + " |")
    return lines


def average_table(results: Results) -> list[str]:
    """The average alone minus plain; where it teaches, its student minus plain, and it minus the average alone."""
    lines: list[list[str]] = []
    tests: list[Paired | None] = []
    for panel in results.panels:
        plain, averaged = results.of(panel, source="labels")[0], results.of(panel, source="labels")[-1]
        alone = (averaged, "average_accuracy")
        lines.append([*panel, f"nobody; decay {averaged[9]}", f"{100 * results.mean(plain):.2f}"])
        tests += [None, results.minus(alone, (plain, "accuracy")), None]
        for key in results.of(panel, source="average"):
            if key[3] not in ("drop", "plausible:0.05"):
                lines.append([*panel, f"{key[3]}, {soft_of(key)}", f"{100 * results.mean(key):.2f}"])
                tests.append(results.minus((key, "accuracy"), (plain, "accuracy")))
                tests.append(results.minus((key, "average_accuracy"), (plain, "accuracy")))
                tests.append(results.minus((key, "average_accuracy"), alone))
    header = ["head", "bed", "the average teaches: rule, α, T", "student %", "student - plain"]
    return in_columns([*header, "deployed average - plain", "deployed - average alone"], lines, tests)


def in_columns(header: list[str], lines: list[list[str]], tests: list[Paired | None]) -> list[str]:
    """Several differences a line; bold where p after Holm's correction over all of them is below 0.05."""
    corrected = holm([None if test is None else test.p_value for test in tests])
    width = len(tests) // len(lines)
    out = ["| " + " | ".join(header) + " |", "|" + "---|" * (len(header) - width) + "---:|" * width]
    for number, cells in enumerate(lines):
        for place in range(width * number, width * (number + 1)):
            test, p = tests[place], corrected[place]
            text = ""
            if test is not None and test.ci95 is not None:
                low, high = (f"{100 * end:+.2f}" for end in test.ci95)
                text = f"{100 * test.mean_difference:+.2f} [{low}, {high}]"
            cells.append(f"**{text}**" if p is not None and p < 0.05 else text)
        out.append("| " + " | ".join(cells) + " |")
    return out


def map_table(results: Results) -> list[str]:
    """Tf-KD_self minus cross-entropy, and DR-KD minus Tf-KD_self."""
    lines: list[list[str]] = []
    tests: list[Paired | None] = []
    for panel in results.panels:
        plain = results.of(panel, source="labels")[0]
        for swap in results.of(panel, rule="swap"):
            none = (*swap[:3], "none", *swap[4:])
            fraction = 100 * results.mean(swap, "rectified")
            lines.append([*panel, f"{wrong(panel[1]):.0f}", NAMES[swap[2]], soft_of(swap), f"{fraction:.1f}"])
            tests.append(results.minus((none, "accuracy"), (plain, "accuracy")))
            tests.append(results.minus((swap, "accuracy"), (none, "accuracy")))
    header = ["head", "bed", "wrong %", "teacher", "α, T", "rectified %"]
    return in_columns([*header, "Tf-KD_self - cross-entropy", "DR-KD - Tf-KD_self"], lines, tests)


def calibration_table(results: Results) -> list[str]:
    """ECE and AURC before and after the temperature, and what label smoothing does to AURC."""
    out: list[str] = []
    for panel in results.panels:
        if not results.has(panel, "after_ece"):
            continue
        out += [f"{panel[0]}, {panel[1]}, {len(results.seeds(results.of(panel)[0]))} seeds", ""]
        out.append("| teacher | rule, α, T | accuracy % | ECE % | after | AURC e-3 | after | fitted T |")
        out.append("|---|---|" + "---:|" * 6)
        for key in results.of(panel):
            for prefix in ("", "average_") if key[2] == "labels" else ("",):
                name = f"{NAMES[key[2]]}{', its average' if prefix else ''}"
                numbers = [
                    f"{scale * results.mean(key, prefix + column):.{digits}f}"
                    for column, scale, digits in (
                        *(("accuracy", 100, 2), ("ece", 100, 1), ("after_ece", 100, 1)),
                        *(("aurc", 1000, 1), ("after_aurc", 1000, 1), ("after_fitted", 1, 2)),
                    )
                ]
                rule = f"{key[3]}, {soft_of(key)}" if key[2] != "labels" else ""
                out.append("| " + " | ".join([name, rule, *numbers]) + " |")
        out.append("")
    return [*out, *aurc_tests(results)]


def aurc_tests(results: Results) -> list[str]:
    """AURC minus that of cross-entropy, before and after the temperature: label smoothing, and DR-KD beside it."""
    tests: list[Test] = []
    for panel in results.panels:
        plain = results.of(panel, source="labels")[0]
        rows = results.of(panel, source="smoothing")
        for column in ("aurc", "after_aurc") if results.has(panel, "after_aurc") else ("aurc",):
            for key in rows:
                cells = [*panel, NAMES[key[2]], "after" if column.startswith("after") else "before"]
                cells.append(f"{1000 * results.mean(plain, column):.1f}")
                tests.append((cells, results.minus((key, column), (plain, column))))
    return with_intervals(["head", "bed", "method", "temperature", "AURC e-3 of cross-entropy"], tests, 1000)


def tuned_table(results: Results) -> list[str]:
    """Every method at the best of its settings minus cross-entropy at the best of its own."""
    tests: list[Test] = []
    for panel in results.panels:
        plain, *_ = results.of(panel, source="labels")
        cells = [panel[1], f"{plain[6]} epochs, {plain[7]}, {plain[8]}", "", f"{100 * results.mean(plain):.2f}"]
        tests.append((["cross-entropy", *cells], None))
        averaged = results.of(panel, source="labels")[-1]
        for key, column in [(averaged, "average_accuracy"), *((k, "accuracy") for k in results.of(panel))]:
            if column == "accuracy" and key[2] == "labels":
                continue
            name = "its average" if key[2] == "labels" else NAMES[key[2]]
            cells = [name, panel[1], key[3], soft_of(key), f"{100 * results.mean(key, column):.2f}"]
            tests.append((cells, results.minus((key, column), (plain, "accuracy"))))
    baselines = [cells for cells, test in tests if test is None]
    out = [f"Cross-entropy on `{bed}`: {settings}; {accuracy}%." for _, bed, settings, _, accuracy in baselines]
    tests = [each for each in tests if each[1] is not None]
    return [*out, "", *with_intervals(["teacher", "bed", "rule", "α, T", "accuracy %"], tests)]


def interval(axes: Any, at: float, test: Paired | None, **style: Any) -> None:
    if test is not None:
        mean = 100 * test.mean_difference
        low, high = (100 * end for end in test.ci95 or (test.mean_difference,) * 2)
        axes.errorbar(at, mean, [[mean - low], [high - mean]], ms=4, capsize=2, lw=1, **style)


def draw_average(results: Results, figure: Any) -> None:
    """Points over plain: the average alone, and of the best rule by the student what is deployed."""
    axes = figure.subplots(1, 1)
    colours = ("#444444", "#0072b2", "#d55e00")
    for place, panel in enumerate(results.panels):
        plain, averaged = results.of(panel, source="labels")[0], results.of(panel, source="labels")[-1]
        shown = [(averaged, "average_accuracy", "the average alone", 0, 1)]
        for number, rule in enumerate(("none", "swap", "bayes:0.2")):
            for key in results.of(panel, source="average", rule=rule):
                strong = key[4] == "0.9"
                shown.append((key, "accuracy", "the average as the teacher", 1, 1.5 + number + 0.4 * strong))
                shown.append((key, "average_accuracy", "and deployed", 2, 1.6 + number + 0.4 * strong))
        for key, column, name, colour, at in shown:
            style = {"color": colours[colour], "fmt": "o", "mfc": colours[colour] if key[4] != "0.5" else "white"}
            style["label"] = None if place or name in axes.get_legend_handles_labels()[1] else name
            interval(axes, place + at / 5 - 0.4, results.minus((key, column), (plain, "accuracy")), **style)
    names = [f"{head}\n{bed.replace(':', chr(10))}" for head, bed in results.panels]
    axes.set_xticks(range(len(names)), names, fontsize=7)
    axes.set_ylabel("points over plain cross-entropy")
    axes.axhline(0, color="#444444", lw=0.8)
    title = "from left to right: none, swap, bayes\nopen: α 0.5, T 1; filled: others"
    axes.legend(fontsize=8, title=title, title_fontsize=7)


def draw_map(results: Results, figure: Any) -> None:
    """Above what Tf-KD_self adds to cross-entropy, below what the swap adds to that, over the rectified fraction."""
    kinds = list(dict.fromkeys(kind_of(panel) for panel in results.panels))
    noises = (0.0, 9.0, 17.2, 20.0, 40.0, 40.2)
    panels = figure.subplots(2, len(kinds), sharex="col", squeeze=False)
    for column, kind in enumerate(kinds):
        for panel in results.panels:
            if kind_of(panel) != kind:
                continue
            plain = results.of(panel, source="labels")[0]
            for swap in results.of(panel, rule="swap"):
                none = (*swap[:3], "none", *swap[4:])
                size = 3 + 7 * noises.index(wrong(panel[1])) / len(noises)
                at = 100 * results.mean(swap, "rectified")
                filled = COLOURS[swap[2]] if swap[4] == "0.9" else "white"
                style = {"color": COLOURS[swap[2]], "fmt": "none"}
                for axes, ours, theirs in zip(panels[:, column], (none, swap), (plain, none), strict=True):
                    interval(axes, at, results.minus((ours, "accuracy"), (theirs, "accuracy")), **style)
                    seeds = results.seeds(ours, theirs)
                    pairs = zip(*(results.values(k, "accuracy", seeds) for k in (ours, theirs)), strict=True)
                    mean = 100 * mean_and_deviation([a - b for a, b in pairs])[0]
                    axes.plot(at, mean, "o", ms=size, mfc=filled, mec=COLOURS[swap[2]])
        panels[0][column].set_title(f"{kind[1]}, {kind[0]} head", fontsize=9)
        panels[1][column].set_xlabel("rectified, %")
        for axes in panels[:, column]:
            axes.axhline(0, color="#444444", lw=0.8)
            axes.set_yscale("symlog", linthresh=1)
    panels[0][0].set_ylabel("Tf-KD_self - cross-entropy, points")
    panels[1][0].set_ylabel("DR-KD - Tf-KD_self, points")
    shown = {key[2] for key in results.rows}
    for source, colour in COLOURS.items():
        if source in shown:
            panels[0][0].plot([], [], "o", color=colour, label=NAMES[source])
    title = "larger: more wrong labels\nfilled: α 0.9, T 4; open: α 0.5, T 1"
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), fontsize=7, title=title, title_fontsize=7, loc="outside right upper"
    )


def draw_calibration(results: Results, figure: Any) -> None:
    """AURC over ECE before (open) and after (filled) the temperature."""
    shown = [panel for panel in results.panels if results.has(panel, "after_ece")]
    panels = figure.subplots(1, len(shown), squeeze=False)
    colours = {"labels": "#444444", "smoothing": "#56b4e9", "virtual": "#f0e442", **COLOURS}
    for axes, panel in zip(panels.flat, shown, strict=True):
        for key in results.of(panel):
            ece, aurc = (100 * results.mean(key, n) for n in ("ece", "after_ece")), ("aurc", "after_aurc")
            y = [1000 * results.mean(key, name) for name in aurc]
            x = list(ece)
            axes.plot(x, y, "-", color=colours[key[2]], lw=0.5)
            axes.plot(x[:1], y[:1], "o", mfc="white", color=colours[key[2]], ms=5)
            axes.plot(x[1:], y[1:], "o", color=colours[key[2]], ms=5)
        axes.set_title(f"{panel[1]}, {panel[0]}", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("ECE, %; open: before, filled: after the temperature", fontsize=7)
    panels[0][0].set_ylabel("AURC e-3")
    for source, colour in colours.items():
        panels[0][0].plot([], [], "o", color=colour, label=NAMES[source])
    panels[0][0].legend(fontsize=6)


def draw_tuned(results: Results, figure: Any) -> None:
    panels = figure.subplots(1, len(results.panels), squeeze=False)[0]
    for axes, panel in zip(panels, results.panels, strict=True):
        plain = results.of(panel, source="labels")[0]
        keys = [key for key in results.of(panel) if key[2] != "labels"]
        for place, key in enumerate(keys):
            interval(axes, place, results.minus((key, "accuracy"), (plain, "accuracy")), fmt="o", color="#0072b2")
        axes.set_xticks(range(len(keys)), [f"{NAMES[k[2]]}, {k[3]}" for k in keys], fontsize=6, rotation=60, ha="right")
        axes.axhline(0, color="#444444", lw=0.8)
        axes.set_title(panel[1], fontsize=9)
    panels[0].set_ylabel("points over tuned cross-entropy")


QUESTIONS: dict[str, tuple[Callable[[Results], list[str]], Callable[[Results, Any], None]]] = {
    "average": (average_table, draw_average),
    "map": (map_table, draw_map),
    "calibration": (calibration_table, draw_calibration),
    "tuned": (tuned_table, draw_tuned),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=[*QUESTIONS])
    parser.add_argument("tables", type=Path, nargs="+", help="of methods.py or rectifiers.py, but for `tuned`")
    parser.add_argument("--without", default="", help="beds whose names start so")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    results = Results(options.tables, options.without)
    table, draw = QUESTIONS[options.question]
    print("\n".join(table(results)))
    if options.picture:
        from matplotlib.figure import Figure

        large = options.question in ("map", "calibration")
        figure = Figure(figsize=(14, 7) if large else (11, 4.4), layout="constrained")
        draw(results, figure)
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.picture, dpi=75)


if __name__ == "__main__":
    main()
