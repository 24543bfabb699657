"""From the summaries of a comparison's trainings to its results."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from operator import attrgetter
from typing import Any, TypeVar

from drkd.config import CompareConfig
from drkd.methods.info import MethodInfo
from drkd.methods.registry import get_method, parse_variant
from drkd.runs.fold_teachers import takes_folds
from drkd.runs.results import ComparisonResults, Difference, MethodResults, Panel, PerSeed
from drkd.runs.summary import RunSummary
from drkd.studies.statistics import holm, paired
from drkd.tasks import Task, get_task
from drkd.utils.machine import environment
from drkd.utils.objects import short_name

BASELINE = "cross_entropy"

CONTROL = "cross_entropy_2x"
"""Cross-entropy for twice the epochs: the fair control for methods that cost twice as much."""

Item = TypeVar("Item")
Value = TypeVar("Value")

Summaries = Sequence[RunSummary | None]
"""The summary of each seed's training, None where it failed."""


def collect(
    config: CompareConfig,
    summaries: Mapping[str, Mapping[str, Summaries]],
    settings: Mapping[str, dict[str, Any]],
) -> ComparisonResults:
    """The results of a comparison.

    Args:
        config: of the comparison.
        summaries: by panel and method, of each seed.
        settings: all those of each method.
    """
    panels: list[Panel] = []
    comparisons: list[Difference] = []
    task = get_task(config.task)
    for noise, (name, of_methods) in zip(config.label_noise, summaries.items(), strict=True):
        methods = {
            method: results_of(_with_teachers(config, method, of_seeds, of_methods[BASELINE]), task)
            for method, of_seeds in of_methods.items()
        }
        panels.append(
            Panel(
                name=name,
                task=config.task,
                data=short_name(config.data),
                model=short_name(config.model),
                epochs=config.epochs,
                label_noise=noise,
                limit_train=config.limit_train,
                chosen_on_validation=config.validation > 0 and config.select == "best",
                costs_double=[method for method in methods if costs_double(method, config)],
                seeds=list(range(config.seeds)),
                methods=methods,
                settings=dict(settings),
                average=config.average,
            )
        )
        comparisons += compare_methods(panels[-1])
    return ComparisonResults(panels, comparisons, environment())


def _with_teachers(config: CompareConfig, method: str, summaries: Summaries, baseline: Summaries) -> Summaries:
    """The summaries with what the self-teacher took where that is the baseline; a given teacher takes nothing."""
    if config.teacher is not None:
        return [s and replace(s, teacher_seconds=0.0, teacher_seconds_per_epoch=0.0) for s in summaries]
    if _info(method).teacher != "self":
        return summaries
    return [
        replace(s, teacher_seconds=base.train_seconds, teacher_seconds_per_epoch=base.seconds_per_epoch)
        if s and base and not s.teacher_seconds
        else s
        for s, base in zip(summaries, baseline, strict=True)
    ]


def as_rows(results: ComparisonResults) -> list[dict[str, Any]]:
    """A row per panel, method and seed, by column; None where a training failed or has no such thing.

    Results of an older version lack some.
    """
    metrics = get_task(results.panels[0].task).metric_names
    rows = []
    for panel in results.panels:
        for name, method in panel.methods.items():
            columns = {
                **{metric: method.test[metric] for metric in metrics},
                "rectified_fraction": method.rectified_fraction,
                "teacher_train_accuracy": method.teacher_train["accuracy"],
                "train_seconds": method.train_seconds,
                "teacher_seconds": method.teacher_seconds,
                "seconds_per_epoch": method.seconds_per_epoch,
                "teacher_seconds_per_epoch": method.teacher_seconds_per_epoch,
                "teacher_cached": method.teacher_cached,
            }
            for number, seed in enumerate(panel.seeds):
                known = {column: of_seeds[number] for column, of_seeds in columns.items() if of_seeds}
                values = {**dict.fromkeys(columns), **known}
                rows.append({"panel": panel.name, "method": name, "seed": seed, **values})
    return rows


def as_csv(results: ComparisonResults) -> str:
    """`as_rows` as text."""
    text = io.StringIO()
    rows = as_rows(results)
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def compare_methods(panel: Panel) -> list[Difference]:
    """Every method against cross-entropy on every metric, and on the primary metric the pairs that say more.

    These are each method of double cost against cross-entropy of as many epochs in total, DR-KD against Tf-KD_self
    where all other settings are equal, and methods with options of their own against cross-entropy with the same ones.
    Holm's correction is over all differences of a metric, so that among everything that a report may say of a panel's
    primary metric one false verdict or more has a chance of at most 5%.
    """
    order = list(panel.methods)
    with_baseline = [(name, BASELINE) for name in order if name != BASELINE]
    task = get_task(panel.task)
    rows: list[Difference] = []
    for metric in task.metric_names:
        if any(metric not in method.test for method in panel.methods.values()):
            continue
        pairs = [*with_baseline, *(_further_pairs(panel) if metric == task.primary else ())]
        measured = {name: method.test[metric] for name, method in panel.methods.items()}
        tests = {(ours, theirs): paired(measured[ours], measured[theirs]) for ours, theirs in pairs}
        known = {pair: test for pair, test in tests.items() if test is not None}
        complete = [test.p_value if test.seeds == len(panel.seeds) else None for test in known.values()]
        for ((ours, theirs), test), p_holm in zip(known.items(), holm(complete), strict=True):
            rows.append(Difference(panel.name, ours, theirs, metric, **asdict(test), p_holm=p_holm))
    return sorted(rows, key=lambda row: (row.baseline != BASELINE, order.index(row.method)))


