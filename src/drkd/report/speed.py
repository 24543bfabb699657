"""What `drkd bench` found, on the console."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.report.table import label_of
from drkd.studies.benchmarking import CACHED
from drkd.utils.timing import Spread

COLUMNS = ("Method", "ms per step", "x cross-entropy", "objective %", "peak MiB")

LEGEND = (
    "Median [range] over the rounds; in each round every method made one optimizer step, and ratios are between steps "
    "of the same round. Objective: the losses, their gradients at the logits and the teacher's pass, as a part of the "
    "step. Peak: what a step holds at most beyond weights, optimizer and batch. Cached: the teacher's answers are "
    "found in a cache."
)


def print_bench(found: dict[str, Any], console: Console) -> None:
    """The machine, a row per method, the loader, a whole epoch."""
    about, settings = found["environment"], found["settings"]
    size = settings["image_size"]
    console.print(
        f"{settings['model']}, {size}x{size}, {settings['classes']} classes, batches of {settings['batch_size']}, "
        f"{settings['precision']}, {settings['rounds']} rounds",
        style="bold",
        highlight=False,
    )
    console.print(machine(about, settings["device"]), highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "Method" else "right", no_wrap=True)
    for name, cost in found["methods"].items():
        table.add_row(
            "DR-KD, cached" if name == CACHED else label_of(name),
            describe_spread(cost["milliseconds"]),
            describe_spread(cost["ratio"]),
            f"{100 * cost['objective_share']['median']:.1f}",
            f"{cost['peak_mib']:.1f}",
        )
    console.print(table)
    loader, epoch = found["loader"], found["epoch"]
    for line, style in (
        (f"Loader alone: {describe_spread(loader['images_per_second'])} images per second", ""),
        (f"An epoch of {epoch['steps']} steps: {describe_spread(epoch['ratio'])} times its bare steps", ""),
        (LEGEND, "dim"),
    ):
        console.print(line, style=style, highlight=False, markup=False)


def machine(about: dict[str, Any], device: str) -> str:
    """The machine and the versions in a line."""
    where = (
        about["accelerator"]
        if device.startswith("cuda")
        else f"{about['threads']} of {about['processor_count']} threads"
    )
    return (
        f"{about['date']}: {device}, {where}, {about['machine']}, {about['system']}, python {about['python']}, "
        f"torch {about['torch']}, drkd {about['drkd']}"
    )


def describe_spread(measured: Spread) -> str:
    """Median and range, as many digits as say something.

    Example:
        >>> describe_spread({"median": 1.2345, "min": 1.2, "max": 2.0}), describe_spread({"median": 54321.0, "min": 5e4, "max": 6e4})
        ('1.23 [1.20, 2.00]', '54321 [50000, 60000]')
    """
    digits = 0 if measured["median"] >= 100 else 1 if measured["median"] >= 10 else 2
    return f"{measured['median']:.{digits}f} [{measured['min']:.{digits}f}, {measured['max']:.{digits}f}]"
