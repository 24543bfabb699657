"""The commands. Heavy imports wait until a command runs, so that `--help` answers at once."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from drkd import __version__, catalog
from drkd.cli.options import with_options
from drkd.config import BenchConfig, CompareConfig, ReproduceConfig, TrainConfig, resolve
from drkd.errors import InputError

app = typer.Typer(
    help="A better classifier without a bigger teacher: self-distillation with rectified targets, in honest numbers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

WEIGHTS = "Final weights of the targets (the public code averages its KL over the K classes):"

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of options")]
RunPlace = Annotated[Path, typer.Argument(help="run directory or its model.safetensors")]


@app.callback(invoke_without_command=True)
def _start(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)


@app.command()
@with_options(CompareConfig)
def compare(config: ConfigFile = None, **options: Any) -> int:
    """Train methods side by side over several seeds, compare them in pairs, write a report: the main job."""
    settings, source = resolve(CompareConfig, options, config)

    from drkd import comparison
    from drkd.cli.display import Display
    from drkd.folders import new_folder
    from drkd.report import print_results, write_report

    out = Path(settings.out) if settings.out else new_folder("compare")
    _say_if_nothing_to_resume(settings.resume, out)
    console = _console()
    trainings = comparison.plan(settings, comparison.with_controls(settings.methods), out)
    console.print(f"{len(trainings)} trainings, to be written to {out}. {WEIGHTS}", highlight=False)
    for line in comparison.weights(trainings).values():
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    with Display(console, {t.name: t.config.epochs for t in trainings}) as display:
        done = comparison.run(settings, source, out, progress=display.tell)
    print_results(done.results, console)
    console.print(f"Report: {write_report(out)}", highlight=False, soft_wrap=True)
    for name, reason in done.failures.items():
        print(f"drkd: {name}: {reason}", file=sys.stderr)
    return 1 if done.failures else 0


@app.command()
@with_options(TrainConfig)
def train(config: ConfigFile = None, **options: Any) -> int:
    """Train one network with one method; a self-teacher that it needs is trained first."""
    settings, source = resolve(TrainConfig, options, config)

    import torch

    from drkd.distributed import process_group, rank
    from drkd.folders import new_folder
    from drkd.making import choose_device, weights_in_words
    from drkd.run import train as run_training
    from drkd.storage import read_json

    out = Path(settings.out) if settings.out else new_folder("train")
    _say_if_nothing_to_resume(settings.resume, out)
    if os.environ.get("RANK", "0") == "0":  # the one process, or the first under torchrun
        print(f"To be written to {out}. {WEIGHTS}\n  {weights_in_words(settings)}", flush=True)
    if (settings.devices > 1 or settings.num_nodes > 1) and "RANK" not in os.environ:
        from drkd.launching import train_on_devices

        train_on_devices(settings, source, out, _print_row)
        _print_summary(read_json(out / "summary.json"))
        return 0
    with process_group(torch.device(choose_device(settings.device))):
        summary = run_training(settings, source, out, on_epoch=_print_row if rank() == 0 else None)
        if rank() == 0:
            _print_summary(summary)
    return 0


@app.command()
@with_options(ReproduceConfig)
def reproduce(
    name: Annotated[str, typer.Argument(help="a recipe, see `drkd list recipes`")],
    config: ConfigFile = None,
    **options: Any,
) -> int:
    """Train a published row, its teacher and baseline first, and put the measured figure beside the published one."""
    settings, _ = resolve(ReproduceConfig, options, config)

    from drkd import reproduction
    from drkd.cli.display import Display
    from drkd.recipe import load_recipe
    from drkd.report.reproduced import print_reproduction

    recipe = load_recipe(name)
    console = _console()
    console.print(f"{recipe.paper}: {recipe.table}\nas published: {recipe.hardware}", highlight=False, soft_wrap=True)
    steps = reproduction.plan(recipe, settings)
    for step in steps:
        found = " (finished earlier)" if step.earlier else ""
        console.print(f"  {step.name}: {step.out}{found}", highlight=False, soft_wrap=True)
    with Display(console, {step.name: step.config.epochs for step in steps}) as display:
        done = reproduction.run(recipe, settings, steps, progress=display.tell)
    print_reproduction(done, console)
    for failed, reason in done.failures.items():
        print(f"drkd: {failed}: {reason}", file=sys.stderr)
    return 1 if done.failures else 0


@app.command()
def evaluate(
    run: RunPlace,
    data: Annotated[str | None, typer.Option("--data", help="data set or folder (default: the run's)")] = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test")] = "test",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, ...; auto")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Measure a trained network: accuracy, NLL, ECE, AURC."""
    if split not in ("train", "val", "test"):
        raise InputError(f"--split should be train, val or test, got {split!r}")

    from drkd.inference import evaluate_run

    measured = evaluate_run(run, data=data, split=split, device=device)
    if as_json:
        print(json.dumps(measured))
    else:
        print(f"{split} split of {measured['data']}, {measured['samples']} samples: {_metrics(measured)}")
    return 0


