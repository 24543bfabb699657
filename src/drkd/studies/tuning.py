"""`tune`: which method, and which of its settings, do best on the validation split, within a stated budget.

Optuna proposes settings from what was found so far and ends a trial early whose validation accuracy is below the median
of the earlier ones at its epoch. Cross-entropy is trained first; it teaches every trial that needs a teacher. The test
split is measured at the end of each training, as always, and has no part in any choice.

study.log                  Optuna's journal, from which an interrupted study goes on
trainings/clean-labels/... run directories, as those of a comparison with one seed
tune.json                  what was found
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drkd.config import CompareConfig, TuneConfig, resolve
from drkd.methods.registry import SEARCH_SPACE, get_method
from drkd.runs.building import describe_weights
from drkd.runs.directory import inspect_run_dir, new_run_dir, opened
from drkd.runs.training import train
from drkd.studies.comparison import FROM_COMPARISON, Training, plan
from drkd.studies.jobs import Progress, silent
from drkd.studies.results import BASELINE, environment
from drkd.training.loop import Row
from drkd.utils.errors import InputError, NonFiniteLossError
from drkd.utils.files import write_json

if TYPE_CHECKING:
    from optuna import Trial

FIRST_EPOCHS, FIRST_TRIALS = 3, 4
"""No trial is ended before this epoch, nor before so many are through."""


@dataclass(frozen=True)
class Tuned:
    """What `tune` hands back.

    Attributes:
        best: the variant with the highest validation accuracy, such as `dr_kd:alpha=0.25:temperature=1.6`.
        results: the content of `tune.json`.
        out: the run directory.
    """

    best: str
    results: dict[str, Any]
    out: Path


def tune(*, config: str | Path | None = None, progress: Progress = silent, **options: Any) -> Tuned:
    """Search methods and settings on the validation split; see `drkd.config.TuneConfig` for the options.

    `progress` gets a variant's name and its new row; at its end its validation accuracy, None where it was ended early.
    A setting that is given, such as `alpha=0.5`, is not searched.

    Raises:
        InputError: for options that do not fit, without a validation split, or where Optuna is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = tune(methods=["label_smoothing"], trials=2, epochs=2, limit_train=60, out=f"{folder}/run")
        >>> found.best.partition("=")[0], len(found.results["trials"])
        ('label_smoothing:epsilon', 2)
    """
    settings, source = resolve(TuneConfig, options, config)
    return run(settings, source, Path(settings.out) if settings.out else new_run_dir("tune"), progress=progress)


def run(config: TuneConfig, source: dict[str, str], out: Path, *, progress: Progress) -> Tuned:
    """`tune` with its options resolved."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as reason:
        raise InputError("tuning needs Optuna; install drkd[tune]") from reason
    if config.validation == 0:
        raise InputError("tuning judges by the validation split; leave --validation 0 out")
    for method in config.methods:
        if not _searched(config, method):
            raise InputError(f"{method} has no setting left to search; those of {', '.join(SEARCH_SPACE)} are searched")
        describe_weights(_training(config, method, out).config)
    inspect_run_dir(out, config, finished="tune.json")  # more trials may be asked for than a finished one has
    with opened(out, config, source):
        base = _train(_training(config, BASELINE, out), progress)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(out / "study.log"))),
            study_name="drkd",
            load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=0),
            pruner=optuna.pruners.MedianPruner(FIRST_TRIALS, n_warmup_steps=FIRST_EPOCHS),
        )
    for cut in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # in a sitting that ended there
        study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut.params)

    def objective(trial: "Trial") -> float:
        variant = _variant(config, trial)
        trial.set_user_attr("variant", variant)

        def watch(row: Row) -> None:
            progress(variant, row)
            trial.report(row["val_accuracy"], int(row["epoch"]))
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            return _train(_training(config, variant, out), progress, watch)
        except NonFiniteLossError as diverged:
            trial.set_user_attr("failed", str(diverged))
            raise optuna.TrialPruned from diverged
        except optuna.TrialPruned:
            progress(variant, None)
            raise

    over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    left = config.trials - len(study.get_trials(states=over))
    if left > 0:
        study.optimize(objective, n_trials=left, timeout=None if config.hours is None else 3600 * config.hours)
    trials = [
        {
            "variant": trial.user_attrs["variant"],
            "val_accuracy": trial.value if trial.state is over[0] else None,
            "epochs": len(trial.intermediate_values),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            "failed": trial.user_attrs.get("failed"),
        }
        for trial in study.get_trials(states=over)
    ]
    through = [trial for trial in trials if trial["val_accuracy"] is not None]
    if not through:
        raise InputError(f"no trial was finished ({len(trials)} begun); give it more with --trials or --hours")
    best = max(through, key=lambda trial: trial["val_accuracy"])["variant"]
    results = {"baseline_val_accuracy": base, "best": best, "trials": trials, "environment": environment()}
    write_json(out / "tune.json", results)
    return Tuned(best, results, out)


def _train(training: Training, progress: Progress, watch: Callable[[Row], None] | None = None) -> float:
    """The validation accuracy that a training reaches at its chosen epoch."""
    name = training.method

    def after_epoch(_: str, row: Row) -> None:
        if watch is not None:
            watch(row)
        else:
            progress(name, row)

    resumed = training.config.model_copy(update={"resume": True})
    accuracy = float(train(resumed, FROM_COMPARISON, training.out, on_epoch=after_epoch)["val"]["accuracy"])
    progress(name, accuracy)
    return accuracy


def _variant(config: TuneConfig, trial: "Trial") -> str:
    """What `trial` is about, as `compare` takes it."""
    method = trial.suggest_categorical("method", config.methods)
    space = get_method(method).search_space
    settings = [
        f"{name}={trial.suggest_float(f'{method}.{name}', **asdict(space[name])):.3g}"
        for name in _searched(config, method)
    ]
    return ":".join([method, *settings])


def _searched(config: TuneConfig, method: str) -> list[str]:
    return [name for name in get_method(method).search_space if getattr(config, name, None) is None]


def _training(config: TuneConfig, variant: str, out: Path) -> Training:
    """As a comparison with one seed would plan it."""
    shared = {name: value for name, value in config.model_dump().items() if name in CompareConfig.model_fields}
    alone = {**shared, "methods": [variant], "label_noise": [config.label_noise], "seeds": 1}
    names = [BASELINE] if variant == BASELINE else [BASELINE, variant]
    return plan(CompareConfig(**alone), names, out)[-1]
