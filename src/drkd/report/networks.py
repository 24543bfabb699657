"""Networks of a search as points of accuracy, or what the task goes by, over latency."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from drkd.studies.found import NetworkResults
from drkd.tasks import get_task
from drkd.utils.plain_plots import plain_text, shorten

DOT, GREY = "#0072b2", "#888888"


@plain_text
def draw_networks(results: NetworkResults, out: Path) -> Path:
    """The validation score over milliseconds an image, the Pareto front as a line; `tune.png` and `tune.svg` in `out`.

    Returns:
        The PNG.
    """
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    points = {
        file.network: (file.ms, 100 * results.searches[file.network].best_val_score)
        for file in results.measured
        if file.network in results.searches
    }
    front = [points[name] for name in results.front]
    axes.plot(*zip(*front, strict=True), color=DOT, linewidth=1, drawstyle="steps-post")
    for name, (ms, score) in points.items():
        on_front, chosen = name in results.front, name == results.chosen
        axes.scatter([ms], [score], s=90 if chosen else 45, color=DOT if on_front else GREY, zorder=3)
        size = next(file.mb for file in results.measured if file.network == name)
        text = f"{shorten(name)}\n{size:.2f} MB{', chosen' if chosen else ''}"
        axes.annotate(text, (ms, score), xytext=(7, -4), textcoords="offset points", fontsize=8, va="top")
    slowest = max(ms for ms, _ in points.values())
    right = 1.35 * slowest
    if results.max_ms is not None and results.max_ms < 3 * slowest:  # else it would press all points together
        right = max(right, 1.05 * results.max_ms)
        axes.axvline(results.max_ms, color=GREY, linewidth=0.8, linestyle="--")
        axes.annotate(
            f"budget {results.max_ms:g} ms",
            (results.max_ms, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4, -4),
            textcoords="offset points",
            fontsize=8,
            ha="right",
            va="top",
            color="#555555",
        )
    axes.set_xlim(0, right)
    axes.margins(y=0.3)
    axes.set_xlabel(f"ms an image, exported, threads: {results.threads}", fontsize=8)
    axes.set_ylabel(f"validation {get_task(results.searches[results.chosen].task).label} %", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / "tune.svg", metadata={"Date": None})
    figure.savefig(out / "tune.png", dpi=150)
    return out / "tune.png"
