"""The commands that train, and the one that measures what training costs."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from drkd.cli.answers import answer
from drkd.cli.app import app
from drkd.cli.completing import completion
from drkd.cli.options import with_options
from drkd.cli.printing import console, opened_with, print_epoch, print_summary, say
from drkd.config import BenchConfig, CompareConfig, ReproduceConfig, TrainConfig, TuneConfig, resolve
from drkd.config.photos import describe_start
from drkd.utils.machine import processor_count
from drkd.utils.text import printable
from drkd.utils.workers import start_server

WEIGHTS = "Final weights of the loss terms (public code: in the papers' code, which divides KL by K, the classes):"

Listener = Callable[[Any], None]

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of options")]


@app.command()
@with_options(CompareConfig)
def compare(config: ConfigFile = None, **options: object) -> int:
    """Compare methods side by side over several seeds.

    Prints a table with paired differences and conclusions, and writes a report page.
    """
    settings, source = resolve(CompareConfig, options, config)
    if settings.launcher == "local" and (settings.jobs or processor_count()) > 1:
        start_server("drkd.studies.comparison")  # while this process imports the same

    from drkd.cli.display import Display
    from drkd.report import print_results, write_report
    from drkd.runs.directory import new_run_dir
    from drkd.studies import comparison

    out = Path(settings.out) if settings.out else new_run_dir("compare")
    terminal = console()
    trainings = comparison.plan(settings, comparison.with_controls(settings), out)
    opening = [*_opening(settings, source, out), f"{len(trainings)} trainings; output goes to {out}.", WEIGHTS]
    opening += [f"  {line}" for line in comparison.weights(trainings).values()]
    with Display(terminal, {t.name: t.config.epochs for t in trainings}) as display:
        on_event = _opened(settings.launcher == "local", opening, display.on_event)
        results = comparison.run(settings, source, out, on_event=on_event).results
    page = write_report(out)  # before anything is printed, which may fail
    print_results(results, terminal)
    terminal.print(f"Report: {page}", highlight=False, soft_wrap=True)
    answer(out, results)
    return _exit_code(results.failures)


@app.command()
@with_options(TrainConfig)
def train(config: ConfigFile = None, **options: object) -> int:
    """Train one network with one method.

    If the method needs a self-teacher, that is trained first.
    """
    settings, source = resolve(TrainConfig, options, config)

    from drkd.methods.registry import get_method
    from drkd.runs.building import describe_weights, refuse_without_teacher
    from drkd.runs.directory import new_run_dir
    from drkd.runs.events import OnEvent, ignore_event
    from drkd.runs.summary import RunSummary
    from drkd.runs.training import train as run_training
    from drkd.utils.device import choose_device
    from drkd.utils.distributed import process_group, rank, world_size

    refuse_without_teacher(settings, source, [get_method(settings.method)])
    described = describe_weights(settings)
    noted: set[str] = set()
    show = partial(print_epoch, noted=noted)

    def opened(out: Path) -> OnEvent:
        opening = [*_opening(settings, source, out), f"Output goes to {out}.", WEIGHTS, f"  {described}"]
        return _opened(settings.devices * settings.num_nodes == world_size() == 1, opening, show)

    if (settings.devices > 1 or settings.num_nodes > 1) and "RANK" not in os.environ:
        from drkd.runs.launching import train_on_devices

        out = Path(settings.out) if settings.out else new_run_dir("train")
        train_on_devices(settings, source, out, opened(out))
        summary = RunSummary.read(out)
        print_summary(summary, noted)
        answer(out, summary)
        return 0
    with process_group(choose_device(settings.device)):
        out = Path(settings.out) if settings.out else new_run_dir("train")
        summary = run_training(settings, source, out, on_event=opened(out) if rank() == 0 else ignore_event)
        if rank() == 0:
            print_summary(summary, noted)
            answer(out, summary)
    return 0


@app.command()
@with_options(TuneConfig)
def tune(config: ConfigFile = None, **options: object) -> int:
    """Search for the best method and settings on validation.

    The search stops at a budget of trials or hours.
    """
    settings, source = resolve(TuneConfig, options, config)
    if settings.launcher == "local" and (settings.jobs or processor_count()) > 1:
        start_server("drkd.studies.searching")

    from drkd.cli.trials import Trials, advice, describe_search, print_networks, print_trials
    from drkd.report.networks import draw_networks
    from drkd.runs.directory import new_run_dir
    from drkd.studies import tuning
    from drkd.tasks import get_task

    out = Path(settings.out) if settings.out else new_run_dir("tune")
    terminal = console()
    opening = [*_opening(settings, source, out), describe_search(settings, source, out)]
    with Trials(terminal, settings.trials, get_task(settings.task).label) as trials:
        on_trial = _opened(settings.launcher == "local" and not settings.networks, opening, trials.on_trial)
        found = tuning.run(settings, source, out, on_trial=on_trial)
    if found.networks is not None:
        print_networks(found.networks, terminal)
        say(f"Plot: {draw_networks(found.networks, out)}")
    print_trials(found.results, terminal)
    print(advice(found, settings, source))
    answer(out, found.networks or found.results)
    return 0


@app.command()
@with_options(ReproduceConfig)
def reproduce(
    name: Annotated[
        str, typer.Argument(help="a recipe, see `drkd list recipes`", autocompletion=completion("recipe"))
    ] = "",
    config: ConfigFile = None,
    **options: object,
) -> int:
    """Train a published row and compare the figures.

    Trains its teacher and baseline first.
    """
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
        done = reproduction.run(recipe, settings, steps, on_event=display.on_event)
    print_reproduction(done, terminal)
    answer(done.file, done)
    return _exit_code(done.failures)


@app.command()
@with_options(BenchConfig)
def bench(config: ConfigFile = None, **options: object) -> int:
    """Measure what each method costs on this machine.

    Times optimizer steps, the loader and a whole epoch.
    """
    settings, _ = resolve(BenchConfig, options, config)

    from drkd.report.speed import print_bench
    from drkd.studies import benchmarking

    found = benchmarking.bench(settings)
    print_bench(found, console())
    answer(settings.out, found)
    return 0


def _opening(settings: CompareConfig | TrainConfig | TuneConfig, source: Mapping[str, str], out: Path) -> list[str]:
    """What there is to say of a start that may not be what was meant."""
    new = settings.resume and not (out / "config.yaml").exists()
    photos = None if getattr(settings, "networks", None) else describe_start(settings.data, settings.model, source)
    return [*([f"{out} holds no run to resume: starting from scratch"] if new else []), *([photos] if photos else [])]


def _opened(waits: bool, opening: list[str], on_event: Listener) -> Listener:
    """Say the opening with the first event, or at once where that is long in coming."""
    if waits:
        return opened_with(opening, on_event)
    say("\n".join(opening))
    return on_event


def _exit_code(failures: Mapping[str, str]) -> int:
    """1 if trainings have no result, after a line for each of them."""
    for name, reason in failures.items():
        print(f"drkd: {printable(f'{name}: {reason}')}", file=sys.stderr)
    return 1 if failures else 0
