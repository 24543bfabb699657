"""`tune`: which method, at which settings and learning rate, does best on the validation split, within a stated budget.

Cross-entropy is trained first, at `BASELINE_RATES` times the learning rate given. The best of these networks is what
trials are compared with, and it teaches every trial that needs a teacher. Each trial then tries a method, its settings
and a learning rate within the same range. Optuna proposes them from the trials before, and ends a trial whose
validation accuracy falls below the median of the earlier ones at its epoch. The test split is measured at the end of
each training, as always, and has no part in any choice.

trials.json                the trials so far; an interrupted search resumes from it, with the trials it would have had
trainings/clean-labels/... run directories, as those of a comparison with one seed
tune.json                  what was found
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from drkd.config import CompareConfig, TuneConfig, resolve
from drkd.config.keywords import TuneKeywords
from drkd.methods.registry import get_method
from drkd.runs.building import describe_weights
from drkd.runs.directory import inspect_run_dir, new_run_dir, one_writer, opened_run_dir
from drkd.runs.estimating import Planned, announce, estimate_trainings
from drkd.runs.events import EpochDone, Estimated, Event, OnEvent
from drkd.runs.training import train
from drkd.studies.comparison import FROM_COMPARISON, Training, check_used, plan
from drkd.studies.proposals import History, Proposal, Trial
from drkd.studies.results import BASELINE
from drkd.training.trackers import check_trackers
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError, NonFiniteLossError
from drkd.utils.files import write_checked_json
from drkd.utils.machine import Environment, environment

if TYPE_CHECKING:
    import optuna

RATE_RANGE = 5.0
"""The learning rate is searched from the given one over this number to this number times it, on a logarithmic scale."""

BASELINE_RATES = (1 / RATE_RANGE, RATE_RANGE**-0.5, 1.0, RATE_RANGE**0.5, RATE_RANGE)
"""Times the given learning rate: what cross-entropy is trained at."""


@dataclass(frozen=True)
class TuneResults:
    """The content of `tune.json`.

    Attributes:
        baseline_lr, baseline_val_accuracy: the learning rate at which cross-entropy did best, and how well.
        baselines: validation accuracy of cross-entropy by learning rate; None where it diverged.
        best: the variant with the highest validation accuracy, such as `dr_kd:alpha=0.25:temperature=1.6:lr=0.05`.
        best_val_accuracy: its accuracy.
        trials: all that are over.
        environment: what they were measured with.
    """

    baseline_lr: float
    baseline_val_accuracy: float
    baselines: dict[str, float | None]
    best: str
    best_val_accuracy: float
    trials: list[Trial]
    environment: Environment

    @property
    def improves(self) -> bool:
        """Whether the best trial is above cross-entropy at its best learning rate."""
        return self.best_val_accuracy > self.baseline_val_accuracy


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


OnTrial = Callable[[Estimated | EpochDone | TrialDone], None]


def tune(
    *, config: str | Path | None = None, on_trial: OnTrial | None = None, **options: Unpack[TuneKeywords]
) -> Tuned:
    """Search methods and settings on the validation split; see `drkd.config.TuneConfig` for the options.

    A setting that is given, such as `alpha=0.5`, is not searched.

    Args:
        config: a YAML file of options.
        on_trial: called with `EpochDone` and `TrialDone`; the run of an event is the trial's variant. First comes
            `Estimated`, as if no trial ended early.
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
    check_arguments(tune, {"config": config, "on_trial": on_trial})
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
        import optuna  # noqa: F401  # refused before anything is trained
    except ImportError as reason:
        raise InputError("tuning needs Optuna; install drkd[tune]") from reason
    if config.validation == 0:
        raise InputError("tuning judges by the validation split; leave --validation 0 out")
    if BASELINE in config.methods:
        raise InputError(
            f"--methods names {BASELINE}, which is always trained, at several learning rates; leave it out"
        )
    check_trackers(config.log)
    trainings = [_training(config, method, out, None) for method in config.methods]
    for training in trainings:
        describe_weights(training.config)
    check_used(config, source, trainings)
    history = History.read(out)
    with opened_run_dir(out, config, source):
        if on_trial is not _ignore:
            _announce(config, trainings, config.trials - len(history.over), on_trial)
        rates, teacher = _train_baselines(config, out, on_trial)
    lr = teacher.config.lr
    until = None if config.hours is None else time.monotonic() + 3600 * config.hours
    while len(history.over) < config.trials and (until is None or time.monotonic() < until):
        history = _try_next(config, history, teacher, out, on_trial)
    finished = [trial for trial in history.over if trial.val_accuracy is not None]
    if not finished:
        raise InputError(f"no trial was finished ({len(history.over)} begun); give it more with --trials or --hours")
    best = max(finished, key=lambda trial: trial.val_accuracy or 0.0)  # of equals the first
    baseline = max(accuracy for accuracy in rates.values() if accuracy is not None)
    results = TuneResults(lr, baseline, rates, best.variant, best.val_accuracy or 0.0, history.over, environment())
    write_checked_json(out / "tune.json", asdict(results))
    return Tuned(best.variant, results, out)


