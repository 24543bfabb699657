"""What a comparison found: the content of its `results.json`, a number per seed (or null) for everything measured.

The record is defined here, above both rooms that need it: `drkd.studies.results` fills it, model cards read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from drkd.tasks import Task, get_task
from drkd.utils.errors import InputError
from drkd.utils.files import JsonObject, read_json, write_checked_json
from drkd.utils.machine import Environment

FILE = "results.json"
"""Its name; only a finished comparison has it."""

PerSeed = list[float | None]
"""A number for each seed, None where its training failed."""


@dataclass(frozen=True)
class Difference:
    """A method against another, paired over seeds.

    Attributes:
        panel, method, baseline, metric: what is compared; the baseline is cross-entropy or another method.
        mean_difference, ci95, p_value, seeds: see `drkd.studies.statistics.Paired`.
        p_holm: the p-value after Holm's correction over all differences of the panel on this metric. None without a
            p-value, and where a seed of either method failed: those that remain are no random choice.
    """

    panel: str
    method: str
    baseline: str
    metric: str
    mean_difference: float
    ci95: tuple[float, float] | None
    p_value: float | None
    seeds: int
    p_holm: float | None


Differences = Mapping[tuple[str, str], Difference]
"""By method and baseline."""


@dataclass(frozen=True)
class MethodResults:
    """What the trainings of a method came to, an entry for each seed.

    Attributes:
        test, val: every metric of the task on these splits, by name; older results lack some.
        details: what else is kept of the test split, such as the bins of the reliability diagram.
        train_accuracy: of the selected epoch, on augmented images.
        rectified_fraction, rectified_fraction_per_epoch: fraction of the targets that were changed; the first is the
            mean over epochs.
        teacher_train: the teacher on the training split, by the name of the task's `teacher_metric`.
        train_seconds, teacher_seconds: training time.
        skipped_images, notes: of each training.
        seconds_per_epoch: of a training's fastest epoch.
        teacher_seconds_per_epoch: the same of its teacher, of those of folds together; older results lack it.
        teacher_cached: fraction of the epochs whose answers of the teacher were found in a cache.
    """

    test: dict[str, PerSeed]
    val: dict[str, PerSeed]
    details: dict[str, list[Any]]
    train_accuracy: PerSeed
    rectified_fraction: PerSeed
    rectified_fraction_per_epoch: list[list[float] | None]
    teacher_train: dict[str, PerSeed]
    train_seconds: PerSeed
    teacher_seconds: PerSeed
    skipped_images: list[dict[str, int] | None]
    notes: list[list[str] | None]
    seconds_per_epoch: PerSeed = field(default_factory=list)
    teacher_seconds_per_epoch: PerSeed = field(default_factory=list)
    teacher_cached: PerSeed = field(default_factory=list)

    def to_json(self) -> JsonObject:
        """One flat object: metrics by name, those of validation as `val_NAME`."""
        nested = ("test", "val", "details", "teacher_train")
        plain = {name: value for name, value in vars(self).items() if name not in nested}
        val = {f"val_{name}": values for name, values in self.val.items()}
        teacher = {f"teacher_train_{name}": values for name, values in self.teacher_train.items()}
        return {**self.test, **val, **plain, **teacher, **self.details}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], task: Task) -> "MethodResults":
        """What `to_json` gave, for a task."""
        teacher = dict.fromkeys(("accuracy", task.teacher_metric))
        plain = [name for name in cls.__dataclass_fields__ if name in content]
        return cls(
            test={name: content[name] for name in task.metric_names if name in content},
            val={name: content[f"val_{name}"] for name in task.validation_metrics},
            details={name: content[name] for name in task.details if name in content},
            teacher_train={name: content[f"teacher_train_{name}"] for name in teacher},
            **{name: content[name] for name in plain},
        )


@dataclass(frozen=True)
class Panel:
    """A comparison at one data setting.

    Attributes:
        name: such as `20% label noise`.
        task, data, model, epochs, label_noise, limit_train: what was trained, on what.
        chosen_on_validation: whether the epoch was.
        costs_double: methods that cost twice the epochs: with a self-teacher, two of folds, or every sample twice.
        seeds: in the order of all lists.
        methods: what each came to, the baseline first.
        settings: all settings of each method, its defaults included; its own learning rate or average if it has one.
        average: how the weights of all methods are averaged that do not say it for themselves; None: not at all.
    """

    name: str
    task: str
    data: str
    model: str
    epochs: int
    label_noise: float
    limit_train: int | None
    chosen_on_validation: bool
    costs_double: list[str]
    seeds: list[int]
    methods: dict[str, MethodResults]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    average: str | None = None

    def to_json(self) -> JsonObject:
        """As `results.json` has it."""
        return {**vars(self), "methods": {name: results.to_json() for name, results in self.methods.items()}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Panel":
        """What `to_json` gave."""
        task = get_task(content.get("task", "classification"))
        methods = {name: MethodResults.from_json(each, task) for name, each in content["methods"].items()}
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        return cls(**{"task": task.name, "chosen_on_validation": True, **known, "methods": methods})


@dataclass(frozen=True)
class ComparisonResults:
    """What a comparison found.

    Attributes:
        panels: one for each data setting.
        comparisons: every method against cross-entropy on every metric, then, on the primary metric, further pairs; see
            `drkd.studies.results.compare_methods`.
        environment: what it was measured with.
        failures: why trainings have no result, by name.
    """

    panels: list[Panel]
    comparisons: list[Difference]
    environment: Environment
    failures: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """The content of `results.json`."""
        panels = [panel.to_json() for panel in self.panels]
        return {**vars(self), "panels": panels, "comparisons": [asdict(each) for each in self.comparisons]}

    def write(self, out: Path) -> None:
        """Write `results.json` into the run directory `out`."""
        write_checked_json(out / FILE, self.to_json())

    @classmethod
    def read(cls, out: Path) -> "ComparisonResults":
        """What the comparison in `out` found.

        Raises:
            InputError: if it holds no finished comparison of drkd.
        """
        content = read_json(out / FILE, needs=("panels", "comparisons", "environment"))
        try:
            return cls(
                panels=[Panel.from_json(panel) for panel in content["panels"]],
                comparisons=[_difference(each) for each in content["comparisons"]],
                environment=dict(content["environment"]),
                failures=dict(content.get("failures", {})),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as reason:
            raise InputError(
                f"{out / FILE} is not in drkd's format: {type(reason).__name__} {reason}; run the comparison again"
            ) from reason

    def of(self, panel: Panel) -> Differences:
        """The differences of a panel on its primary metric."""
        here = (panel.name, get_task(panel.task).primary)
        return {(each.method, each.baseline): each for each in self.comparisons if (each.panel, each.metric) == here}


def _difference(content: Mapping[str, Any]) -> Difference:
    ci95: Sequence[float] | None = content["ci95"]
    return Difference(**{**content, "ci95": None if ci95 is None else (ci95[0], ci95[1])})
