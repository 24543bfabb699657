"""Plots of `method_tables.py`. Nothing to run."""

from typing import Any

from matplotlib.ticker import FixedLocator
from method_results import COLOURS, NAMES, Results, kind_of, wrong

from drkd.studies.statistics import Paired, mean_and_deviation


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


def draw_online(results: Results, figure: Any) -> None:
    """Points over cross-entropy: memory and average, the swap and `bayes`, a small and a large alpha."""
    axes = figure.subplots(1, 1)
    colours = {"memory": "#0072b2", "average": "#cc79a7"}
    for place, panel in enumerate(results.panels):
        plain = results.of(panel, source="labels")[0]
        for source, colour in colours.items():
            for rule, marker in (("swap", "s"), ("bayes:0.2", "o")):
                for key in results.of(panel, source=source, rule=rule):
                    at = place - 0.35 + 0.4 * (key[4] == "0.9") + 0.2 * (source == "average") + 0.08 * (marker == "o")
                    style = {"color": colour, "fmt": marker, "mfc": colour if key[4] == "0.9" else "white"}
                    style["label"] = None if place or key[4] == "0.3" else f"{NAMES[source]}, {rule.partition(':')[0]}"
                    interval(axes, at, results.minus((key, "accuracy"), (plain, "accuracy")), **style)
    names = [f"{head.partition(',')[0]}\n{bed.replace(':', chr(10))}" for head, bed in results.panels]
    axes.set_xticks(range(len(names)), names, fontsize=7)
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_locator(FixedLocator([-5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("points over cross-entropy")
    axes.axhline(0, color="#444444", lw=0.8)
    axes.legend(fontsize=8, title="open: α 0.3, T 1; filled: α 0.9, T 4", title_fontsize=7)


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
            axes.yaxis.set_major_locator(FixedLocator([-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10]))
            axes.yaxis.set_major_formatter("{x:g}")
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