def _further_pairs(panel: Panel) -> list[tuple[str, str]]:
    own = {name: own_options(panel, name) for name in panel.methods}
    control = [
        (name, CONTROL)
        for name in panel.costs_double
        if CONTROL in panel.methods and set(own[name]) <= {"teacher_folds"}
    ]
    plain = [name for name in panel.methods if name.partition(":")[0] == BASELINE and own[name]]
    alike = [
        (ours, theirs) for theirs in plain for ours in panel.methods if ours not in plain and own[ours] == own[theirs]
    ]
    pairs = product(panel.methods, panel.methods)
    rectified = [(ours, theirs) for ours, theirs in pairs if _differ_in_rectification(panel, ours, theirs)]
    return [*control, *alike, *rectified]


def costs_double(name: str, config: CompareConfig) -> bool:
    """Whether a row of a comparison costs as much as cross-entropy for twice the epochs.

    Two teachers of folds cost one training together, K of them K - 1. What a given teacher cost is not known.

    Example:
        >>> config = CompareConfig(teacher_folds=3)
        >>> [costs_double(name, config) for name in ("dr_kd", "dr_kd:teacher_folds=2", "ps_kd", "dlb")]
        [False, True, False, True]
    """
    info = _info(name)
    if info.teacher != "self":
        return info.costs_double
    _, own = parse_variant(name)
    folds = own.get("teacher_folds", config.teacher_folds if takes_folds(info.name) else None)
    return config.teacher is None and folds in (None, 2)


def own_options(panel: Panel, name: str) -> dict[str, Any]:
    """The options of the training in which a row is not as the rest of its comparison is, such as `cutmix`."""
    return {
        option: value for option, value in panel.settings.get(name, {}).items() if option not in _info(name).settings
    }


def _differ_in_rectification(panel: Panel, ours: str, theirs: str) -> bool:
    """Whether `ours` is DR-KD and `theirs` Tf-KD_self with otherwise the same settings."""
    if (ours.partition(":")[0], theirs.partition(":")[0]) != ("dr_kd", "tf_kd_self"):
        return False
    rectified, plain = panel.settings.get(ours), panel.settings.get(theirs)
    if rectified is None or plain is None:  # results of an older version do not hold them
        return False
    return {**plain, "student_swap": False} == {name: v for name, v in rectified.items() if name != "rectify"}


def _info(name: str) -> MethodInfo:
    """The method of a column, whose name may have settings; the control is cross-entropy."""
    return get_method(parse_variant(BASELINE if name == CONTROL else name)[0])


def _each(items: Sequence[Item | None], get: Callable[[Item], Value | None]) -> list[Value | None]:
    return [None if item is None else get(item) for item in items]


def results_of(summaries: Summaries, task: Task) -> MethodResults:
    """What trainings with one method came to, a list per measured thing.

    Args:
        summaries: of the seeds.
        task: theirs.
    """
    tested, validated = _each(summaries, lambda s: s.test), _each(summaries, lambda s: s.val)
    teacher: dict[str, PerSeed] = {"accuracy": _each(summaries, lambda s: s.teacher_train_accuracy)}
    if task.teacher_metric != "accuracy":
        teacher[task.teacher_metric] = _each(summaries, attrgetter(f"teacher_train_{task.teacher_metric}"))
    return MethodResults(
        test={name: _each(tested, attrgetter(name)) for name in task.metric_names},
        val={name: _each(validated, attrgetter(name)) for name in task.validation_metrics},
        details={name: _each(tested, attrgetter(name)) for name in task.details},
        train_accuracy=_each(summaries, lambda s: s.train_accuracy),
        rectified_fraction=_each(summaries, _mean_rectified),
        rectified_fraction_per_epoch=_each(summaries, lambda s: s.rectified_fraction_per_epoch),
        teacher_train=teacher,
        train_seconds=_each(summaries, lambda s: s.train_seconds),
        teacher_seconds=_each(summaries, lambda s: s.teacher_seconds),
        skipped_images=_each(summaries, lambda s: s.skipped_images),
        notes=_each(summaries, lambda s: s.notes),
        seconds_per_epoch=_each(summaries, lambda s: s.seconds_per_epoch),
        teacher_seconds_per_epoch=_each(summaries, lambda s: s.teacher_seconds_per_epoch),
        teacher_cached=_each(summaries, lambda s: s.teacher_cached),
    )


def _mean_rectified(summary: RunSummary) -> float | None:
    fractions = summary.rectified_fraction_per_epoch
    return sum(fractions) / len(fractions) if fractions else None
