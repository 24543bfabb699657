"""What is trained, an object each in `TASKS`: classifiers of one label or several, detectors, segmenters."""

from collections.abc import Collection, Mapping
from typing import Any

from drkd.tasks.classification import Classification
from drkd.tasks.detection.task import Detection
from drkd.tasks.kinds import SplitMetrics, TaskData
from drkd.tasks.multilabel.task import MultiLabel
from drkd.tasks.segmentation.task import Segmentation
from drkd.tasks.task import Metric, Task

__all__ = ["TASKS", "Metric", "SplitMetrics", "Task", "TaskData", "get_task", "metrics_from_json", "task_of"]

TASKS: dict[str, Task] = {task.name: task for task in (Classification(), Detection(), Segmentation(), MultiLabel())}
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
    return _first(measured.__dataclass_fields__)


def metrics_from_json(content: Mapping[str, Any]) -> SplitMetrics:
    """The metrics that a file keeps, of whichever task they are."""
    return _first(content).metrics_from_json(content)


def _first(metrics: Collection[str]) -> Task:
    """The task that decides by one of these metrics. The last that does: accuracy is also known of several labels."""
    return next(task for task in reversed(TASKS.values()) if task.primary in metrics)
