"""What runs report while they are running."""

from collections.abc import Callable
from dataclasses import dataclass

from drkd.runs.summary import RunSummary


@dataclass(frozen=True)
class StartNoted:
    """What there is to say of the weights that a run starts from, before its first step."""

    run: str
    notes: tuple[str, ...]


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


Event = StartNoted | EpochDone | RunDone | RunFailed

OnEvent = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """What is done with events where nobody asked for them."""
