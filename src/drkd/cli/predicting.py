"""The command that asks a network about images: answers to standard output or a file, progress to standard error."""

import csv
import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from drkd.cli.answers import answer
from drkd.cli.app import app
from drkd.cli.options import with_options
from drkd.config import BoxConfig, resolve
from drkd.tasks import TASKS, get_task
from drkd.utils.errors import InputError
from drkd.utils.text import counted, printable, spreadsheet_cell

if TYPE_CHECKING:
    from drkd.data.problems import Problem
    from drkd.tasks.answers import Row
    from drkd.utils.files import JsonObject


@app.command()
@with_options(BoxConfig)
def predict(
    run: Annotated[Path, typer.Argument(help="run directory, its model.safetensors, or a file of `drkd export`")],
    images: Annotated[list[Path], typer.Argument(help="images, or folders of them, subfolders included")],
    format_: Annotated[str, typer.Option("--format", help="csv, json, or for detectors coco")] = "csv",
    top: Annotated[int | None, typer.Option("--top", min=1, help="rows per image: the most probable classes")] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="write the probabilities of all classes, one column each")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="images per call of the network (default: 64, for masks 8)"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="file to write to (default: standard output)")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, ...; auto")] = "auto",
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="also load torch.export files (.pt2), which can run any code")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="as --format json")] = False,
    **options: Any,
) -> int:
    """Classify images, find objects in them, or label their pixels.

    Unreadable images do not stop the others; the exit code is then 1.
    """
    known = list(dict.fromkeys(name for task in TASKS.values() for name in task.answer_formats))
    if format_ not in known:
        raise InputError(f"--format should be {', '.join(known[:-1])} or {known[-1]}, got {format_!r}")

    wanted, _ = resolve(BoxConfig, options)
    draw, masks = (None if folder is None else Path(folder) for folder in (wanted.draw, wanted.masks))

    from drkd.export.predicting import open_source, predict_files
    from drkd.tasks.answers import BoxOptions

    bad: list[Problem] = []

    def on_problem(problem: "Problem") -> None:
        if problem.severity != "note":
            print(f"drkd: {printable(problem)}", file=sys.stderr)
        if problem.severity == "error":
            bad.append(problem)

    source = open_source(run, device=device, allow_code=allow_code)
    task, format_ = get_task(source.info.task), "json" if as_json and format_ == "csv" else format_
    images_given = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal images_given
        images_given = total
        progress(done, total)

    with _progress(shown=out is not None or not sys.stdout.isatty()) as progress:
        predictions = predict_files(
            source,
            images,
            top=top,
            probabilities=probabilities,
            boxes=BoxOptions(wanted.threshold, wanted.nms, draw, masks, coco=format_ == "coco"),
            batch_size=batch_size,
            on_problem=on_problem,
            progress=on_progress,
        )
        found = list(islice(predictions, 1))
        if not found and len(bad) >= images_given:  # every image is bad, and was named
            return 2
        answers: Iterable[Row] = chain(found, predictions)
        answers = _until_closed(answers) if out is None else answers
        with nullcontext(sys.stdout) if out is None else _complete_or_part(out) as stream:
            if format_ == "csv":
                _write_csv(answers, task.answer_columns, stream)
            else:
                _write_json((task.answer_record(row, format_, source.info.classes) for row in answers), stream)
        if out is not None:
            answer(out, {})
    if not found:  # classifiers and segmenters say something of every image that can be read
        hint = "" if format_ == "coco" and wanted.threshold is None else "; a lower --threshold shows less certain ones"
        print(f"drkd: no boxes in {counted(images_given - len(bad), 'image')}{hint}", file=sys.stderr)
    if len(bad) > 1:  # a single one was just named
        print(f"drkd: {counted(len(bad), 'image')} could not be read", file=sys.stderr)
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
            print(f"drkd: {done:,} of {total:,} images", file=sys.stderr, flush=True)

    yield print_line


def _until_closed(predictions: "Iterable[Row]") -> "Iterator[Row]":
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


def _write_csv(rows: "Iterable[Row]", columns: Sequence[str], stream: Any) -> None:
    """A row per answer, each at once; cells that a spreadsheet would compute get a quotation mark in front.

    The first row has the columns, and may have more of them.
    """
    writer, begun = csv.writer(stream, lineterminator="\n"), False
    for cells in (cells for each in rows for cells in each.rows()):
        if not begun:
            writer.writerow(map(spreadsheet_cell, cells))
            begun = True
        writer.writerow([spreadsheet_cell(cells["file"]), spreadsheet_cell(cells["label"]), *list(cells.values())[2:]])
        stream.flush()
    if not begun:
        writer.writerow(columns)


def _write_json(records: "Iterable[JsonObject]", stream: Any) -> None:
    """A list, written as it grows, and closed when it is interrupted."""
    begin = "[\n"
    try:
        for each in records:
            stream.write(begin + textwrap.indent(json.dumps(each, indent=2), "  "))
            stream.flush()
            begin = ",\n"
    finally:
        stream.write("[]\n" if begin == "[\n" else "\n]\n")