@app.command()
def predict(
    run: RunPlace,
    images: Annotated[list[Path], typer.Argument(help="pictures, or folders of them, subfolders included")],
    format_: Annotated[str, typer.Option("--format", help="csv or json")] = "csv",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, ...; auto")] = "auto",
) -> int:
    """Name what is on pictures: file, label and probability."""
    if format_ not in ("csv", "json"):
        raise InputError(f"--format should be csv or json, got {format_!r}")

    from drkd.inference import predict_files

    rows = predict_files(run, images, device=device)
    if format_ == "json":
        print(json.dumps(rows, indent=2))
    else:
        import csv

        writer = csv.DictWriter(sys.stdout, ["file", "label", "probability"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "probability": f"{row['probability']:.6f}"} for row in rows)
    return 0


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="data set by name, or a folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """List everything that is wrong with a data set, file by file; exits 2 where a training would not start."""
    from drkd.cli import findings

    found = findings.check_with_progress(data)
    if as_json:
        print(findings.as_json(found))
    else:
        findings.print_findings(found)
    if not found.count("error"):
        return 0
    print(f"drkd: {findings.verdict(found)}", file=sys.stderr)
    return 2


@app.command()
def report(run: Annotated[Path, typer.Argument(help="run directory of `compare` or `train`")]) -> int:
    """Print the results of a run again; for a comparison, write its page and plots anew."""
    from drkd.storage import read_json

    if (run / "summary.json").is_file():
        _print_summary(read_json(run / "summary.json", needs=("method", "seed", "epochs", "test", "val", "teacher")))
        return 0

    from drkd.report import print_results, write_report

    page = write_report(run)
    print_results(read_json(run / "results.json"), _console())
    print(f"Report: {page}")
    return 0


@app.command()
@with_options(BenchConfig)
def bench(config: ConfigFile = None, **options: Any) -> int:
    """Measure what each method costs on a network and this machine: steps, loader, a whole epoch."""
    settings, _ = resolve(BenchConfig, options, config)

    from drkd import benchmarking
    from drkd.report.speed import print_bench

    print_bench(benchmarking.bench(settings), _console())
    return 0


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="methods, models, datasets, recipes or all")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Name the methods, models, data sets and recipes, with a line on each."""
    tables: dict[str, Callable[[], dict[str, Any]]] = {
        "methods": catalog.methods,
        "models": catalog.models,
        "datasets": catalog.datasets,
        "recipes": catalog.recipes,
    }
    if what != "all" and what not in tables:
        raise InputError(f"list knows {', '.join(tables)} and all, got {what!r}")
    chosen = {name: read() for name, read in tables.items() if what in ("all", name)}
    if as_json:
        print(json.dumps(chosen, indent=2))
        return 0
    for heading, table in chosen.items():
        if heading == "recipes":
            _print_recipes(table, names=what != "all")
            continue
        print(f"{heading}:")
        for name, line in table.items():
            print(f"  {name:<18} {line}")
    return 0


def _say_if_nothing_to_resume(resume: bool, out: Path) -> None:
    if resume and not (out / "config.yaml").exists():
        print(f"{out} holds nothing to go on with: starting afresh")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _print_recipes(table: dict[str, Any], *, names: bool) -> None:
    if not names:
        print(f"recipes:\n  {len(table)} for the rows of the papers; see `drkd list recipes`")
        return
    print("published  recipe")
    for name, recipe in table.items():
        published = "-" if recipe["published"] is None else f"{recipe['published']:.2f}"
        print(f"{published:>9}  {name:<48} {recipe['table']}")
    known = sum(recipe["published"] is not None for recipe in table.values())
    print(f"{len(table)} recipes, {known} with a published figure (test accuracy in %); run one: drkd reproduce NAME")


def _metrics(measured: dict[str, Any]) -> str:
    return (
        f"accuracy {100 * measured['accuracy']:.2f}%, NLL {measured['nll']:.4f}, "
        f"ECE {100 * measured['ece']:.2f}%, AURC {1000 * measured['aurc']:.2f}e-3"
    )


def _print_row(method: str, row: dict[str, float]) -> None:
    parts = ", ".join(
        f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "lr", "val_accuracy", "val_nll")
    )
    validation = f", validation accuracy {100 * row['val_accuracy']:.2f}%" if "val_accuracy" in row else ""
    print(f"{method} epoch {row['epoch']:.0f}: {parts}{validation}", flush=True)


def _print_summary(summary: dict[str, Any]) -> None:
    print(f"{summary['method']}, seed {summary['seed']}: test {_metrics(summary['test'])}")
    chosen = "chosen on validation" if summary["val"] else "the last one"
    print(f"epoch {summary['best_epoch']} of {summary['epochs']} (from 0), {chosen}")
    if summary["teacher"]:
        print(f"teacher's accuracy on the training data: {100 * summary['teacher_train_accuracy']:.2f}%")
    if summary["rectified_fraction_per_epoch"]:
        fractions = summary["rectified_fraction_per_epoch"]
        print(
            f"rectified targets: {100 * fractions[0]:.1f}% in the first epoch, {100 * fractions[-1]:.1f}% in the last"
        )
    for note in summary["notes"]:
        print(f"note: {note}")
    print("One seed is no comparison: `drkd compare` runs several, paired.")
