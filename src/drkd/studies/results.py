"""What a comparison found, as `results.json` and `results.csv` hold it."""

import csv
import io
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from drkd.config import CompareConfig
from drkd.methods.registry import all_methods
from drkd.studies.statistics import holm, paired
from drkd.tasks.task import TASKS, Task, task_of

BASELINE = "cross_entropy"

Summary = dict[str, Any]
"""What the `summary.json` of a training holds."""


def collect(config: CompareConfig, summaries: Mapping[str, Mapping[str, Sequence[Summary | None]]]) -> dict[str, Any]:
    """`results.json`: a list with a number per seed (or null) for everything measured, and the paired comparisons.

    Args:
        config: of the comparison.
        summaries: by panel and method, the summary of each seed's training, None where it failed.
    """
    panels, comparisons = [], []
    task = TASKS[config.task]
    known = all_methods()
    self_taught = {name for name, method in known.items() if method.teacher == "self"}
    costs_double = {name for name, method in known.items() if method.costs_double}
    for noise, (panel, of_methods) in zip(config.label_noise, summaries.items(), strict=True):
        methods = {name: _per_seed(of_seeds, task) for name, of_seeds in of_methods.items()}
        for name, lists in methods.items():
            if _method(name) in self_taught:
                lists["teacher_seconds"] = methods[BASELINE]["train_seconds"]
        panels.append(
            {
                "name": panel,
                "task": config.task,
                "data": config.data,
                "model": config.model,
                "epochs": config.epochs,
                "label_noise": noise,
                "limit_train": config.limit_train,
                "chosen_on_validation": config.validation > 0 and config.select == "best",
                "costs_double": [name for name in methods if _method(name) in costs_double],
                "seeds": list(range(config.seeds)),
                "methods": methods,
            }
        )
        comparisons += _compare_with_baseline(panel, methods, task)
    return {"panels": panels, "comparisons": comparisons, "environment": environment()}


def environment() -> dict[str, Any]:
    """What the numbers were measured with, and when."""
    import torch

    import drkd

    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": platform.machine(),
        "system": platform.system(),
        "processor_count": processor_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "drkd": drkd.__version__,
    }


def as_csv(results: dict[str, Any]) -> str:
    """A row per panel, method and seed."""
    text = io.StringIO()
    columns = [
        *task_of(results["panels"][0]).metrics,
        "rectified_fraction",
        "teacher_train_accuracy",
        "train_seconds",
        "teacher_seconds",
    ]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["panel", "method", "seed", *columns])
    for panel in results["panels"]:
        for name, lists in panel["methods"].items():
            for position, seed in enumerate(panel["seeds"]):
                writer.writerow([panel["name"], name, seed, *(lists[column][position] for column in columns)])
    return text.getvalue()


def processor_count() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _method(name: str) -> str:
    """Without the settings of its own that a name may bear."""
    return name.partition(":")[0]


def _per_seed(summaries: Sequence[Summary | None], task: Task) -> dict[str, list[Any]]:
    """One list per measured thing, null where a training failed."""

    def each(get: Callable[[dict[str, Any]], Any]) -> list[Any]:
        return [None if summary is None else get(summary) for summary in summaries]

    def mean_rectified(summary: dict[str, Any]) -> float | None:
        fractions = summary["rectified_fraction_per_epoch"]
        return sum(fractions) / len(fractions) if fractions else None

    return {
        **{metric: [None if s is None else s["test"][metric] for s in summaries] for metric in task.metrics},
        **{f"val_{metric}": [s and s["val"] and s["val"][metric] for s in summaries] for metric in task.of_validation},
        "train_accuracy": each(lambda s: s.get("train_accuracy")),
        "rectified_fraction": each(mean_rectified),
        "rectified_fraction_per_epoch": each(lambda s: s["rectified_fraction_per_epoch"]),
        "teacher_train_accuracy": each(lambda s: s["teacher_train_accuracy"]),
        **({"teacher_train_map50": each(lambda s: s["teacher_train_map50"])} if task.first == "map" else {}),
        "train_seconds": each(lambda s: s["train_seconds"]),
        "teacher_seconds": each(lambda s: s["teacher_seconds"]),
        **{extra: [s and s["test"][extra] for s in summaries] for extra in task.beside},
        "skipped_images": each(lambda s: s.get("skipped_images")),
        "notes": each(lambda s: s["notes"]),
    }


def _compare_with_baseline(
    panel: str, methods: dict[str, dict[str, list[Any]]], task: Task = TASKS["classification"]
) -> list[dict[str, Any]]:
    """Every method against the baseline on every metric; Holm's correction over the methods of a metric."""
    rows = []
    for metric in task.metrics:
        others = [name for name in methods if name != BASELINE]
        tests = {name: paired(methods[name][metric], methods[BASELINE][metric]) for name in others}
        there = {name: test for name, test in tests.items() if test is not None}
        for (name, test), p_holm in zip(there.items(), holm([t.p_value for t in there.values()]), strict=True):
            rows.append(
                {
                    "panel": panel,
                    "method": name,
                    "baseline": BASELINE,
                    "metric": metric,
                    **asdict(test),
                    "p_holm": p_holm,
                }
            )
    return sorted(rows, key=lambda row: list(methods).index(row["method"]))
