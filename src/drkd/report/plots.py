"""The plots of a comparison, and those of one training: an idea each; none where there is nothing to see."""

import csv
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from drkd.report.figures import add_legend, new_figure, over_epochs, save
from drkd.report.labels import colour_of, label_of
from drkd.runs.directory import method_dirname
from drkd.runs.results import ComparisonResults, Panel
from drkd.runs.summary import FILE as SUMMARY
from drkd.runs.summary import RunSummary
from drkd.studies.results import BASELINE, CONTROL
from drkd.studies.statistics import paired
from drkd.tasks import Task, get_task
from drkd.utils.errors import InputError
from drkd.utils.hashing import file_hash
from drkd.utils.plain_plots import plain_text, shorten

Array = np.ndarray[Any, np.dtype[np.float64]]
Curves = dict[tuple[str, str], Array]
Draw = Callable[[Axes], bool]
"""Draws, and says whether there was something to draw."""


@plain_text
def draw_each(plots: dict[str, Draw], folder: Path, ending: str = "", *, fewest: int = 1) -> dict[str, Path]:
    """Write plots as PNG and SVG; return the SVG files by name.

    One with nothing in it is left out, and so is one that cannot be drawn, with a warning.

    Args:
        plots: by name.
        folder: where to; made where it is missing.
        ending: of the files' names, before that of their kind.
        fewest: lines that need a legend.
    """
    folder.mkdir(exist_ok=True)
    files = {}
    for name, draw in plots.items():
        file = folder / f"{name}{ending}"
        try:
            figure, axes = new_figure()
            if not draw(axes):
                for old in ("png", "svg"):
                    file.with_name(f"{file.name}.{old}").unlink(missing_ok=True)
                continue
            add_legend(figure, axes, fewest)
            files[name] = save(figure, file)
        except Exception as reason:  # the page has the numbers
            warnings.warn(f"the plot {name} could not be drawn: {type(reason).__name__}: {reason}", stacklevel=2)
    return files


def draw_all(results: ComparisonResults, out: Path) -> dict[str, dict[str, Path]]:
    """Draw every panel under `out/plots`; of several panels the files are called after them."""
    curves = read_curves(results, out)
    endings = [f"-{panel.name.replace(' ', '-')}" if len(results.panels) > 1 else "" for panel in results.panels]
    return {
        panel.name: draw_each(_of_panel(panel, curves), out / "plots", ending)
        for panel, ending in zip(results.panels, endings, strict=True)
    }


def _of_panel(panel: Panel, curves: Curves) -> dict[str, Draw]:
    return {
        "accuracy": lambda axes: draw_accuracy(axes, panel),
        "learning": lambda axes: _learning(axes, panel, curves),
        "reliability": lambda axes: draw_reliability(axes, panel),
        "rectified": lambda axes: draw_rectified(axes, panel),
    }


def read_curves(results: ComparisonResults, out: Path) -> Curves:
    """The first metric on validation per epoch, from `metrics.csv`: mean over seeds, by (panel, method)."""
    curves: Curves = {}
    for panel in results.panels:
        column = f"val_{get_task(panel.task).primary}"
        folder = out / "trainings" / panel.name.replace(" ", "-")
        for method in panel.methods:
            files = sorted(folder.glob(f"seed-*/{method_dirname(method)}/metrics.csv"))
            finished = [file for file in files if (file.parent / SUMMARY).exists()]  # not those that diverged
            runs = [run for file in finished if (run := read_columns(file).get(column))]
            if runs:
                shortest = min(len(run) for run in runs)
                curves[panel.name, method] = np.array([run[:shortest] for run in runs]).mean(axis=0)
    return curves


def read_columns(file: Path) -> dict[str, list[float]]:
    """The columns of a `metrics.csv` that have a number in every epoch; a damaged file is warned of and left out."""
    try:
        known = RunSummary.read(file.parent).metrics_sha256
        if known not in (None, file_hash(file)):
            raise ValueError("its content is not what was written")
        with file.open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        whole = [name for name in (rows[0] if rows else ()) if all(row[name] not in (None, "") for row in rows)]
        return {name: [float(row[name]) for row in rows] for name in whole}
    except (InputError, OSError, ValueError, TypeError, csv.Error) as reason:
        warnings.warn(f"{file} is damaged and left out of the curves: {reason}", stacklevel=2)
        return {}


