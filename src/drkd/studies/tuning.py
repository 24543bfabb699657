"""`tune`: which method, and which of its settings, do best on the validation split, within a stated budget.

Optuna proposes settings from what was found so far and ends a trial early whose validation accuracy is below the median
of the earlier ones at its epoch. Cross-entropy is trained first; it teaches every trial that needs a teacher. The test
split is measured at the end of each training, as always, and has no part in any choice.

study.log                  Optuna's journal, from which an interrupted study is resumed
trainings/clean-labels/... run directories, as those of a comparison with one seed
tune.json                  what was found
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from drkd.config import CompareConfig, TuneConfig, resolve
from drkd.config.keywords import TuneKeywords
from drkd.methods.registry import SEARCH_SPACE, get_method
from drkd.runs.building import describe_weights
from drkd.runs.directory import inspect_run_dir, new_run_dir, one_writer, opened_run_dir
from drkd.runs.events import EpochDone, Event, OnEvent
from drkd.runs.training import train
from drkd.studies.comparison import FROM_COMPARISON, Training, plan
from drkd.studies.results import BASELINE
from drkd.utils.errors import InputError, NonFiniteLossError
from drkd.utils.files import write_json
from drkd.utils.machine import Environment, environment

if TYPE_CHECKING:
    import optuna
    from optuna.study import Study

FIRST_EPOCHS, FIRST_TRIALS = 3, 4
"""No trial is ended before this epoch, nor before so many are through."""


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        variant: the method and its settings, as `compare` takes them.
        val_accuracy: that it reached; None where it was ended early.
        epochs, seconds: how long it was trained.
        failed: why, where it diverged.
    """

    variant: str
    val_accuracy: float | None
    epochs: int
    seconds: float | None
    failed: str | None


@dataclass(frozen=True)
class TuneResults:
    """The content of `tune.json`.

    Attributes:
        baseline_val_accuracy: of cross-entropy.
        best: the variant with the highest validation accuracy, such as `dr_kd:alpha=0.25:temperature=1.6`.
        trials: all that are over.
        environment: what they were measured with.
    """

    baseline_val_accuracy: float
    best: str
    trials: list[Trial]
    environment: Environment


@dataclass(frozen=True)
class Tuned:
    """What `tune` returns.

    Attributes:
        best: see `TuneResults`.
        results: what is also in `tune.json`.
        out: the run directory.
    """

    best: str
    results: TuneResults
    out: Path


@dataclass(frozen=True)
class TrialDone:
    """A trial is over; `val_accuracy` is None where it was ended early."""

    variant: str
    val_accuracy: float | None


OnTrial = Callable[[EpochDone | TrialDone], None]


def tune(
    *, config: str | Path | None = None, on_trial: OnTrial | None = None, **options: Unpack[TuneKeywords]
) -> Tuned:
    """Search methods and settings on the validation split; see `drkd.config.TuneConfig` for the options.

    A setting that is given, such as `alpha=0.5`, is not searched.

    Args:
        config: a YAML file of options.
        on_trial: called with `EpochDone` and `TrialDone`; the run of an event is the trial's variant.
        options: as on the command line.

    Raises:
        InputError: for options that do not fit, without a validation split, or where Optuna is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = tune(methods=["label_smoothing"], trials=2, epochs=2, limit_train=60, out=f"{folder}/run")
        >>> found.best.partition("=")[0], len(found.results.trials)
        ('label_smoothing:epsilon', 2)
    """
    settings, source = resolve(TuneConfig, options, config)
    out = Path(settings.out) if settings.out else new_run_dir("tune")
    return run(settings, source, out, on_trial=on_trial or _ignore)


def run(config: TuneConfig, source: Mapping[str, str], out: Path, *, on_trial: OnTrial) -> Tuned:
    """`tune` with its options resolved."""
    inspect_run_dir(out, config, finished="tune.json")  # more trials may be asked for than a finished one has
    with one_writer(out):
        return _run(config, source, out, on_trial)


def _run(config: TuneConfig, source: Mapping[str, str], out: Path, on_trial: OnTrial) -> Tuned:
    """`run` where no other process writes."""
    try:
        import optuna
    except ImportError as reason:
        raise InputError("tuning needs Optuna; install drkd[tune]") from reason
    if config.validation == 0:
        raise InputError("tuning judges by the validation split; leave --validation 0 out")
    for method in config.methods:
        if not _searched(config, method):
            raise InputError(f"{method} has no setting left to search; those of {', '.join(SEARCH_SPACE)} are searched")
        describe_weights(_training(config, method, out).config)
    with opened_run_dir(out, config, source):
        base = _train(_training(config, BASELINE, out), on_trial)
    study = _open_study(out)

    def objective(trial: "optuna.Trial") -> float:
        variant = _variant(config, trial)
        trial.set_user_attr("variant", variant)

        def judge(event: EpochDone) -> None:
            on_trial(event)
            trial.report(event.row["val_accuracy"], int(event.row["epoch"]))
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            return _train(_training(config, variant, out), on_trial, judge)
        except NonFiniteLossError as diverged:
            trial.set_user_attr("failed", str(diverged))
            raise optuna.TrialPruned from diverged
        except optuna.TrialPruned:
            on_trial(TrialDone(variant, None))
            raise

    over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    left = config.trials - len(study.get_trials(states=over))
    if left > 0:
        study.optimize(objective, n_trials=left, timeout=None if config.hours is None else 3600 * config.hours)
    trials = [
        Trial(
            variant=trial.user_attrs["variant"],
            val_accuracy=trial.value if trial.state is over[0] else None,
            epochs=len(trial.intermediate_values),
            seconds=trial.duration.total_seconds() if trial.duration else None,
            failed=trial.user_attrs.get("failed"),
        )
        for trial in study.get_trials(states=over)
    ]
    ranked = sorted(
        (-trial.val_accuracy, number) for number, trial in enumerate(trials) if trial.val_accuracy is not None
    )
    if not ranked:
        raise InputError(f"no trial was finished ({len(trials)} begun); give it more with --trials or --hours")
    best = trials[ranked[0][1]].variant
    results = TuneResults(base, best, trials, environment())
    write_json(out / "tune.json", asdict(results))
    return Tuned(best, results, out)


def _open_study(out: Path) -> "Study":
    """Optuna's study in `out`, new or as it was left; trials that were cut short are tried again."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

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
    for cut in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut.params)
    return study


def _train(training: Training, on_trial: OnTrial, judge: Callable[[EpochDone], None] | None = None) -> float:
    """The validation accuracy that a training reaches at its selected epoch."""

    def after_epoch(event: Event) -> None:
        if isinstance(event, EpochDone):
            (judge or on_trial)(event)

    on_event: OnEvent = after_epoch
    resumed = training.config.model_copy(update={"resume": True})
    summary = train(resumed, FROM_COMPARISON, training.out, name=training.method, on_event=on_event)
    accuracy = float(getattr(summary.val, "accuracy"))  # noqa: B009  # of a classifier: tuning knows no other task
    on_trial(TrialDone(training.method, accuracy))
    return accuracy


def _variant(config: TuneConfig, trial: "optuna.Trial") -> str:
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
    alone = CompareConfig.model_validate(
        {**shared, "methods": [variant], "label_noise": [config.label_noise], "seeds": 1}
    )
    names = [BASELINE] if variant == BASELINE else [BASELINE, variant]
    return plan(alone, names, out)[-1]


def _ignore(event: EpochDone | TrialDone) -> None:
    """What is done with events where nobody asked for them."""
