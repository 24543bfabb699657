"""What a search tries next. A proposal depends on the trials before it and on their number, and on nothing else.

Optuna's study is made anew for every trial from the trials that are over, with a sampler whose seed is their number.
So a search gives the same trials in one session and in many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_checked_json

if TYPE_CHECKING:
    import optuna

FILE = "trials.json"

FIRST_EPOCHS, FIRST_TRIALS = 3, 4
"""No trial ends before this epoch, nor before so many have finished."""

Proposed = Mapping[str, str | float]
"""The parameters of a trial as the sampler gave them, by name."""

Space = Callable[["optuna.trial.BaseTrial"], str]
"""Asks a trial for its parameters, and names the variant that they make."""


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        variant: the method and its settings, as `compare` takes them.
        proposed: the same before rounding, by the search's own names.
        accuracies: on the validation split, by epoch.
        seconds: training time, over all sessions.
        val_accuracy: of the selected epoch; None where the trial ended early.
        failed: why, where it diverged.
    """

    variant: str
    proposed: Proposed
    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    val_accuracy: float | None = None
    failed: str | None = None


@dataclass(frozen=True)
class History:
    """The content of `trials.json`: the trials that are over, and the one that is running."""

    over: list[Trial]
    running: Trial | None = None

    @classmethod
    def read(cls, out: Path) -> "History":
        """The history in `out`, or an empty one.

        Raises:
            InputError: for a damaged file.
        """
        file = out / FILE
        if not file.exists():
            return cls([])
        content = read_json(file, needs=("over",))
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as reason:
            first = reason.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{file} is damaged: {where}: {first['msg']}; search anew in another --out") from reason

    def write(self, out: Path) -> None:
        """Replace `trials.json` in `out`."""
        write_checked_json(out / FILE, asdict(self))


class Proposal:
    """A trial that runs.

    Args:
        over: the trials before it.
        space: what is searched.
    """

    def __init__(self, over: Sequence[Trial], space: Space) -> None:
        self._trial = _study(over, space).ask()
        self.trial = Trial(space(self._trial), dict(self._trial.params))

    def report(self, accuracy: float, seconds: float) -> bool:
        """Add the accuracy of the next epoch, and the time it took; whether the trial should end here."""
        accuracies = [*self.trial.accuracies, accuracy]
        self.trial = replace(self.trial, accuracies=accuracies, seconds=self.trial.seconds + seconds)
        self._trial.report(accuracy, len(accuracies) - 1)
        return self._trial.should_prune()


def _study(over: Sequence[Trial], space: Space) -> "optuna.Study":
    """A study in memory that knows the trials in `over`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=len(over)),
        pruner=optuna.pruners.MedianPruner(FIRST_TRIALS, n_warmup_steps=FIRST_EPOCHS),
    )
    states = optuna.trial.TrialState
    for trial in over:
        asked = optuna.trial.FixedTrial(dict(trial.proposed))
        try:
            space(asked)
            known = optuna.trial.create_trial(
                state=states.PRUNED if trial.val_accuracy is None else states.COMPLETE,
                value=trial.val_accuracy,
                params=dict(trial.proposed),
                distributions=asked.distributions,
                intermediate_values=dict(enumerate(trial.accuracies)),
            )
        except (TypeError, ValueError) as reason:  # what Optuna says of parameters that nobody proposed
            raise InputError(f"{FILE} is damaged: {reason}; search anew in another --out") from reason
        study.add_trial(known)
    return study
