"""The commands that train and measure. Heavy imports wait until a command runs, so that `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from drkd._version import __version__
from drkd.cli.options import with_options
from drkd.cli.printing import console, print_row, print_summary
from drkd.config import BenchConfig, CompareConfig, ReproduceConfig, TrainConfig, TuneConfig, resolve

app = typer.Typer(
    help="A better classifier without a bigger teacher: self-distillation with rectified targets, in honest numbers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

WEIGHTS = "Final weights of the targets (the public code averages its KL over the K classes):"

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of options")]


@app.callback(invoke_without_command=True)
def _start(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)


@app.command()
@with_options(CompareConfig)
def compare(config: ConfigFile = None, **options: Any) -> int:
    """Train methods side by side over several seeds, compare them in pairs, write a report: the main job."""
    settings, source = resolve(CompareConfig, options, config)

    from drkd.cli.display import Display
    from drkd.report import print_results, write_report
    from drkd.runs.directory import new_run_dir
    from drkd.studies import comparison

    out = Path(settings.out) if settings.out else new_run_dir("compare")
    _say_if_nothing_to_resume(settings.resume, out)
    terminal = console()
    trainings = comparison.plan(settings, comparison.with_controls(settings.methods), out)
    terminal.print(f"{len(trainings)} trainings, to be written to {out}. {WEIGHTS}", highlight=False)
    for line in comparison.weights(trainings).values():
        terminal.print(f"  {line}", highlight=False, soft_wrap=True)
    with Display(terminal, {t.name: t.config.epochs for t in trainings}) as display:
        done = comparison.run(settings, source, out, progress=display.on_event)
    print_results(done.results, terminal)
    terminal.print(f"Report: {write_report(out)}", highlight=False, soft_wrap=True)
    for name, reason in done.failures.items():
        print(f"drkd: {name}: {reason}", file=sys.stderr)
    return 1 if done.failures else 0


@app.command()
@with_options(TrainConfig)
def train(config: ConfigFile = None, **options: Any) -> int:
    """Train one network with one method; a self-teacher that it needs is trained first."""
    settings, source = resolve(TrainConfig, options, config)

    import torch

    from drkd.runs.building import choose_device, describe_weights
    from drkd.runs.directory import new_run_dir
    from drkd.runs.training import train as run_training
    from drkd.utils.distributed import process_group, rank
    from drkd.utils.files import read_json

    out = Path(settings.out) if settings.out else new_run_dir("train")
    _say_if_nothing_to_resume(settings.resume, out)
    if os.environ.get("RANK", "0") == "0":  # the one process, or the first under torchrun
        print(f"To be written to {out}. {WEIGHTS}\n  {describe_weights(settings)}", flush=True)
    if (settings.devices > 1 or settings.num_nodes > 1) and "RANK" not in os.environ:
        from drkd.runs.launching import train_on_devices

        train_on_devices(settings, source, out, print_row)
        print_summary(read_json(out / "summary.json"))
        return 0
    with process_group(torch.device(choose_device(settings.device))):
        summary = run_training(settings, source, out, on_epoch=print_row if rank() == 0 else None)
        if rank() == 0:
            print_summary(summary)
    return 0


@app.command()
@with_options(TuneConfig)
def tune(config: ConfigFile = None, **options: Any) -> int:
    """Search for the method and settings that do best on the validation split, within a stated budget."""
    settings, source = resolve(TuneConfig, options, config)

    from drkd.cli.trials import Trials, print_found
    from drkd.runs.directory import new_run_dir
    from drkd.studies import tuning

    out = Path(settings.out) if settings.out else new_run_dir("tune")
    _say_if_nothing_to_resume(settings.resume, out)
    terminal = console()
    limit = "" if settings.hours is None else f", none begun after {settings.hours:g} h"
    terminal.print(f"Up to {settings.trials} trials of {settings.epochs} epochs{limit}, to be written to {out}.")
    with Trials(terminal, settings.trials) as trials:
        found = tuning.run(settings, source, out, progress=trials.on_event)
    print_found(found.results, terminal)
    shown = f"To see whether it holds: drkd compare --data {settings.data} --methods {found.best} --seeds 5 ..."
    terminal.print(f"{shown} (with the same other options)", highlight=False, soft_wrap=True)
    return 0


@app.command()
@with_options(ReproduceConfig)
def reproduce(
    name: Annotated[str, typer.Argument(help="a recipe, see `drkd list recipes`")] = "",
    config: ConfigFile = None,
    **options: Any,
) -> int:
    """Train a published row, its teacher and baseline first, and put the measured figure beside the published one."""
    settings, _ = resolve(ReproduceConfig, options, config)

    from drkd.cli.display import Display
    from drkd.report.reproduced import print_reproduction
    from drkd.studies import reproduction
    from drkd.studies.recipe import load_recipe

    recipe = load_recipe(name)
    terminal = console()
    terminal.print(f"{recipe.paper}: {recipe.table}\nas published: {recipe.hardware}", highlight=False, soft_wrap=True)
    steps = reproduction.plan(recipe, settings)
    for step in steps:
        found = " (finished earlier)" if step.earlier else ""
        terminal.print(f"  {step.name}: {step.out}{found}", highlight=False, soft_wrap=True)
    with Display(terminal, {step.name: step.config.epochs for step in steps}) as display:
        done = reproduction.run(recipe, settings, steps, progress=display.on_event)
    print_reproduction(done, terminal)
    for failed, reason in done.failures.items():
        print(f"drkd: {failed}: {reason}", file=sys.stderr)
    return 1 if done.failures else 0


@app.command()
@with_options(BenchConfig)
def bench(config: ConfigFile = None, **options: Any) -> int:
    """Measure what each method costs on a network and this machine: steps, loader, a whole epoch."""
    settings, _ = resolve(BenchConfig, options, config)

    from drkd.report.speed import print_bench
    from drkd.studies import benchmarking

    print_bench(benchmarking.bench(settings), console())
    return 0


def _say_if_nothing_to_resume(resume: bool, out: Path) -> None:
    if resume and not (out / "config.yaml").exists():
        print(f"{out} holds nothing to go on with: starting afresh")