def draw_accuracy(axes: Axes, panel: Panel) -> bool:
    """A point per seed, the mean, and the 95% interval of the paired difference drawn about it."""
    task = get_task(panel.task)
    scores = {name: results.test[task.primary] for name, results in panel.methods.items()}
    known = {name: [100 * value for value in values if value is not None] for name, values in scores.items()}
    names = [name for name, values in known.items() if values]
    if len(names) < 2:
        return False
    for row, name in enumerate(names):
        values, colour = known[name], colour_of(name)
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [0.0]
        axes.scatter(values, row + np.asarray(spread), s=12, color=colour, alpha=0.6, linewidths=0)
        mean = float(np.mean(values))
        test = paired(scores[name], scores[BASELINE])
        if name != BASELINE and test is not None and test.ci95 is not None and test.seeds == len(panel.seeds):
            half = 50 * (test.ci95[1] - test.ci95[0])
            axes.plot([mean - half, mean + half], [row, row], color=colour, linewidth=2)
        axes.scatter([mean], [row], s=42, color=colour, marker="D", zorder=3)
        if name == BASELINE:
            axes.axvline(mean, color=colour, linewidth=0.8, linestyle="--")
    low, high = axes.dataLim.intervalx
    margin = max(0.05 * (high - low), 0.5 - (high - low) / 2)  # of equal ones no ticks of thousandths
    axes.set_xlim(low - margin, max(high, min(high + margin, 100.2)))
    axes.set_yticks(range(len(names)), [shorten(label_of(name)) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"test {task.label} %", fontsize=8)
    return True


def _learning(axes: Axes, panel: Panel, curves: Curves) -> bool:
    lines = [
        (label_of(name), colour_of(name), curve, panel.epochs / len(curve) if name == CONTROL else 1.0)
        for name in panel.methods
        if (curve := curves.get((panel.name, name))) is not None
    ]
    task = get_task(panel.task)
    return draw_curves(axes, lines, f"validation {task.label} %")


def draw_curves(
    axes: Axes, lines: Sequence[tuple[str, str | None, Array, float]], what: str, *, from_0: bool = False
) -> bool:
    """Fractions over epochs; the first tenth may lie below the image.

    Args:
        axes: to draw on.
        lines: label, colour, a fraction per epoch, and how wide an epoch is drawn.
        what: label of the axis.
        from_0: whether the axis begins at 0.
    """
    lines = [line for line in lines if len(line[2]) > 1]
    if not lines:
        return False
    for label, colour, curve, width in lines:
        epochs = width * np.arange(1, len(curve) + 1)
        axes.plot(epochs, 100 * curve, color=colour, linewidth=1.4, label=label)
    late = [100 * curve[len(curve) // 10 :] for _, _, curve, _ in lines]
    bottom = 0.0 if from_0 else max(0.0, min(float(curve.min()) for curve in late) - 2)
    top = 100 * max(float(curve.max()) for _, _, curve, _ in lines)
    axes.set_ylim(bottom, min(top + max(0.08 * (top - bottom), 0.02), 101) if top > bottom else bottom + 1)
    axes.set_ylabel(what, fontsize=8)
    over_epochs(axes, round(max(len(curve) * width for _, _, curve, width in lines)))
    return True


def draw_reliability(axes: Axes, panel: Panel) -> bool:
    """Accuracy over confidence, all seeds pooled; bins with fewer than 1% of the predictions are left out."""
    drawn = False
    for name, results in panel.methods.items():
        seeds = [np.array(rows) for rows in results.details.get("reliability", []) if rows]
        if not seeds:
            continue
        table = np.stack(seeds)  # (seeds, bins, 3): count, mean confidence, accuracy
        counts = table[:, :, 0].sum(axis=0)
        kept = counts > 0.01 * counts.sum()
        sums = (table[:, :, :1] * table[:, :, 1:]).sum(axis=0)
        confidence, accuracy = (100 * sums[kept] / counts[kept, None]).T
        colour = colour_of(name)
        axes.plot(confidence, accuracy, color=colour, linewidth=1.2, marker="o", markersize=3, label=label_of(name))
        drawn = True
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.8, zorder=0)
    axes.set_xlabel("confidence %", fontsize=8)
    axes.set_ylabel("accuracy %", fontsize=8)
    return drawn


def draw_rectified(axes: Axes, panel: Panel) -> bool:
    """The fraction of the targets that were changed, mean over seeds."""
    lines = []
    for name, results in panel.methods.items():
        seeds = [fractions for fractions in results.rectified_fraction_per_epoch if fractions]
        if seeds and np.max(seeds) > 0:
            lines.append((label_of(name), colour_of(name), np.array(seeds).mean(axis=0), 1.0))
    return draw_curves(axes, lines, "rectified targets %", from_0=True)


def draw_run(columns: dict[str, list[float]], panel: Panel, out: Path) -> dict[str, Path]:
    """The plots of one training, whose panel has its method alone, under `out/plots`.

    Args:
        columns: of its `metrics.csv`.
        panel: what came out.
        out: the run directory.
    """
    task = get_task(panel.task)
    (name,) = panel.methods
    plots: dict[str, Draw] = {
        "learning": lambda axes: _own_learning(axes, columns, task, colour_of(name)),
        "loss": lambda axes: _own_loss(axes, columns),
        "reliability": lambda axes: draw_reliability(axes, panel),
        "rectified": lambda axes: draw_rectified(axes, panel),
    }
    return draw_each(plots, out / "plots", fewest=2)


def _own_learning(axes: Axes, columns: dict[str, list[float]], task: Task, colour: str | None) -> bool:
    """On the training and on the validation split."""
    found = [
        ("validation", colour or "C0", columns.get(f"val_{task.primary}")),
        ("training", "#999999", columns.get(f"train_{task.primary}")),
    ]
    lines = [(label, shade, np.array(values), 1.0) for label, shade, values in found if values]
    return draw_curves(axes, lines, f"{task.label} %")


def _own_loss(axes: Axes, columns: dict[str, list[float]]) -> bool:
    """What was minimised."""
    losses = columns.get("loss", [])
    if len(losses) < 2:
        return False
    axes.plot(np.arange(1, len(losses) + 1), losses, color="C0", linewidth=1.4)
    axes.set_ylabel("training loss", fontsize=8)
    over_epochs(axes, len(losses))
    return True
