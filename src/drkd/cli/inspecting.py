"""The commands that inspect data, and what was trained."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from drkd.cli import catalog
from drkd.cli.answers import answer
from drkd.cli.app import app
from drkd.cli.printing import console, print_summary, say
from drkd.config import CONFIGS, as_commented_yaml, did_you_mean
from drkd.tasks import TASKS, get_task, task_of
from drkd.utils.errors import InputError
from drkd.utils.text import printable

if TYPE_CHECKING:
    from drkd.studies.recipe import Recipe

TASK = "classification"
RunPath = Annotated[Path, typer.Argument(help="run directory or its model.safetensors")]


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[str | None, typer.Option("--data", help="data set or folder (default: the run's)")] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test")] = "test",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, ...; auto")] = "auto",
    skip_bad_images: Annotated[
        bool, typer.Option("--skip-bad-images", help="skip unreadable images (default: the run's)")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Evaluate a trained network.

    Classifiers: accuracy, NLL, ECE, AURC, and each class. Detectors: mAP, mAP50, AR. Segmenters: mIoU.
    """
    if split not in ("train", "val", "test"):
        raise InputError(f"--split should be train, val or test, got {split!r}")

    from drkd.runs.evaluating import evaluate_run

    found = evaluate_run(run, data=data, split=split, device=device, skip_bad_images=skip_bad_images)
    if as_json:
        about = {"data": found.data, "split": found.split, "samples": found.samples}
        print(json.dumps({**about, **asdict(found.metrics)}))
    else:
        task = get_task(found.task)
        described = task.describe_metrics(found.metrics)
        say(f"{split} split of {found.data}, {found.samples} samples: {described}")
        for line in task.describe_classes(found.metrics):
            say(line)
    return 0


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="data set by name, or a folder")],
    task: Annotated[str, typer.Option("--task", help="classification, detection, segmentation or multilabel")] = TASK,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """List every problem of a data set, file by file.

    Exits with 2 if training would not start.
    """
    if task not in TASKS:
        raise InputError(f"--task should be {' or '.join(TASKS)}, got {task!r}")

    from drkd.cli import findings

    found = findings.check_with_progress(data, task)
    if as_json:
        print(findings.as_json(found))
    else:
        findings.print_findings(found)
    if not found.count("error"):
        return 0
    print(f"drkd: {printable(findings.verdict(found))}", file=sys.stderr)
    return 2


@app.command()
def report(run: Annotated[Path, typer.Argument(help="run directory of `compare` or `train`")]) -> int:
    """Print a run's results, and rewrite its page and plots."""
    from drkd.runs.results import ComparisonResults
    from drkd.runs.summary import FILE, RunSummary

    if (run / FILE).is_file():
        summary = RunSummary.read(run)
        answer(run, summary)  # for --json, where the page cannot be written
        print_summary(summary)
        for line in task_of(summary.test).describe_classes(summary.test):
            say(line)
        if (run / "exports").is_dir():
            from drkd.report.exports import draw_exports, print_exports

            print_exports(run, console())
            say(f"Plot: {draw_exports(run) or 'none, times are not measured yet: drkd bench-model ' + str(run)}")
        from drkd.report import write_run_report

        page = write_run_report(run)
        say(f"Report: {page}")
        answer(page, summary)
        return 0

    from drkd.report import print_results, write_report

    try:
        page = write_report(run)
    except OSError:  # a folder that cannot be written to: the figures all the same
        print_results(ComparisonResults.read(run), console())
        raise
    results = ComparisonResults.read(run)
    print_results(results, console())
    say(f"Report: {page}")
    answer(page, results)
    return 0


@app.command("list")
def list_names(
    what: Annotated[
        str, typer.Argument(help="methods, models, detectors, segmenters, datasets, recipes or all")
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """List methods, models, data sets and recipes."""
    tables: dict[str, Callable[[], Mapping[str, str]]] = {
        "methods": catalog.methods,
        "models": catalog.models,
        "detectors": catalog.detectors,
        "segmenters": catalog.segmenters,
        "datasets": catalog.datasets,
    }
    if what not in (*tables, "recipes", "all"):
        raise InputError(f"`drkd list` shows {', '.join(tables)}, recipes and all, got {what!r}")
    chosen = {name: read() for name, read in tables.items() if what in ("all", name)}
    recipes = catalog.recipes() if what in ("all", "recipes") else []
    if as_json:
        named = {"recipes": {recipe.name: recipe.model_dump(exclude={"name"}) for recipe in recipes}} if recipes else {}
        print(json.dumps({**chosen, **named}, indent=2))
        return 0
    for heading, table in chosen.items():
        print(f"{heading}:")
        width = max(18, *map(len, table))
        for name, line in table.items():
            print(f"  {name:<{width}} {line}")
    if what == "all":
        print(f"recipes:\n  {len(recipes)} for the rows of the papers; see `drkd list recipes`")
    elif what == "recipes":
        _print_recipes(recipes)
    return 0


@app.command("config")
def write_config(
    command: Annotated[str, typer.Argument(help=f"one of {', '.join(CONFIGS)}")] = "train",
    data: Annotated[str | None, typer.Option("--data", help="data whose defaults to write (default: digits)")] = None,
    task: Annotated[str | None, typer.Option("--task", help="task whose defaults to write")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="file to write (default: standard output)")] = None,
) -> int:
    """Write all options of a command as commented YAML."""
    if command not in CONFIGS:
        raise InputError(f"`drkd config` writes {', '.join(CONFIGS)}, got {command!r}{did_you_mean(command, CONFIGS)}")
    given = {name: value for name, value in (("data", data), ("task", task)) if value is not None}
    text = as_commented_yaml(CONFIGS[command], command, given)
    answer(out, yaml.safe_load(text))
    if out is None:
        print(text, end="")
        return 0
    if out.exists():
        raise InputError(f"{out} exists; choose another file with --out")

    from drkd.utils.files import write_text

    write_text(out, text)
    say(f"Written to {out}: drkd {command} --config {out}")
    return 0


def _print_recipes(recipes: "list[Recipe]") -> None:
    print("published  recipe")
    for recipe in recipes:
        published = "-" if recipe.published is None else f"{recipe.published:.2f}"
        print(f"{published:>9}  {recipe.name:<48} {recipe.table}")
    known = sum(recipe.published is not None for recipe in recipes)
    print(f"{len(recipes)} recipes, {known} with a published figure (test accuracy in %); run one: drkd reproduce NAME")
