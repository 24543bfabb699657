"""What is trained, classifiers or detectors, and by which numbers each is judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """A kind of training.

    Attributes:
        metrics: what is measured on a split; the first one is compared, plotted and chosen by.
        of_validation: those that are kept of the validation split.
        beside: what else is kept of the test split, by its name there.
        called: the first metric in words.
    """

    metrics: tuple[str, ...]
    of_validation: tuple[str, ...]
    beside: tuple[str, ...]
    called: str

    @property
    def first(self) -> str:
        """The metric that decides."""
        return self.metrics[0]


TASKS = {
    "classification": Task(("accuracy", "nll", "ece", "aurc"), ("accuracy", "nll"), ("reliability",), "accuracy"),
    "detection": Task(("map", "map50", "ar"), ("map", "map50", "ar"), ("per_class",), "mAP"),
}


def task_of(record: Mapping[str, Any]) -> Task:
    """The task of a panel or of what else bears its name; what bears none is older than detection.

    Example:
        >>> task_of({}).first, task_of({"task": "detection"}).first
        ('accuracy', 'map')
    """
    return TASKS[record.get("task", "classification")]


def task_of_metrics(measured: Mapping[str, Any]) -> Task:
    """The task that gave these metrics of a split."""
    return next(task for task in TASKS.values() if task.first in measured)
