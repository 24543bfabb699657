"""The exports of a run side by side: what they lose, what they weigh, how fast they are."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.export.latency import FILE
from drkd.utils.files import read_json

NETWORK = "model.safetensors"

LEGEND = (
    "Accuracy: on the images of the check at export. Same class: part of them that network and file name alike. "
    "Logit: largest difference to the network's. ms: median / 95th percentile of a call. Memory: the most that a "
    "process with nothing but this file held, and how much of it came with the file. `drkd bench-model RUN` measures."
)


def read_exports(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """What is known of each export of a run, its own network first, and the last measurement of their speed.

    Each has `file`, `bytes`, `parity` and `split` (None for what was never checked) and `measured` (None likewise).
    """
    folder = run / "exports"
    speed = read_json(folder / FILE, needs=("environment", "settings", "files")) if (folder / FILE).is_file() else None
    measured = {Path(row["file"]).name: row for row in speed["files"]} if speed else {}
    records = [
        read_json(file, needs=("file", "bytes", "parity"))
        for file in sorted(folder.glob("*.json"))
        if file.name != FILE
    ]
    rows = [
        {**{key: record[key] for key in ("file", "bytes", "parity", "split")}, "measured": measured.get(record["file"])}
        for record in records
        if (folder / record["file"]).is_file()
    ]
    own = run / NETWORK
    first = {"file": NETWORK, "parity": None, "split": None, "measured": measured.get(NETWORK)}
    return [{**first, "bytes": own.stat().st_size if own.is_file() else 0}, *rows], speed


def print_exports(run: Path, console: Console) -> None:
    """A row per file; figures that were not measured stay empty."""
    rows, speed = read_exports(run)
    checked = [row for row in rows if row["parity"]]
    splits = ", ".join(dict.fromkeys(f"{row['split']} split, {row['parity']['samples']} images" for row in checked))
    console.print(f"Exports of {run} ({splits})", style="bold", highlight=False, soft_wrap=True)
    console.print(export_table(rows, speed))
    if speed is not None:
        console.print(machine(speed), highlight=False, soft_wrap=True)
    console.print(LEGEND, style="dim", highlight=False)


def export_table(rows: list[dict[str, Any]], speed: dict[str, Any] | None) -> Table:
    """The table; a column of times for each number of threads and images per call."""
    settings = [(figure["threads"], figure["batch_size"]) for figure in speed["files"][0]["figures"]] if speed else []
    times = [f"ms, {batch} at {cores} thread{'s' if cores > 1 else ''}" for cores, batch in settings]
    memory = ["memory MiB"] if speed else []
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("File", "MB", "accuracy %", "same class %", "logit", *times, *memory):
        table.add_column(name, justify="left" if name == "File" else "right")
    for row in rows:
        parity, measured = row["parity"], row["measured"]
        figures = {(f["threads"], f["batch_size"]): f for f in measured["figures"]} if measured else {}
        held = measured["memory"] if measured else None
        table.add_row(
            row["file"],
            f"{row['bytes'] / 1e6:.2f}",
            accuracy_of(row, rows),
            f"{100 * parity['agreement']:.2f}" if parity else "",
            f"{parity['largest_difference']:.2g}" if parity else "",
            *(f"{f['p50_ms']:.2f} / {f['p95_ms']:.2f}" if (f := figures.get(key)) else "" for key in settings),
            *([f"{held['process_mib']:.0f} / {held['file_mib']:.0f}" if held else ""] if speed else []),
        )
    return table


def accuracy_of(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """A file's accuracy in percent; the network's own is what its exports were compared with."""
    if row["parity"]:
        return f"{100 * row['parity']['accuracy_after']:.2f}"
    known = {f"{100 * other['parity']['accuracy_before']:.2f}" for other in rows if other["parity"]}
    return known.pop() if len(known) == 1 else ""


def draw_exports(run: Path) -> Path | None:
    """Accuracy over the median time of a call, a disc per file whose area is its size; PNG and SVG beside the exports.

    Returns:
        The PNG, or None where nothing was measured.
    """
    rows, _ = read_exports(run)
    points = [(row, accuracy_of(row, rows)) for row in rows if row["measured"]]
    points = [(row, accuracy) for row, accuracy in points if accuracy]
    if not points:
        return None
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    largest = max(row["bytes"] for row, _ in points)
    for number, (row, accuracy) in enumerate(points):
        at = (row["measured"]["figures"][0]["p50_ms"], float(accuracy))
        axes.scatter(*at, s=600 * row["bytes"] / largest, color=f"C{number}", alpha=0.5, linewidths=0)
        label = f"{row['file']}, {row['bytes'] / 1e6:.2f} MB"
        axes.plot([], [], "o", color=f"C{number}", alpha=0.5, label=label)
    first = points[0][0]["measured"]["figures"][0]
    axes.set_xlabel(f"ms per call, median ({first['batch_size']} per call, threads: {first['threads']})", fontsize=8)
    axes.set_ylabel("accuracy %", fontsize=8)
    axes.set_xscale("log")
    axes.margins(0.2)
    figure.legend(loc="outside right center", fontsize=7, frameon=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    plots = [run / "exports" / f"exports.{ending}" for ending in ("svg", "png")]
    figure.savefig(plots[0], metadata={"Date": None})
    figure.savefig(plots[1], dpi=150)
    return plots[1]


def print_speed(found: dict[str, Any], console: Console) -> None:
    """What was measured of any files, a row per file, number of threads and images per call."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = ("File", "runtime", "MB", "threads", "per call", "p50 ms", "p95 ms", "images / s", "memory MiB")
    for name in names:
        table.add_column(name, justify="left" if name in ("File", "runtime") else "right")
    for row in found["files"]:
        for figure in row["figures"]:
            held = row["memory"]
            table.add_row(
                row["file"],
                row["runtime"],
                f"{row['bytes'] / 1e6:.2f}",
                str(figure["threads"]),
                str(figure["batch_size"]),
                f"{figure['p50_ms']:.3f}",
                f"{figure['p95_ms']:.3f}",
                f"{figure['images_per_second']:.0f}",
                f"{held['process_mib']:.0f} / {held['file_mib']:.0f}" if held else "",
            )
    console.print(table)


def machine(found: dict[str, Any]) -> str:
    """What was measured on, with what, and how."""
    about, settings = found["environment"], found["settings"]
    runtimes = ", ".join(dict.fromkeys(row["runtime"] for row in found["files"]))
    return (
        f"{about['date']}: {about['processor']} ({about['processor_count']} processors, {about['machine']}), "
        f"{about['system']}, python {about['python']}, {runtimes}, drkd {about['drkd']}; {settings['calls']} calls of "
        f"each after warm-up, files in turns; memory at {settings['memory']['batch_size']} per call"
    )
