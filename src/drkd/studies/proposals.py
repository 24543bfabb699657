"""What a search tries next. A proposal depends on the trials before it and on their number, and on nothing else.

Optuna's study is made anew for every round of trials from those that are over, with a sampler whose seed is their
number. So a search gives the same trials in one session and in many, on one processor and on many.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_checked_json
from drkd.utils.text import counted

if TYPE_CHECKING:
    import optuna

FILE = "trials.json"

BEGUN = "begun"
"""The folder of the trials that are not in `FILE` yet."""

FIRST_EPOCHS, FIRST_TRIALS = 3, 4
"""No trial ends before this epoch, nor before this many trials have finished."""

Options = Mapping[str, str | float]
"""Options of a training by name; or the parameters of a trial as the sampler gave them, by its names."""

Space = Callable[["optuna.trial.BaseTrial"], str]
"""Asks a trial for its parameters, and names the variant that they make."""


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        variant: the method and its settings, as `compare` takes them.
        proposed: the same before rounding, by the search's own names; empty where they were not proposed by Optuna.
        scores: on the validation split by epoch, in the metric that the task goes by.
        seconds: training time, over all sessions.
        val_score: of the selected epoch; None where the trial ended early.
        failed: why, where it diverged.
        stage: of the search: `average`, `augment` or `method`.
        options: of the training, beside those of the search's configuration.
    """

    variant: str
    proposed: Options = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    val_score: float | None = None
    failed: str | None = None
    stage: str = "method"
    options: Options = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What events and folders call it: the options of methods' trials are those that were chosen before."""
        own = [] if self.stage == "method" else [f"{name}={value}" for name, value in self.options.items()]
        return ":".join([self.variant, *own])


def count_trials(trials: Sequence[Trial]) -> str:
    """How many there are, and how many of them have no result.

    Example:
        >>> count_trials([Trial("dr_kd", val_score=0.5), Trial("ps_kd"), Trial("kd", failed="its loss is not finite")])
        '3 trials (1 ended early, 1 failed)'
    """
    failed = sum(trial.failed is not None for trial in trials)
    ended = sum(trial.val_score is None for trial in trials) - failed
    without = [f"{number} {how}" for number, how in ((ended, "ended early"), (failed, "failed")) if number]
    return counted(len(trials), "trial") + (f" ({', '.join(without)})" if without else "")


@dataclass(frozen=True)
class History:
    """The content of `trials.json`.

    Attributes:
        stages: what is searched.
        over: the trials that are over, in their order.
    """

    stages: list[str]
    over: list[Trial] = field(default_factory=list)

    @classmethod
    def read(cls, out: Path, *, stages: Sequence[str]) -> "History":
        """The history in `out`, or an empty one of `stages`.

        Raises:
            InputError: for a damaged file.
        """
        file = out / FILE
        if not file.exists():
            return cls([*stages])
        content = read_json(file, needs=("stages", "over"))
        if '"accuracies"' in json.dumps(content["over"]):
            raise InputError(f"{file} is from an earlier drkd; start a new search in another --out")
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as reason:
            first = reason.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(
                f"{file} is damaged: {where}: {first['msg']}; start a new search in another --out"
            ) from reason

    def write(self, out: Path) -> None:
        """Replace `trials.json` in `out`; what was kept of trials that had begun is not needed any more."""
        write_checked_json(out / FILE, asdict(self))
        shutil.rmtree(out / BEGUN, ignore_errors=True)

    def of(self, stage: str) -> list[Trial]:
        """Its trials of a stage."""
        return [trial for trial in self.over if trial.stage == stage]


def propose(over: Sequence[Trial], space: Space, *, count: int) -> list[Trial]:
    """The next trials, each proposed in knowledge of `over` and of where the others look.

    Args:
        over: those before them.
        space: what is searched.
        count: how many.

    Raises:
        InputError: where `over` is not of this space.
    """
    study = _study(over, space)
    asked = [study.ask() for _ in range(count)]
    return [Trial(space(trial), dict(trial.params)) for trial in asked]


class Judge:
    """Says when a trial should end: below the median of the earlier ones at its epoch.

    Args:
        over: the earlier ones; those that run at the same time have no part in it.
    """

    def __init__(self, over: Sequence[Trial]) -> None:
        self._trial = _study(over, None).ask()
        self._epochs = 0

    def report(self, score: float) -> bool:
        """Take the score of the next epoch; whether the trial should end here."""
        self._trial.report(score, self._epochs)
        self._epochs += 1
        return self._trial.should_prune()


def _study(over: Sequence[Trial], space: Space | None) -> "optuna.Study":
    """A study in memory that knows the trials in `over`, their parameters only with a space."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=len(over), constant_liar=True),
        pruner=optuna.pruners.MedianPruner(FIRST_TRIALS, n_warmup_steps=FIRST_EPOCHS),
    )
    states = optuna.trial.TrialState
    for trial in over:
        asked = optuna.trial.FixedTrial(dict(trial.proposed))
        try:
            if space is not None:
                space(asked)
            known = optuna.trial.create_trial(
                state=states.PRUNED if trial.val_score is None else states.COMPLETE,
                value=trial.val_score,
                params={} if space is None else dict(trial.proposed),
                distributions=asked.distributions,
                intermediate_values=dict(enumerate(trial.scores)),
            )
        except (TypeError, ValueError) as reason:  # Optuna's errors for parameters that nobody proposed
            raise InputError(f"{FILE} is damaged: {reason}; start a new search in another --out") from reason
        study.add_trial(known)
    return study


@dataclass(frozen=True)
class Begun:
    """How far a trial is: a file that its process writes, and the one that searches reads.

    Attributes:
        file: the file.
        scores, seconds: as those of a `Trial`.
    """

    file: Path
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def read(cls, file: Path) -> "Begun":
        """What `file` says, or a trial without an epoch.

        Raises:
            InputError: for a damaged file.
        """
        if not file.exists():
            return cls(file)
        content = read_json(file, needs=("scores", "seconds"))
        return cls(file, [float(each) for each in content["scores"]], float(content["seconds"]))

    def after(self, score: float, seconds: float) -> "Begun":
        """The same an epoch later, written."""
        later = replace(self, scores=[*self.scores, score], seconds=self.seconds + seconds)
        self.file.parent.mkdir(exist_ok=True)
        write_checked_json(self.file, {"scores": later.scores, "seconds": later.seconds})
        return later
