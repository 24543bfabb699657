"""Tables and plots of `methods.py`.

    python benchmarks/evidence/method_tables.py average rectifiers-final.csv average.csv --without cub50
    python benchmarks/evidence/method_tables.py map rectifiers-final.csv map.csv --without cub50 --plot map.png
    python benchmarks/evidence/method_tables.py calibration rectifiers-final.csv map.csv --without cub50
    python benchmarks/evidence/method_tables.py tuned tuned.csv --plot docs/evidence/tuned.png
    python benchmarks/evidence/method_tables.py online online.csv --plot docs/evidence/online.png

Tables of `methods.py`, and of `rectifiers.py final`, which has the same rows at 12 epochs with all training images.
Points are paired by seed, intervals are of 95%, and Holm's correction is over all lines of a table that have a p.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from method_plots import draw_average, draw_calibration, draw_map, draw_online, draw_tuned
from method_results import NAMES, Results, soft_of, wrong

from drkd.studies.statistics import Paired, holm

Test = tuple[list[str], Paired | None]
"""The first cells of a line, and what is tested."""


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


def online_table(results: Results) -> list[str]:
    """None, the swap and `bayes` minus cross-entropy, `bayes` minus the swap, and the memory minus the average."""
    lines: list[list[str]] = []
    tests: list[Paired | None] = []
    for panel in results.panels:
        plain = results.of(panel, source="labels")[0]
        for bayes in results.of(panel, rule="bayes:0.2"):
            none, swap = ((*bayes[:3], rule, *bayes[4:]) for rule in ("none", "swap"))
            lines.append([*panel, f"{100 * results.mean(plain):.2f}", NAMES[bayes[2]], soft_of(bayes)])
            tests += [results.minus((key, "accuracy"), (plain, "accuracy")) for key in (none, swap, bayes)]
            tests.append(results.minus((bayes, "accuracy"), (swap, "accuracy")))
            average = (*bayes[:2], "average", *bayes[3:])
            tests.append(None if bayes == average else results.minus((bayes, "accuracy"), (average, "accuracy")))
        for growing in results.of(panel, source="growing"):
            lines.append([*panel, f"{100 * results.mean(plain):.2f}", NAMES[growing[2]], f"to {soft_of(growing)}"])
            tests += [results.minus((growing, "accuracy"), (plain, "accuracy")), *[None] * 4]
    header = ["head", "bed", "cross-entropy %", "teacher", "α, T", "none", "swap", "bayes", "bayes - swap"]
    return in_columns([*header, "bayes: memory - average"], lines, tests)


QUESTIONS: dict[str, tuple[Callable[[Results], list[str]], Callable[[Results, Any], None]]] = {
    "average": (average_table, draw_average),
    "map": (map_table, draw_map),
    "calibration": (calibration_table, draw_calibration),
    "tuned": (tuned_table, draw_tuned),
    "online": (online_table, draw_online),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=[*QUESTIONS])
    parser.add_argument("tables", type=Path, nargs="+", help="of methods.py or rectifiers.py, but for `tuned`")
    parser.add_argument("--without", default="", help="beds whose names start so")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    results = Results(options.tables, options.without)
    table, draw = QUESTIONS[options.question]
    print("\n".join(table(results)))
    if options.plot:
        from matplotlib.figure import Figure

        large = options.question in ("map", "calibration")
        figure = Figure(figsize=(14, 7) if large else (11, 4.4), layout="constrained")
        draw(results, figure)
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.plot, dpi=75)


if __name__ == "__main__":
    main()
