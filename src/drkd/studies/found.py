"""What a search found: the content of `tune.json`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from drkd.studies.proposals import Options, Trial
from drkd.utils.machine import Environment


@dataclass(frozen=True)
class TuneResults:
    """What a search for one network found.

    Attributes:
        baseline_lr, baseline_val_score: the learning rate at which cross-entropy did best, and how well.
        baselines: validation score of cross-entropy by learning rate; None where it diverged.
        best: the variant with the highest validation score, such as `dr_kd:alpha=0.25:temperature=1.6:lr=0.05`, or
            cross-entropy where no trial of a method is above it.
        best_val_score: its score.
        trials: all that are over, in their order.
        environment: what they were measured with.
        options: what was chosen for every method, such as `average`; empty where nothing gained.
        recipe_val_score: of cross-entropy with `options`.
        best_test_score: of `best` on the test split, which had no part in the choice.
        best_run: its run directory, within the search's.
        task: whose metric all scores are: accuracy, mean AP, mAP or mIoU, from 0 to 1.
    """

    baseline_lr: float
    baseline_val_score: float
    baselines: dict[str, float | None]
    best: str
    best_val_score: float
    trials: list[Trial]
    environment: Environment
    options: Options = field(default_factory=dict)
    recipe_val_score: float = 0.0
    best_test_score: float | None = None
    best_run: str = ""
    task: str = "classification"

    @property
    def improves(self) -> bool:
        """Whether a method is above cross-entropy with the same options at its best learning rate."""
        return self.best_val_score > self.recipe_val_score

    @property
    def best_method(self) -> Trial | None:
        """The best finished trial of the methods, see `best_of_methods`."""
        return best_of_methods(self.trials)


@dataclass(frozen=True)
class Measured:
    """An exported network.

    Attributes:
        network: by name.
        ms: median milliseconds of a call with one image.
        mb: megabytes of the file.
    """

    network: str
    ms: float
    mb: float

    def fits(self, max_ms: float | None, max_mb: float | None) -> bool:
        """Whether it is within a budget; None is no bound.

        Example:
            >>> file = Measured("mlp", ms=2.0, mb=0.5)
            >>> file.fits(2.0, None), file.fits(None, 0.4)
            (True, False)
        """
        return (max_ms is None or self.ms <= max_ms) and (max_mb is None or self.mb <= max_mb)


@dataclass(frozen=True)
class Exported:
    """The trained network that was chosen, as a file.

    Attributes:
        file: within the run directory of the search.
        measured: anew, of this file.
        fits: whether it is still within the budget.
        agreement: the fraction of validation images for which it gives the class of the network in torch.
    """

    file: str
    measured: Measured
    fits: bool
    agreement: float


@dataclass(frozen=True)
class NetworkResults:
    """What a search among networks found.

    Attributes:
        measured: every network as an exported file with random weights, before anything was trained.
        max_ms, max_mb, threads: the budget, and with how many threads the time was measured.
        searches: of those within the budget what was found, by network.
        chosen: the network whose best trial has the highest validation score, of equals the faster one.
        front: networks than which no other is both at least as fast and at least as accurate, and one of the two more.
        exported: the chosen one after training; None where its file does not answer as it does.
        problem: then what differs.
        environment: what they were measured with.
    """

    measured: list[Measured]
    max_ms: float | None
    max_mb: float | None
    threads: int
    searches: dict[str, TuneResults]
    chosen: str
    front: list[str]
    exported: Exported | None
    environment: Environment
    problem: str = ""


def best_of_methods(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial of a method with the highest validation score, of equals the first."""
    finished = [trial for trial in trials if trial.stage == "method" and trial.val_score is not None]
    return max(finished, key=lambda trial: trial.val_score or 0.0, default=None)


def pareto_front(ms: Sequence[float], accuracy: Sequence[float]) -> list[int]:
    """Which points no other one beats: by index, from the fastest to the most accurate.

    Args:
        ms: of each, less is better.
        accuracy: of each, more is better.

    Example:
        >>> pareto_front([1.0, 2.0, 3.0, 2.0], [0.5, 0.7, 0.6, 0.65])
        [0, 1]
    """
    points = sorted(range(len(ms)), key=lambda each: (ms[each], -accuracy[each]))
    front: list[int] = []
    for each in points:
        if not front or accuracy[each] > accuracy[front[-1]]:
            front.append(each)
    return front