def _announce(config: TuneConfig, trainings: Sequence[Training], trials: int, on_trial: OnTrial) -> None:
    """Tell how long the baselines and so many trials take, if methods come in turns and no trial ends early."""
    baseline = _training(config, BASELINE, trainings[0].out, None).config
    planned = [Planned(baseline, trainings[0].out / f"baseline-{number}") for number in range(len(BASELINE_RATES))]
    for number in range(trials):
        training = trainings[number % len(trainings)]
        planned.append(Planned(training.config, training.out / f"trial-{number}"))

    def on_event(event: Event) -> None:
        if isinstance(event, Estimated):
            on_trial(event)

    announce("tune", lambda: estimate_trainings(planned, processes=1), on_event)


def _train_baselines(config: TuneConfig, out: Path, on_trial: OnTrial) -> tuple[dict[str, float | None], Training]:
    """Cross-entropy's validation accuracy by learning rate, and the training that did best."""
    found: dict[str, float | None] = {}
    best: tuple[float, Training] | None = None
    for factor in BASELINE_RATES:
        rate = f"{config.lr * factor:.3g}"
        training = _training(config, f"{BASELINE}:lr={rate}", out, None)
        try:
            found[rate] = accuracy = _train(training, on_trial)
        except NonFiniteLossError:
            found[rate] = None
            on_trial(TrialDone(training.method, None))
            continue
        if best is None or accuracy > best[0]:
            best = accuracy, training
    if best is None:
        raise NonFiniteLossError(f"cross-entropy diverges at every learning rate from {min(found)}; lower --lr")
    return found, best[1]


def _try_next(config: TuneConfig, history: History, teacher: Training, out: Path, on_trial: OnTrial) -> History:
    """The history with one more trial, which is resumed where an earlier session had begun it."""
    proposal = Proposal(history.over, lambda trial: _variant(config, trial))
    variant = proposal.trial.variant
    begun = [trial for trial in (*history.over, history.running) if trial is not None and trial.variant == variant]
    known = begun[-1] if begun else None
    count = len(known.accuracies) if known is not None else 0
    spent = known.seconds / count if known is not None and known is history.running and count else 0.0
    last = time.monotonic()

    def judge(event: EpochDone) -> None:
        nonlocal last
        now = time.monotonic()
        if event.row["epoch"] >= count:  # an epoch may be trained again whose accuracy is known
            ends = proposal.report(event.row["val_accuracy"], now - last)
            History(history.over, proposal.trial).write(out)  # before the checkpoint: resuming misses no epoch
            if ends:
                raise _EndedEarlyError
        last = now
        on_trial(event)

    outcome: float | None = None
    failed: str | None = None
    try:
        if known is not None and any(proposal.report(accuracy, spent) for accuracy in known.accuracies):
            raise _EndedEarlyError
        outcome = _train(_training(config, variant, out, teacher), on_trial, judge)
    except _EndedEarlyError:
        on_trial(TrialDone(variant, None))
    except NonFiniteLossError as diverged:
        failed = str(diverged)
        on_trial(TrialDone(variant, None))
    over = replace(proposal.trial, val_accuracy=outcome, failed=failed)
    history = History([*history.over, over])
    history.write(out)
    return history


class _EndedEarlyError(Exception):
    """A trial is below the median of the earlier ones."""


def _train(training: Training, on_trial: OnTrial, judge: Callable[[EpochDone], None] | None = None) -> float:
    """The validation accuracy that a training reaches at its selected epoch."""

    def after_epoch(event: Event) -> None:
        if isinstance(event, EpochDone):
            (judge or on_trial)(event)

    on_event: OnEvent = after_epoch
    resumed = training.config.model_copy(update={"resume": True})
    summary = train(resumed, FROM_COMPARISON, training.out, name=training.method, on_event=on_event, alone=False)
    accuracy = float(getattr(summary.val, "accuracy"))  # noqa: B009  # of a classifier: tuning knows no other task
    on_trial(TrialDone(training.method, accuracy))
    return accuracy


def _variant(config: TuneConfig, trial: "optuna.trial.BaseTrial") -> str:
    """What `trial` is about, as `compare` takes it."""
    method = str(trial.suggest_categorical("method", config.methods))
    space = get_method(method).search_space
    settings = [
        f"{name}={trial.suggest_float(f'{method}.{name}', **asdict(space[name])):.3g}"
        for name in space
        if getattr(config, name, None) is None
    ]
    rate = trial.suggest_float(f"{method}.lr", config.lr / RATE_RANGE, config.lr * RATE_RANGE, log=True)
    return ":".join([method, *settings, f"lr={rate:.3g}"])


def _training(config: TuneConfig, variant: str, out: Path, teacher: Training | None) -> Training:
    """As a comparison with one seed would plan it, with the network of `teacher` where it teaches itself."""
    shared = {name: value for name, value in config.model_dump().items() if name in CompareConfig.model_fields}
    alone = CompareConfig.model_validate(
        {**shared, "methods": [variant], "label_noise": [config.label_noise], "seeds": 1}
    )
    planned = plan(alone, [BASELINE, variant], out)[-1]
    if teacher is None or planned.taught_by is None:
        return planned
    return replace(planned, config=planned.config.model_copy(update={"teacher": str(teacher.out)}))


def _ignore(event: Estimated | EpochDone | TrialDone) -> None:
    """What is done with events where nobody asked for them."""
