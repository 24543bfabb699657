"""The plots of a comparison, a column per panel."""

import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from drkd.report.table import colour_of, label_of
from drkd.runs.directory import method_dirname
from drkd.runs.results import ComparisonResults, Panel
from drkd.runs.summary import RunSummary
from drkd.studies.statistics import paired
from drkd.tasks import get_task
from drkd.utils.errors import InputError
from drkd.utils.hashing import file_hash
from drkd.utils.plain_plots import plain_text

Curves = dict[tuple[str, str], np.ndarray[Any, np.dtype[np.float64]]]


@plain_text
def draw_all(results: ComparisonResults, out: Path) -> dict[str, Path]:
    """Write every plot as PNG and SVG under `out/plots`; return the SVG files by name.

    One that cannot be drawn is warned of and left out.
    """
    folder = out / "plots"
    folder.mkdir(exist_ok=True)
    curves = read_curves(results, out)
    plots: dict[str, Callable[[], Figure]] = {
        "accuracy": lambda: _figure(results, 3.4, _accuracy, share_y=True),
        "learning": lambda: _figure(results, 3.0, lambda axes, panel: _learning(axes, panel, curves)),
        "reliability": lambda: _figure(results, 3.4, _reliability),
        "rectified": lambda: _figure(results, 2.6, _rectified),
    }
    if "reliability" not in get_task(results.panels[0].task).details:
        del plots["reliability"]
    files = {}
    for name, draw in plots.items():
        try:
            figure = draw()
            figure.savefig(folder / f"{name}.png", dpi=150)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        except Exception as reason:  # the page has the numbers
            warnings.warn(f"the plot {name} could not be drawn: {type(reason).__name__}: {reason}", stacklevel=2)
            continue
        files[name] = folder / f"{name}.svg"
    return files


def read_curves(results: ComparisonResults, out: Path) -> Curves:
    """The first metric on validation per epoch, from `metrics.csv`: mean over seeds, by (panel, method)."""
    curves: Curves = {}
    for panel in results.panels:
        column = f"val_{get_task(panel.task).primary}"
        folder = out / "trainings" / panel.name.replace(" ", "-")
        for method in panel.methods:
            runs = []
            for file in sorted(folder.glob(f"seed-*/{method_dirname(method)}/metrics.csv")):
                try:
                    known = RunSummary.read(file.parent).metrics_sha256
                    if known not in (None, file_hash(file)):
                        raise ValueError("its content is not what was written")
                    with file.open(encoding="utf-8") as lines:
                        runs.append([float(row[column]) for row in csv.DictReader(lines) if column in row])
                except (InputError, OSError, ValueError, TypeError, csv.Error) as reason:
                    warnings.warn(f"{file} is damaged and left out of the curves: {reason}", stacklevel=2)
            if any(runs):
                shortest = min(len(run) for run in runs)
                curves[panel.name, method] = np.array([run[:shortest] for run in runs]).mean(axis=0)
    return curves


def _figure(
    results: ComparisonResults, height: float, draw: Callable[[Axes, Panel], None], *, share_y: bool = False
) -> Figure:
    panels = results.panels
    figure = Figure(figsize=(4.8 * len(panels) + 1.6, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=share_y)[0]
    for axes, panel in zip(grid, panels, strict=True):
        draw(axes, panel)
        axes.set_title(panel.name, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, linewidth=0.6)
    handles, labels = max((axes.get_legend_handles_labels() for axes in grid), key=lambda pair: len(pair[1]))
    if handles:
        figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    return figure


def _accuracy(axes: Axes, panel: Panel) -> None:
    """A point per seed, the mean, and the 95% interval of the paired difference drawn about it."""
    task = get_task(panel.task)
    scores = {name: results.test[task.primary] for name, results in panel.methods.items()}
    for row, name in enumerate(scores):
        values = [100 * value for value in scores[name] if value is not None]
        if not values:
            continue
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [0.0]
        axes.scatter(values, row + np.asarray(spread), s=12, color=colour_of(name), alpha=0.6, linewidths=0)
        mean = float(np.mean(values))
        test = paired(scores[name], scores["cross_entropy"])
        if name != "cross_entropy" and test is not None and test.ci95 is not None:
            half = 50 * (test.ci95[1] - test.ci95[0])
            axes.plot([mean - half, mean + half], [row, row], color=colour_of(name), linewidth=2)
        axes.scatter([mean], [row], s=42, color=colour_of(name), marker="D", zorder=3)
        if name == "cross_entropy":
            axes.axvline(mean, color=colour_of(name), linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(scores)), [label_of(name) for name in scores], fontsize=8)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.set_xlabel(f"test {task.label} % (dots: seeds; bar: 95% interval of the paired difference)", fontsize=7)


def _learning(axes: Axes, panel: Panel, curves: Curves) -> None:
    """Curves over the fraction of the training done; the first tenth may lie below the image."""
    floor = 100.0
    for name in panel.methods:
        curve = curves.get((panel.name, name))
        if curve is not None:
            done = np.arange(1, len(curve) + 1) / len(curve)
            axes.plot(100 * done, 100 * curve, color=colour_of(name), linewidth=1.4, label=label_of(name))
            floor = min(floor, 100 * float(curve[len(curve) // 10 :].min()))
    axes.set_ylim(bottom=max(0.0, floor - 2))
    axes.set_xlabel("training done %", fontsize=8)
    axes.set_ylabel(f"validation {get_task(panel.task).label} %", fontsize=8)


def _reliability(axes: Axes, panel: Panel) -> None:
    """Accuracy over confidence, all seeds pooled; bins with fewer than 1% of the predictions are left out."""
    axes.plot([0, 100], [0, 100], color="#bbbbbb", linewidth=0.8)
    for name, results in panel.methods.items():
        seeds = [np.array(rows) for rows in results.details["reliability"] if rows is not None]
        if not seeds:
            continue
        table = np.stack(seeds)  # (seeds, bins, 3): count, mean confidence, accuracy
        counts = table[:, :, 0].sum(axis=0)
        kept = counts > 0.01 * counts.sum()
        sums = (table[:, :, :1] * table[:, :, 1:]).sum(axis=0)
        confidence, accuracy = (100 * sums[kept] / counts[kept, None]).T
        axes.plot(
            confidence, accuracy, color=colour_of(name), linewidth=1.2, marker="o", markersize=3, label=label_of(name)
        )
    axes.set_xlabel("confidence %", fontsize=8)
    axes.set_ylabel("accuracy %", fontsize=8)


def _rectified(axes: Axes, panel: Panel) -> None:
    for name, results in panel.methods.items():
        seeds = [fractions for fractions in results.rectified_fraction_per_epoch if fractions is not None]
        if seeds:
            mean = 100 * np.array(seeds).mean(axis=0)
            axes.plot(np.arange(1, len(mean) + 1), mean, color=colour_of(name), linewidth=1.4, label=label_of(name))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("rectified targets %", fontsize=8)
