"""What runs report while they are running."""

from collections.abc import Callable
from dataclasses import dataclass

from drkd.runs.summary import RunSummary
from drkd.utils.progress import Progress
from drkd.utils.text import counted, duration


@dataclass(frozen=True)
class StartNoted:
    """What there is to say of the weights that a run starts from, before its first step."""

    run: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """How long it will take.

    Attributes:
        seconds: about.
        trainings, epochs: how many, of how many epochs most of them.
        cheaper: of what takes longer than an hour, what would take less.

    Example:
        >>> print(Estimate(700.0, 40, 30))
        about 12 minutes: 40 trainings of 30 epochs
    """

    seconds: float
    trainings: int
    epochs: int
    cheaper: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"about {duration(self.seconds)}: {counted(self.trainings, 'training')} of {counted(self.epochs, 'epoch')}"
        )


@dataclass(frozen=True)
class Estimated:
    """How long all that was asked for will take, before the first epoch."""

    run: str
    estimate: Estimate


@dataclass(frozen=True)
class Progressed:
    """How far a run is within an epoch, or in another long pass over data; once a second at most."""

    run: str
    progress: Progress


@dataclass(frozen=True)
class EpochDone:
    """A run has finished an epoch; `row` is its line of `metrics.csv`."""

    run: str
    row: dict[str, float]


@dataclass(frozen=True)
class RunDone:
    """A run is finished, now or earlier."""

    run: str
    summary: RunSummary


@dataclass(frozen=True)
class RunFailed:
    """A run has no result, and why."""

    run: str
    reason: str


Event = StartNoted | Estimated | Progressed | EpochDone | RunDone | RunFailed

OnEvent = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """What is done with events where nobody asked for them."""
