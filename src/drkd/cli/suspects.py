"""The command that lists images whose labels look wrong."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drkd.cli.answers import answer
from drkd.cli.app import app
from drkd.cli.printing import console, opened_with, say
from drkd.utils.errors import InputError
from drkd.utils.machine import processor_count
from drkd.utils.text import counted
from drkd.utils.workers import start_server

if TYPE_CHECKING:
    from drkd.studies.ranking import Suspects


@app.command()
def suspects(
    run: Annotated[Path, typer.Argument(help="finished run directory of `drkd train`")],
    asked: Annotated[
        str,
        typer.Option(
            "--from",
            help="folds: ask networks that were not trained on the image; memory: use one training's past predictions",
        ),
    ] = "folds",
    folds: Annotated[int, typer.Option("--folds", min=2, help="number of folds, each held out once")] = 5,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="repeat with this many different splits, and average")
    ] = 1,
    top: Annotated[int, typer.Option("--top", min=0, help="how many to print")] = 20,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="trainings at once (default: one per processor, 1 on a GPU)")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... (default: the run's)")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="where to write (default: the run directory)")] = None,
) -> int:
    """List the images whose labels look wrong.

    Writes suspects.csv and a gallery, the most suspect images first.
    """
    if asked not in ("folds", "memory"):
        raise InputError(f"--from should be folds or memory, got {asked!r}")
    if (asked == "folds") and (jobs or processor_count()) > 1:
        start_server("drkd.studies.suspects")  # while this process imports the same

    from drkd.cli.display import Display
    from drkd.report.suspects import write_gallery
    from drkd.runs.evaluating import run_of
    from drkd.studies.suspects import find_suspects, plan

    source = run_of(run)
    home = source if out is None else out
    kind: Any = asked
    trainings = plan(source, home, asked=kind, folds=folds, repeats=repeats, device=device)
    terminal = console()
    count = counted(len(trainings), "training")
    with Display(terminal, {each.name: each.config.epochs for each in trainings}) as display:
        on_event = opened_with([f"{count}; output goes to {home / 'suspects'}."], display.on_event)
        found = find_suspects(
            run, asked=kind, folds=folds, repeats=repeats, jobs=jobs, device=device, out=out, on_event=on_event
        )
    page = write_gallery(found)
    _print(found, page, top)
    answer(found.table, _content(found, page, top))
    return 0


def _content(found: "Suspects", page: Path, top: int) -> dict[str, object]:
    """What `--json` prints; `suspects.csv` has all images."""
    return {
        "asked": found.asked,
        "images": len(found.images),
        "contradicted": found.contradicted,
        "not_judged": list(found.not_judged),
        "table": str(found.table),
        "gallery": str(page),
        "suspects": [asdict(each) for each in found.images[:top]],
    }


def _print(found: "Suspects", page: Path, top: int) -> None:
    from rich.table import Table

    from drkd.utils.text import printable

    table = Table("Rank", "Image", "Split", "Given", "Suggested", "P(given)", "P(suggested)", box=None)
    for each in found.images[:top]:
        names = (printable(name) for name in (each.image, each.split, each.given, each.suggested))
        table.add_row(str(each.rank), *names, f"{each.given_probability:.4f}", f"{each.suggested_probability:.4f}")
    if top:
        console().print(table)
    say(
        f"{found.contradicted:,} of {len(found.images):,} labels of the training and validation images are "
        "contradicted, the most certain first. Look at an image before you call its label wrong."
    )
    if found.not_judged:
        why = "no other fold has an image of their class" if found.asked == "folds" else "the training never saw them"
        say(f"not judged: {counted(len(found.not_judged), 'image')}, because {why}.")
    say(f"List: {found.table}\nGallery: {page}")
