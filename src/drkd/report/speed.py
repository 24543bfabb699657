"""What `drkd bench` found, on the console."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from drkd.report.labels import label_of
from drkd.studies.benchmarking import BenchResults
from drkd.studies.contenders import CACHED
from drkd.utils.machine import Environment
from drkd.utils.timing import Spread

COLUMNS = ("Method", "ms per step", "x cross-entropy", "objective %", "peak MiB")

LEGEND = (
    "Median [range] over the rounds; in each round every method made one optimizer step, and ratios are between steps "
    "of the same round. Objective, of classifiers: the losses, their gradients at the logits and the teacher's pass, "
    "as a percentage of the step. Peak: peak memory of a step beyond weights, optimizer and batch. Cached: teacher "
    "outputs come from a cache."
)


def print_bench(results: BenchResults, console: Console) -> None:
    """Print the machine, a row per method, the loader, a whole epoch."""
    settings, size = results.settings, results.settings.image_size
    console.print(
        f"{settings.model}, {size}x{size}, {settings.classes} classes, batches of {settings.batch_size}, "
        f"{settings.precision}, {settings.rounds} rounds",
        style="bold",
        highlight=False,
    )
    console.print(describe_machine(results.environment, settings.device), highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "Method" else "right", no_wrap=True)
    for name, cost in results.methods.items():
        table.add_row(
            "DR-KD, cached" if name == CACHED else label_of(name),
            describe_spread(cost.milliseconds),
            describe_spread(cost.ratio),
            "" if cost.objective_share is None else f"{100 * cost.objective_share['median']:.1f}",
            f"{cost.peak_mib:.1f}",
        )
    console.print(table)
    epoch = results.epoch
    for line, style in (
        (f"Loader alone: {describe_spread(results.loader)} images per second", ""),
        (f"An epoch of {epoch.steps} steps: {describe_spread(epoch.ratio)} times its bare steps", ""),
        (LEGEND, "dim"),
    ):
        console.print(line, style=style, highlight=False, markup=False)


def describe_machine(found: Environment, device: str) -> str:
    """The machine and the versions in a line."""
    on_gpu = device.startswith("cuda")
    processor = found["accelerator"] if on_gpu else f"{found['threads']} of {found['processors']} threads"
    return (
        f"{found['date']}: {device}, {processor}, {found['machine']}, {found['system']}, python {found['python']}, "
        f"torch {found['torch']}, drkd {found['drkd']}"
    )


def describe_spread(measured: Spread) -> str:
    """Median and range, with as many digits as they deserve.

    Example:
        >>> describe_spread({"median": 1.2345, "min": 1.2, "max": 2.0})
        '1.23 [1.20, 2.00]'
        >>> describe_spread({"median": 54321.0, "min": 5e4, "max": 6e4})
        '54321 [50000, 60000]'
    """
    digits = 0 if measured["median"] >= 100 else 1 if measured["median"] >= 10 else 2
    return f"{measured['median']:.{digits}f} [{measured['min']:.{digits}f}, {measured['max']:.{digits}f}]"
