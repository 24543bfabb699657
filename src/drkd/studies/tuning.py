"""`tune`: which settings, which method and which network do best on the validation split, within a stated budget.

What usually gains most is searched first, each with the best so far: the learning rate, averaged weights,
augmentation, then the method and its settings (`drkd.studies.stages`). Cross-entropy is trained at several learning
rates; the best of its networks is what methods are compared with, and it teaches every trial that needs a teacher.
Optuna proposes methods and settings from the trials before, and ends a trial whose validation score falls below the
median of the earlier ones at its epoch. The test split is measured at the end of each training, as always, and has no
part in any choice.

trials.json                the trials so far; an interrupted search resumes from it, with the trials it would have had
trainings/clean-labels/... run directories, as those of a comparison with one seed
tune.json                  what was found
networks.json              with `--networks` their times and sizes as exported files
networks/NAME/...          and trials and trainings of each of them
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

from pydantic import TypeAdapter

from drkd.config import TuneConfig, resolve, was_given
from drkd.config.keywords import TuneKeywords
from drkd.runs.building import check_fine_tuning, describe_weights
from drkd.runs.directory import inspect_run_dir, new_run_dir, one_writer, opened_run_dir
from drkd.runs.events import EpochDone, Estimated
from drkd.runs.precision import asks_teacher, is_open, read_choice, refuse_open_precision, settle_precision
from drkd.runs.summary import RunSummary
from drkd.studies.budgets import affordable, measure_chosen, measure_networks, network_dirname, of_network
from drkd.studies.comparison import check_used
from drkd.studies.found import Measured, NetworkResults, TuneResults, best_of_methods, pareto_front
from drkd.studies.given import Given, name_objects
from drkd.studies.launchers import process_count
from drkd.studies.proposals import History
from drkd.studies.results import BASELINE
from drkd.studies.search_trainings import training_of
from drkd.studies.searching import NetworksMeasured, OnTrial, Search, TrialDone, TuneEvent
from drkd.studies.showing import ShownTrials
from drkd.studies.stages import stages_of
from drkd.tasks import get_task
from drkd.training.trackers import check_trackers
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError, ParityError
from drkd.utils.files import read_json, write_checked_json
from drkd.utils.machine import environment, processor_name

FILE, NETWORKS = "tune.json", "networks.json"


@dataclass(frozen=True, repr=False)
class Tuned(ShownTrials):
    """What `tune` returns. It shows itself in a notebook.

    Attributes:
        best: see `TuneResults`.
        results: of the only network, or of the best one.
        out: the run directory.
        networks: what was found of each network; None without `networks`.
    """

    best: str
    results: TuneResults
    out: Path
    networks: NetworkResults | None = None


def tune(
    *, config: str | Path | None = None, on_trial: OnTrial | None = None, **options: Unpack[TuneKeywords]
) -> Tuned:
    """Search settings, methods and networks on the validation split; see `drkd.config.TuneConfig` for the options.

    Settings you pass, such as `alpha=0.5` or `average="ema"`, are not searched; the learning rate is searched around
    `lr`.

    Args:
        config: a YAML file of options.
        on_trial: called with `EpochDone` and `TrialDone`; the run of an event is the trial's name. First comes
            `Estimated`, as if no trial stopped early; with `networks`, one for each.
        options: as on the command line. `data`, `model` and `methods` may be Python objects, as for `drkd.compare`.

    Raises:
        InputError: for invalid options, without a validation split, or without Optuna.

    Example:
        >>> import tempfile
        >>> small = {"trials": 2, "epochs": 2, "limit_train": 60, "jobs": 1}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = tune(methods=["label_smoothing"], search=["method"], **small, out=f"{folder}/run")
        >>> [trial.variant.partition("=")[0] for trial in found.results.trials]
        ['label_smoothing:epsilon', 'label_smoothing:epsilon']
    """
    check_arguments(tune, {"config": config, "on_trial": on_trial})
    given = name_objects(options, config)
    settings, source = resolve(TuneConfig, given.options, config)
    out = Path(settings.out) if settings.out else new_run_dir("tune")
    return run(settings, source, out, on_trial=on_trial or _ignore, given=given)


def run(
    config: TuneConfig, source: Mapping[str, str], out: Path, *, on_trial: OnTrial, given: Given | None = None
) -> Tuned:
    """`tune` with its options resolved; `given` are the Python objects among them."""
    inspect_run_dir(out, config, finished=FILE)  # more trials may be asked for than a finished one has
    given = given or Given()
    with one_writer(out):
        given.check(out)
        stages = check_search(config, source, out)
        until = math.inf if config.hours is None else time.time() + 3600 * config.hours
        if config.networks is None:
            with opened_run_dir(out, config, source):
                given.write(out)
                results = _search(Search(config, out, History.read(out, stages=stages), on_trial, until, given))
            write_checked_json(out / FILE, asdict(results))
            return Tuned(results.best, results, out)
        networks = _search_networks(config, source, out, stages, on_trial, until, given)
        write_checked_json(out / FILE, asdict(networks))
        results = networks.searches[networks.chosen]
        return Tuned(results.best, results, out, networks)


def check_search(config: TuneConfig, source: Mapping[str, str], out: Path) -> list[str]:
    """What is searched, if all of this goes together.

    Raises:
        InputError: where it does not, or Optuna is not installed.
    """
    try:
        import optuna  # noqa: F401  # refused before anything is trained
    except ImportError as reason:
        raise InputError("tuning needs Optuna; install drkd[tune]") from reason
    if config.validation == 0:
        raise InputError("tuning needs the validation split; leave --validation 0 out")
    if BASELINE in config.methods:
        raise InputError(
            f"--methods names {BASELINE}, which is always trained, at several learning rates; leave it out"
        )
    for option in ("model", "weights"):
        if config.networks is not None and was_given(config, source, option):
            instead = "name it there" if option == "model" else "choose --pretrained"
            raise InputError(f"--{option} has no effect with --networks; leave it out, or {instead}")
    check_trackers(config.log)
    refuse_open_precision(config)
    stages = stages_of(config, source)
    trainings = [training_of(config, method, out) for method in (config.methods if "method" in stages else [BASELINE])]
    for training in trainings:
        for network in config.networks or [config.model]:
            describe_weights(training.config.model_copy(update={"model": network}))
        check_fine_tuning(training.config)
    check_used(config, source, trainings)
    return stages


def _search(search: Search) -> TuneResults:
    """What a search for one network finds."""
    search.config = config = _with_precision(search.config, search.out)
    out = search.out
    search.run()
    search.history.write(out)
    best = best_of_methods(search.history.over)
    if best is None or best.val_score is None or best.val_score <= search.recipe:
        variant, score, folder = f"{BASELINE}:lr={search.lr:.6g}", search.recipe, search.teacher.out
    else:
        variant, score = best.variant, best.val_score
        folder = training_of(config, variant, out, best.options, name=best.name).out
    return TuneResults(
        baseline_lr=search.lr,
        baseline_val_score=max(known for known in search.rates.values() if known is not None),
        baselines=search.rates,
        best=variant,
        best_val_score=score,
        trials=search.history.over,
        environment=environment(),
        options=search.chosen,
        recipe_val_score=search.recipe,
        best_test_score=float(getattr(RunSummary.read(folder).test, get_task(config.task).primary)),
        best_run=str(folder.relative_to(out)),
        task=config.task,
    )


def chosen_config(config: TuneConfig, found: Tuned) -> TuneConfig:
    """The options of a search with the precision that it chose, if it was to choose one."""
    where = found.out if found.networks is None else folder_of(found.out, found.networks.chosen)
    return read_choice(where).applied(config) if is_open(config) else config


def _with_precision(config: TuneConfig, out: Path) -> TuneConfig:
    """The search with the precision of all of its trainings, for one network."""
    if not is_open(config):
        return config
    threads = 1 if process_count(config, config.round) > 1 else config.threads
    taught = any(asks_teacher(method) for method in config.methods)
    return settle_precision(config, out, training_of(config, BASELINE, out).config, taught=taught, threads=threads)


def _search_networks(
    config: TuneConfig,
    source: Mapping[str, str],
    out: Path,
    stages: list[str],
    on_trial: OnTrial,
    until: float,
    given: Given,
) -> NetworkResults:
    """The best of several networks within a budget, each with its share of the trials and of the time."""
    kept = out / NETWORKS
    if kept.exists():  # a session measures what the first one did, or other networks might be left out
        measured = TypeAdapter(list[Measured]).validate_python(read_json(kept, needs=("measured",))["measured"])
    else:
        measured = measure_networks(config, out)
    fit = affordable(config, measured)
    with opened_run_dir(out, config, source):
        given.write(out)
        write_checked_json(kept, {"measured": [asdict(each) for each in measured]})
        on_trial(NetworksMeasured(fit, [each for each in measured if each not in fit]))
        searches: dict[str, TuneResults] = {}
        for number, (network, left) in enumerate(zip(fit, range(len(fit), 0, -1), strict=True)):
            share = config.trials // len(fit) + (number < config.trials % len(fit))
            own = of_network(config, network.network).model_copy(update={"trials": share})
            now = time.time()
            folder = folder_of(out, network.network)
            folder.mkdir(parents=True, exist_ok=True)
            tell = partial(_tell_of, network.network, on_trial)
            searches[network.network] = _search(
                Search(own, folder, History.read(folder, stages=stages), tell, now + (until - now) / left, given)
            )
    scores = [searches[each.network].best_val_score for each in fit]
    front = pareto_front([each.ms for each in fit], scores)
    chosen = fit[front[-1]].network
    exported, problem = None, ""
    try:
        run = folder_of(out, chosen) / searches[chosen].best_run
        exported = measure_chosen(config, chosen, run, out)
    except ParityError as reason:
        problem = str(reason)
    return NetworkResults(
        measured=measured,
        max_ms=config.max_ms,
        max_mb=config.max_mb,
        threads=config.latency_threads,
        searches=searches,
        chosen=chosen,
        front=[fit[each].network for each in front],
        exported=exported,
        environment={**environment(), "processor": processor_name()},
        problem=problem,
    )


def folder_of(out: Path, network: str) -> Path:
    """Where the search for one network of several is written."""
    return out / "networks" / network_dirname(network)


def _tell_of(network: str, on_trial: OnTrial, event: TuneEvent) -> None:
    """An event of the search for one network, whose trials have the names of others."""
    match event:
        case Estimated():
            on_trial(replace(event, run=network))
        case EpochDone(run=name):
            on_trial(replace(event, run=f"{network}, {name}"))
        case TrialDone(variant=name):
            on_trial(replace(event, variant=f"{network}, {name}"))


def _ignore(event: TuneEvent) -> None:
    """What is done with events where nobody asked for them."""
