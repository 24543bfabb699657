"""The command that classifies images: answers to standard output or a file, progress to standard error."""

import csv
import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from drkd.cli.app import app
from drkd.utils.errors import InputError
from drkd.utils.text import printable, spreadsheet_cell

if TYPE_CHECKING:
    from drkd.data.problems import Problem
    from drkd.export.predicting import Prediction


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="run directory, its model.safetensors, or a file of `drkd export`")],
    images: Annotated[list[Path], typer.Argument(help="images, or folders of them, subfolders included")],
    format_: Annotated[str, typer.Option("--format", help="csv or json")] = "csv",
    top: Annotated[int | None, typer.Option("--top", min=1, help="rows per image: the most probable classes")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="write the probabilities of all classes, one column each")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="images per call of the network")] = 64,
    out: Annotated[Path | None, typer.Option("--out", help="file to write to (default: standard output)")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, ...; auto")] = "auto",
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="also load torch.export files (.pt2), which can run any code")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="as --format json")] = False,
) -> int:
    """Classify images: file, label and probability.

    Unreadable images do not stop the others; the exit code is then 1.
    """
    if format_ not in ("csv", "json"):
        raise InputError(f"--format should be csv or json, got {format_!r}")

    from drkd.export.predicting import predict_files

    bad: list[Problem] = []

    def on_problem(problem: "Problem") -> None:
        if problem.severity != "note":
            print(f"drkd: {printable(problem)}", file=sys.stderr)
        if problem.severity == "error":
            bad.append(problem)

    with _progress(shown=out is not None or not sys.stdout.isatty()) as progress:
        predictions = predict_files(
            run,
            images,
            top=top,
            probabilities=probabilities,
            batch_size=batch_size,
            device=device,
            allow_code=allow_code,
            on_problem=on_problem,
            progress=progress,
        )
        found = next(predictions, None)
        if found is None:  # every image is bad, and was named
            return 2
        answers = chain([found], predictions)
        write = _write_json if format_ == "json" or as_json else _write_csv
        if out is None:
            write(_until_closed(answers), sys.stdout)
        else:
            with _complete_or_part(out) as stream:
                write(answers, stream)
    return 1 if bad else 0


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """What shows how many images are done on standard error: a bar on a terminal, a line now and then in a log.

    Answers that scroll over the same terminal are progress enough: then nothing is `shown`.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(
            *columns, console=console, transient=True, disable=not shown, redirect_stdout=False
        ) as bar:  # its errors are printed above it, answers are not its business
            line = bar.add_task("images")
            yield lambda done, total: bar.update(line, completed=done, total=total)
        return
    from drkd.cli.display import SECONDS_BETWEEN_LINES

    last = time.monotonic()

    def print_line(done: int, total: int) -> None:
        nonlocal last
        if done and time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{done:,} of {total:,} images", file=sys.stderr, flush=True)

    yield print_line


def _until_closed(predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
    """Predictions as long as somebody reads standard output, which `| head` closes."""
    for each in predictions:
        if getattr(sys.stdout, "failure", None) is not None:
            return
        yield each


@contextmanager
def _complete_or_part(path: Path) -> Iterator[TextIO]:
    """A file that gets its name when it is complete; until then, and after an interruption, it is called NAME.part."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        try:
            yield stream
        except BaseException:
            print(f"drkd: the predictions so far are in {printable(part)}", file=sys.stderr)
            raise
    part.replace(path)


def _write_csv(predictions: "Iterable[Prediction]", stream: Any) -> None:
    """A row per prediction, each at once; cells that a spreadsheet would compute get a quotation mark in front."""
    writer = csv.writer(stream, lineterminator="\n")
    for number, each in enumerate(predictions):
        every = each.probabilities or {}
        if not number:
            writer.writerow(["file", "label", "probability", *map(spreadsheet_cell, every)])
        row = (f"{probability:.6f}" for probability in (each.probability, *every.values()))
        writer.writerow([spreadsheet_cell(each.file), spreadsheet_cell(each.label), *row])
        stream.flush()


def _write_json(predictions: "Iterable[Prediction]", stream: Any) -> None:
    """A list, written as it grows, and closed when it is interrupted."""
    begin = "[\n"
    try:
        for each in predictions:
            content = {name: value for name, value in asdict(each).items() if value is not None}
            stream.write(begin + textwrap.indent(json.dumps(content, indent=2), "  "))
            stream.flush()
            begin = ",\n"
    finally:
        stream.write("\n]\n")
