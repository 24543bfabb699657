"""The exports of a run side by side: what they lose, what they weigh, how fast they are."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.export.box_parity import BoxParity
from drkd.export.mask_parity import MaskParity
from drkd.export.memory import Memory
from drkd.export.parity import Parity
from drkd.export.records import LATENCY, BenchedFile, LatencyResults, read_records
from drkd.utils.text import printable

NETWORK = "model.safetensors"

LEGEND = (
    "Accuracy, mAP, mIoU: on the images of the check at export. Same class, same boxes, same pixels: percentage that "
    "the network and the file agree on. Logit, score: largest difference to the network's. Worst image: the largest "
    "fraction of an image's pixels that get another class. ms: median / 95th percentile of a call. Memory: "
    "the peak of a process that loads nothing but this file, and how much of it the file added. "
    "`drkd bench-model RUN` measures time and memory."
)


@dataclass(frozen=True)
class ExportedFile:
    """What is known of a file; `parity` and `split` are None if it was never checked, `measured` if never timed."""

    file: str
    bytes: int
    parity: Parity | BoxParity | MaskParity | None
    split: str | None
    measured: BenchedFile | None


def read_exports(run: Path) -> tuple[list[ExportedFile], LatencyResults | None]:
    """What is known of each export of a run, its own network first, and the last measurement of their speed.

    Figures of a file that had another size then, such as an export with other options, are left out.
    """
    latency = run / "exports" / LATENCY
    speed = LatencyResults.read(latency) if latency.is_file() else None
    measured = {(Path(each.file).name, each.bytes): each for each in speed.files} if speed else {}
    size = (run / NETWORK).stat().st_size if (run / NETWORK).is_file() else 0
    network = ExportedFile(NETWORK, size, None, None, measured.get((NETWORK, size)))
    exports = [
        ExportedFile(each.file, each.bytes, each.parity, each.split, measured.get((each.file, each.bytes)))
        for each in read_records(run)
    ]
    return [network, *exports], speed


def print_exports(run: Path, console: Console) -> None:
    """Print a row per file; figures that were not measured stay empty."""
    files, speed = read_exports(run)
    splits = ", ".join(
        dict.fromkeys(f"{file.split} split, {file.parity.samples} images" for file in files if file.parity)
    )
    console.print(f"Exports of {run} ({splits})", style="bold", highlight=False, soft_wrap=True)
    console.print(export_table(files, speed))
    if speed is not None:
        console.print(describe_measurement(speed), highlight=False, soft_wrap=True)
    console.print(LEGEND, style="dim", highlight=False)


def export_table(files: list[ExportedFile], speed: LatencyResults | None) -> Table:
    """`export_rows` for a terminal."""
    heading, *rows = export_rows(files, speed)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in heading:
        table.add_column(name, justify="left" if name == "File" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def export_rows(files: list[ExportedFile], speed: LatencyResults | None) -> list[list[str]]:
    """The headings, then a row per file; a column of times for each number of threads and images per call."""
    settings = [(times.threads, times.batch_size) for times in speed.files[0].figures] if speed else []
    headings = [f"ms, {batch} at {cores} thread{'s' if cores > 1 else ''}" for cores, batch in settings]
    memory = ["memory MiB"] if speed else []
    kind = kind_of(files)
    rows = [["File", "MB", f"{kind.metric} %", f"{kind.same} %", kind.differs, *headings, *memory]]
    for file in files:
        parity, measured = file.parity, file.measured
        figures = {(f.threads, f.batch_size): f for f in measured.figures} if measured else {}
        rows.append(
            [
                file.file,
                f"{file.bytes / 1e6:.2f}",
                accuracy_of(file, files),
                f"{100 * parity.agreement:.2f}" if parity else "",
                f"{parity.largest_difference:.2g}" if parity else "",
                *(f"{f.p50_ms:.2f} / {f.p95_ms:.2f}" if (f := figures.get(key)) else "" for key in settings),
                *([_describe_memory(measured.memory if measured else None)] if speed else []),
            ]
        )
    return rows


def kind_of(files: list[ExportedFile]) -> type[Parity] | type[BoxParity] | type[MaskParity]:
    """How the files of a run were checked."""
    return next((type(file.parity) for file in files if file.parity), Parity)


def accuracy_of(file: ExportedFile, files: list[ExportedFile]) -> str:
    """A file's accuracy, mAP or mIoU in percent; the network's own is what its exports were compared with."""
    if file.parity:
        return f"{100 * file.parity.after:.2f}"
    known = {f"{100 * other.parity.before:.2f}" for other in files if other.parity}
    return known.pop() if len(known) == 1 else ""


def draw_exports(run: Path) -> Path | None:
    """Accuracy over the median time of a call, a disc per file whose area is its size; PNG and SVG beside the exports.

    Returns:
        The PNG, or None where nothing was measured.
    """
    files, _ = read_exports(run)
    points = [
        (file, file.measured.figures[0], accuracy)
        for file in files
        if file.measured and (accuracy := accuracy_of(file, files))
    ]
    if not points:
        return None
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    largest = max(file.bytes for file, _, _ in points)
    for number, (file, times, accuracy) in enumerate(points):
        size = 600 * file.bytes / largest
        axes.scatter(times.p50_ms, float(accuracy), s=size, color=f"C{number}", alpha=0.5, linewidths=0)
        label = f"{printable(file.file)}, {file.bytes / 1e6:.2f} MB"
        axes.plot([], [], "o", color=f"C{number}", alpha=0.5, label=label)
    _, first, _ = points[0]
    axes.set_xlabel(f"ms per call, median ({first.batch_size} per call, threads: {first.threads})", fontsize=8)
    axes.set_ylabel(f"{kind_of(files).metric} %", fontsize=8)
    axes.set_xscale("log")
    axes.margins(0.2)
    for text in figure.legend(loc="outside right center", fontsize=7, frameon=False).get_texts():
        text.set_parse_math(False)  # `$` in a name; the axis has powers of ten
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    plots = [run / "exports" / f"exports.{ending}" for ending in ("svg", "png")]
    figure.savefig(plots[0], metadata={"Date": None})
    figure.savefig(plots[1], dpi=150)
    return plots[1]


def print_speed(found: LatencyResults, console: Console) -> None:
    """Print a row per file, number of threads and images per call."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = ("File", "runtime", "MB", "threads", "per call", "p50 ms", "p95 ms", "images / s", "memory MiB")
    for name in names:
        table.add_column(name, justify="left" if name in ("File", "runtime") else "right")
    for file in found.files:
        for times in file.figures:
            table.add_row(
                file.file,
                file.runtime,
                f"{file.bytes / 1e6:.2f}",
                str(times.threads),
                str(times.batch_size),
                f"{times.p50_ms:.3f}",
                f"{times.p95_ms:.3f}",
                f"{times.images_per_second:.0f}",
                _describe_memory(file.memory),
            )
    console.print(table)


def describe_measurement(found: LatencyResults) -> str:
    """The machine, the runtimes, and how the files were measured."""
    machine, settings = found.environment, found.settings
    runtimes = ", ".join(dict.fromkeys(file.runtime for file in found.files))
    return (
        f"{machine['date']}: {machine['processor']} ({machine['processors']} processors, {machine['machine']}), "
        f"{machine['system']}, python {machine['python']}, {runtimes}, drkd {machine['drkd']}; {settings.calls} calls "
        f"of each after warm-up, files in turns; memory at {settings.memory.batch_size} per call"
    )


def _describe_memory(held: Memory | None) -> str:
    return f"{held.process_mib:.0f} / {held.file_mib:.0f}" if held else ""
