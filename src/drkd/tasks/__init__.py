"""What is trained: classifiers and detectors, one object each in `TASKS`; losses and metrics of segmentation."""

from collections.abc import Mapping
from typing import Any

from drkd.tasks.classification import Classification
from drkd.tasks.detection.task import Detection
from drkd.tasks.task import Metric, SplitMetrics, Task, TaskData

__all__ = ["TASKS", "Metric", "SplitMetrics", "Task", "TaskData", "get_task", "metrics_from_json", "task_of"]

TASKS: dict[str, Task] = {task.name: task for task in (Classification(), Detection())}
"""Every task by the name that `--task` takes."""


def get_task(name: str = "classification") -> Task:
    """The task called `name`.

    Example:
        >>> get_task().primary, get_task("detection").primary
        ('accuracy', 'map')
    """
    return TASKS[name]


def task_of(measured: SplitMetrics) -> Task:
    """The task whose metrics of a split these are."""
    return next(task for task in TASKS.values() if task.primary in measured.__dataclass_fields__)


def metrics_from_json(content: Mapping[str, Any]) -> SplitMetrics:
    """The metrics that a file keeps, of whichever task they are."""
    return next(task for task in TASKS.values() if task.primary in content).metrics_from_json(content)
