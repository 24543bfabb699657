"""What all plots share: one idea each, narrow enough for a telephone, readable on light and on dark pages."""

import re
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from drkd.utils.plain_plots import shorten

SIZE = (4.8, 3.4)
"""Inches."""

LONG = 24
"""Legends with longer labels have one column."""


def new_figure() -> tuple[Figure, Axes]:
    """An empty figure."""
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(ScalarFormatter(useOffset=False))
    return figure, axes


def over_epochs(axes: Axes, epochs: int) -> None:
    """Ticks at whole epochs."""
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_xlim(0.5 if epochs < 20 else 1, epochs + (0.5 if epochs < 20 else 0))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def add_legend(figure: Figure, axes: Axes, fewest: int) -> None:
    """What the lines are, below the plot; nothing for fewer than `fewest`."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) < fewest:
        return
    labels = [shorten(label) for label in labels]
    columns = 1 if max(map(len, labels)) > LONG else min(3, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def save(figure: Figure, file: Path) -> Path:
    """Write a PNG and an SVG called `file` (without an ending); return the SVG."""
    svg = file.with_name(f"{file.name}.svg")
    figure.savefig(svg, metadata={"Date": None})
    figure.savefig(file.with_name(f"{file.name}.png"), dpi=150)
    return svg


def inline(file: Path, name: str) -> str:
    """An SVG to put into a page: without its header, with ids of its own, in the page's colours.

    What is black takes the colour of the text, white is left out; other colours are lifted by the page where it is
    dark (`--lift`).
    """
    svg = file.read_text(encoding="utf-8")
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("#ffffff", "none").replace("#000000", "currentColor")
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", r"\1: color-mix(in srgb, \2, white var(--lift))", svg)
    return svg.replace("<svg ", '<svg fill="currentColor" role="img" ', 1)
