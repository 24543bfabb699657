"""The search itself: stage by stage, each with the best so far, its trials in rounds that run at once."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from drkd.config import TuneConfig
from drkd.runs.directory import method_dirname
from drkd.runs.estimating import Planned, announce, estimate_trainings
from drkd.runs.events import EpochDone, Estimate, Estimated, Event, OnEvent, RunDone, RunFailed, StartNoted
from drkd.runs.features import keep_features
from drkd.runs.summary import RunSummary
from drkd.runs.training import train
from drkd.studies.comparison import FROM_COMPARISON
from drkd.studies.found import Measured
from drkd.studies.given import Given
from drkd.studies.jobs import Job, Outcome
from drkd.studies.launchers import launch, process_count
from drkd.studies.planned import Training
from drkd.studies.proposals import BEGUN, Begun, History, Judge, Options, Trial, propose
from drkd.studies.results import BASELINE
from drkd.studies.search_trainings import load_for, training_of, why_refused
from drkd.studies.stages import RATES, augmentations, methods_space
from drkd.tasks import get_task
from drkd.utils.errors import NonFiniteLossError

ENDED_EARLY = "below the median of the earlier trials"
NOT_BEGUN = "time was up"
"""Why a trial has no result, beside divergence."""


@dataclass(frozen=True)
class TrialDone:
    """A trial is over; `val_score` is None where it was ended early or diverged, and `failed` says why it diverged."""

    variant: str
    val_score: float | None
    stage: str = "method"
    failed: str | None = None


@dataclass(frozen=True)
class NetworksMeasured:
    """Networks as exported files; those that do not fit the budget are left out."""

    fit: Sequence[Measured]
    left_out: Sequence[Measured]


TuneEvent = Estimated | EpochDone | TrialDone | NetworksMeasured

OnTrial = Callable[[TuneEvent], None]


@dataclass(frozen=True)
class Attempt:
    """What a process needs to try a setting.

    Attributes:
        training: of the trial; events call it by its method.
        over: the trials that it is judged by.
        begun: the file that records its progress.
        until: when no trial begins any more, in seconds since 1970.
    """

    training: Training
    over: Sequence[Trial]
    begun: Path
    until: float


class _EndedEarlyError(Exception):
    """A trial is below the median of the earlier ones."""


def attempt_trial(attempt: Attempt, on_event: OnEvent) -> Outcome:
    """The work of one job: a trial, from where an earlier session left it."""
    training = attempt.training
    training.objects.make_known()
    if time.time() >= attempt.until:
        return RunFailed(training.method, NOT_BEGUN)
    begun, judge = Begun.read(attempt.begun), Judge(attempt.over)
    known, last = len(begun.scores), time.monotonic()
    column = f"val_{get_task(training.config.task).primary}"

    def after_epoch(event: Event) -> None:
        nonlocal begun, last
        if isinstance(event, EpochDone) and event.row["epoch"] >= known:  # an earlier one is trained again
            now = time.monotonic()
            begun = begun.after(event.row[column], now - last)  # before the checkpoint: none is missed
            last = now
            if judge.report(begun.scores[-1]):
                raise _EndedEarlyError
        if not isinstance(event, StartNoted):
            on_event(event)

    try:
        if any(judge.report(accuracy) for accuracy in begun.scores):
            raise _EndedEarlyError
        resumed = training.config.model_copy(update={"resume": True})
        return train(resumed, FROM_COMPARISON, training.out, name=training.method, on_event=after_epoch, alone=False)
    except _EndedEarlyError:
        return RunFailed(training.method, ENDED_EARLY)


@dataclass
class Search:
    """A search for one network.

    Args:
        config: of the search.
        out: where its trials and trainings are written.
        history: the trials so far; it grows.
        on_trial: called with events.
        until: when no trial begins any more, in seconds since 1970.
        given: the Python objects among the options.

    Attributes:
        rates: cross-entropy's score by learning rate; None where it diverged.
        lr: the best of them.
        chosen: the options that were chosen beside it.
        recipe: cross-entropy's score with them.
        teacher: its training, which teaches every trial that needs a teacher.
    """

    config: TuneConfig
    out: Path
    history: History
    on_trial: OnTrial
    until: float = math.inf
    given: Given = field(default_factory=Given)

    def run(self) -> None:
        """Every stage, as far as the budget goes."""
        if self.config.launcher == "local":
            announce("tune", self._estimate, self._tell)
        self._train_baselines()
        if "average" in self.history.stages:
            self._choose("average", [{"average": "ema"}])
        if "augment" in self.history.stages:
            tried = augmentations(self.config, load_for(self.config, self.out))
            self._choose("augment", [each for each in tried if self._goes_with_methods(each)])
        if "method" in self.history.stages:
            self._try_methods()

    def _estimate(self) -> Estimate | None:
        """How long the baselines and all trials take, if methods come in turns and no trial ends early."""
        baseline = training_of(self.config, BASELINE, self.out)
        rates = len(RATES) if "lr" in self.history.stages else 1
        planned = [Planned(baseline.config, self.out / f"baseline-{number}") for number in range(rates)]
        methods = self.config.methods if "method" in self.history.stages else [BASELINE]
        for number in range(len(self.history.over), self.config.trials):
            training = training_of(self.config, methods[number % len(methods)], self.out)
            planned.append(Planned(training.config, self.out / f"trial-{number}"))
        return estimate_trainings(planned, processes=process_count(self.config, self.config.round))

    def _train_baselines(self) -> None:
        """Cross-entropy at every learning rate, or at the given one; no budget counts these."""
        searched = "lr" in self.history.stages
        rates = [f"{self.config.lr * factor:.3g}" for factor in RATES] if searched else [f"{self.config.lr:g}"]
        trials = [Trial(f"{BASELINE}:lr={rate}", stage="lr") for rate in rates]
        keep_features(training_of(self.config, BASELINE, self.out).config, self._training(trials[0]).out)
        done = self._try_all(trials, [], until=math.inf)
        self.rates = {rate: trial.val_score for rate, trial in zip(rates, done, strict=True)}
        known = {rate: accuracy for rate, accuracy in self.rates.items() if accuracy is not None}
        if not known:
            raise NonFiniteLossError(f"cross-entropy diverges at every learning rate from {rates[0]}; lower --lr")
        best = max(known, key=lambda rate: known[rate])
        self.lr, self.recipe = float(best), known[best]
        self.chosen: dict[str, str | float] = {}
        self.teacher = self._training(trials[rates.index(best)])

    def _choose(self, stage: str, options: Sequence[Options]) -> None:
        """Try options on cross-entropy at its best learning rate, and take the best where they are above the rest."""
        over = self.history.of(stage)
        waiting = options[len(over) :]
        trials = [Trial(f"{BASELINE}:lr={self.lr:.6g}", stage=stage, options={**self.chosen, **own}) for own in waiting]
        self._add(self._try_all(self._affordable(trials), [], until=self.until))
        for trial in self.history.of(stage):
            if trial.val_score is not None and trial.val_score > self.recipe:
                self.recipe, self.chosen = trial.val_score, dict(trial.options)
                self.teacher = self._training(trial)

    def _try_methods(self) -> None:
        """Rounds of trials, each proposed in knowledge of those before."""
        size = self.config.round
        space = methods_space(self.config, self.lr, searches_lr="lr" in self.history.stages)
        while len(self.history.over) < self.config.trials:
            over = self.history.of("method")
            done = len(over) % size  # of a round that an earlier session did not get through
            before = over[: len(over) - done]
            count = min(size, done + self.config.trials - len(self.history.over))  # the first ones do not depend on it
            proposed = [replace(trial, options=self.chosen) for trial in propose(before, space, count=count)[done:]]
            added = self._try_all(self._affordable(proposed), before, until=self.until)
            self._add(added)
            if len(added) < size - done:
                return

    def _goes_with_methods(self, options: Options) -> bool:
        """Whether every method that may be tried later can be trained with `options`."""
        methods = self.config.methods if "method" in self.history.stages else [BASELINE]
        return all(why_refused(self.config, method, self.out, options) is None for method in methods)

    def _affordable(self, trials: list[Trial]) -> list[Trial]:
        return trials[: max(0, self.config.trials - len(self.history.over))]

    def _add(self, trials: Sequence[Trial]) -> None:
        if trials:
            self.history = replace(self.history, over=[*self.history.over, *trials])
            self.history.write(self.out)

    def _try_all(self, trials: Sequence[Trial], over: Sequence[Trial], *, until: float) -> list[Trial]:
        """What became of `trials`, up to the first that the time was too short for.

        Args:
            trials: to be trained; one that is over already, or is here twice, is trained once.
            over: those that they are judged by.
            until: when none begins any more.
        """
        known = {trial.name: trial for trial in self.history.over if trial.stage == "method"}
        self.stages = {trial.name: trial.stage for trial in trials}
        files = {trial.name: self.out / BEGUN / f"{method_dirname(trial.name)}.json" for trial in trials}
        jobs = [
            Job(name, Attempt(self._training(next(t for t in trials if t.name == name)), over, file, until))
            for name, file in files.items()
            if name not in known
        ]
        outcomes = (
            launch(self.given.launched(self.config), jobs, attempt_trial, out=self.out, on_event=self._tell)
            if jobs
            else {}
        )
        done: list[Trial] = []
        for trial in trials:
            if trial.name in known:
                again = known[trial.name]
                last = (again.scores, 0.0, again.val_score, again.failed)
                done.append(replace(trial, scores=last[0], seconds=0.0, val_score=last[2], failed=last[3]))
                continue
            outcome = outcomes[trial.name]
            if isinstance(outcome, RunFailed) and outcome.reason == NOT_BEGUN:
                break
            begun = Begun.read(files[trial.name])
            accuracy, failed = _score(outcome, self.config.task), None
            if isinstance(outcome, RunFailed) and outcome.reason != ENDED_EARLY:
                failed = outcome.reason
            measured = replace(trial, scores=begun.scores, seconds=begun.seconds)
            done.append(replace(measured, val_score=accuracy, failed=failed))
        return done

    def _tell(self, event: Event) -> None:
        match event:
            case EpochDone() | Estimated():
                self.on_trial(event)
            case RunDone(run=name, summary=summary):
                self.on_trial(TrialDone(name, _score(summary, self.config.task), self.stages[name]))
            case RunFailed(run=name, reason=reason) if reason != NOT_BEGUN:
                why = None if reason == ENDED_EARLY else reason
                self.on_trial(TrialDone(name, None, self.stages[name], why))

    def _training(self, trial: Trial) -> Training:
        """Of a trial; who teaches itself is taught by the best of cross-entropy so far."""
        teacher = self.teacher if trial.stage == "method" else None
        return training_of(self.config, trial.variant, self.out, trial.options, name=trial.name, teacher=teacher)


def _score(outcome: Outcome, task: str) -> float | None:
    """What the task goes by, on validation."""
    return float(getattr(outcome.val, get_task(task).primary)) if isinstance(outcome, RunSummary) else None
