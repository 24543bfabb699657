"""`compare`: methods x seeds x label noise, paired, with the same self-teacher for all that need one.

For each seed cross-entropy is trained first; its network teaches every self-taught method of that seed. The control
`cross_entropy_2x` has the epochs of baseline and student together. All trainings are ordinary run directories under
`OUT/trainings/PANEL/seed-S/METHOD`, so that an interrupted comparison goes on at the first unfinished one.
"""

import csv
import inspect
import io
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

from drkd.config import METHOD_SETTINGS, CompareConfig, TrainConfig, resolve
from drkd.errors import InputError
from drkd.methods import SELF_TAUGHT, by_name, create
from drkd.run import choose_device, look_into, new_folder, open_folder, train
from drkd.scheduling import Failed, Job, Progress, run_jobs, silent
from drkd.stats import holm, paired
from drkd.storage import read_json, write_json, write_text

BASELINE = "cross_entropy"
CONTROL = "cross_entropy_2x"
METRICS = ("accuracy", "nll", "ece", "aurc")


@dataclass(frozen=True)
class Comparison:
    """What `compare` hands back.

    Attributes:
        results: the content of `results.json`.
        out: the run directory.
        failures: why trainings have no result, by name.
    """

    results: dict[str, Any]
    out: Path
    failures: dict[str, str]


@dataclass(frozen=True)
class Training:
    """One training of a comparison."""

    panel: str
    method: str
    config: TrainConfig
    out: Path


def compare(*, config: str | Path | None = None, progress: Progress = silent, **options: Any) -> Comparison:
    """Train methods side by side and compare them with cross-entropy, seed by seed.

    Args:
        config: a YAML file of options.
        progress: called with a training's name and its new row, or its summary at its end.
        options: as on the command line; see `drkd.config.CompareConfig`.

    Returns:
        The results, also written to the run directory as `results.json` and `results.csv`.

    Raises:
        InputError: for options that do not fit, before anything is trained.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     comparison = compare(
        ...         methods=["cross_entropy", "ps_kd"], label_noise=[0], seeds=2, epochs=2, jobs=1, out=f"{folder}/run"
        ...     )
        >>> [(c["method"], c["metric"]) for c in comparison.results["comparisons"]][:2]
        [('ps_kd', 'accuracy'), ('ps_kd', 'nll')]
    """
    settings, source = resolve(CompareConfig, options, config)
    return run(settings, source, Path(settings.out) if settings.out else new_folder("compare"), progress=progress)


def run(config: CompareConfig, source: dict[str, str], out: Path, *, progress: Progress) -> Comparison:
    """`compare` with its options resolved."""
    names = with_controls(config.methods)
    trainings = plan(config, names, out)
    if look_into(out, config, finished="results.json") == "finished":
        return Comparison(read_json(out / "results.json"), out, {})
    _refuse_bad_methods(trainings)
    missing = [place for place in (out, *out.parents) if not place.exists()]
    open_folder(out, config, source)
    processes = config.jobs or (_processors() if choose_device(config.device) == "cpu" else 1)
    jobs = [_job(training, trainings) for training in trainings]
    try:
        outcomes = run_jobs(jobs, train_one, processes=min(processes, len(jobs)), progress=progress)
    except InputError:
        if missing and not any(out.rglob("metrics.csv")):
            shutil.rmtree(missing[-1])  # nothing was trained: leave nothing behind
        raise
    results = collect(config, names, trainings, outcomes)
    write_json(out / "results.json", results)
    write_text(out / "results.csv", as_csv(results))
    failures = {name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, Failed)}
    return Comparison(results, out, failures)


def epochs_by_training(config: CompareConfig, out: Path) -> dict[str, int]:
    """How many epochs each training of the comparison has, by the name that its progress bears."""
    return {_name(training): training.config.epochs for training in plan(config, with_controls(config.methods), out)}


def with_controls(methods: Sequence[str]) -> list[str]:
    """`methods` led by the baseline, and with the doubled control where a method had a pretrained self-teacher."""
    for name in methods:
        if name != CONTROL:
            by_name(name)
    rest = [name for name in dict.fromkeys(methods) if name not in (BASELINE, CONTROL)]
    needs_control = CONTROL in methods or any(by_name(name) in SELF_TAUGHT for name in rest)
    return [BASELINE, *([CONTROL] if needs_control else []), *rest]


def plan(config: CompareConfig, names: Sequence[str], out: Path) -> list[Training]:
    """Every training, cross-entropy before those that it teaches."""
    shared = {name: getattr(config, name) for name in TrainConfig.model_fields if name in CompareConfig.model_fields}
    trainings = []
    for noise in config.label_noise:
        for seed in range(config.seeds):
            for name in names:
                method = BASELINE if name == CONTROL else name
                folder = out / "trainings" / panel_name(noise).replace(" ", "-") / f"seed-{seed}"
                teacher = str(folder / BASELINE) if by_name(method) in SELF_TAUGHT else None
                special = {
                    **shared,
                    **_own_settings(config, method),
                    "teacher": config.teacher if method == "kd" else teacher,
                    "epochs": config.epochs * (2 if name == CONTROL else 1),
                    "threads": config.threads,
                    "method": method,
                    "seed": seed,
                    "label_noise": noise,
                    "out": None,
                }
                trainings.append(Training(panel_name(noise), name, TrainConfig(**special), folder / name))
    return trainings


def panel_name(noise: float) -> str:
    """How a data setting is called.

    Example:
        >>> panel_name(0.0), panel_name(0.2)
        ('clean labels', '20% label noise')
    """
    return f"{noise:.0%} label noise" if noise else "clean labels"


def train_one(training: Training, report: Callable[[Any], None]) -> dict[str, Any]:
    """The work of one job: a training, or the summary of one that is finished."""
    source = dict.fromkeys(TrainConfig.model_fields, "comparison")
    config = training.config.model_copy(update={"resume": True})
    return train(config, source, training.out, on_epoch=lambda _, row: report(row))


def collect(
    config: CompareConfig, names: Sequence[str], trainings: Sequence[Training], outcomes: dict[str, Any]
) -> dict[str, Any]:
    """`results.json`: a list with a number per seed (or null) for everything measured, and the paired comparisons."""
    panels, comparisons = [], []
    for noise in config.label_noise:
        panel = panel_name(noise)
        methods: dict[str, dict[str, list[Any]]] = {}
        for name in names:
            summaries = [outcomes[_name(t)] for t in trainings if t.panel == panel and t.method == name]
            methods[name] = _per_seed([None if isinstance(s, Failed) else s for s in summaries])
            if name != CONTROL and by_name(name) in SELF_TAUGHT:
                methods[name]["teacher_seconds"] = methods[BASELINE]["train_seconds"]
        panels.append(
            {
                "name": panel,
                "data": config.data,
                "model": config.model,
                "epochs": config.epochs,
                "label_noise": noise,
                "limit_train": config.limit_train,
                "seeds": list(range(config.seeds)),
                "methods": methods,
            }
        )
        comparisons += _compare_with_baseline(panel, methods)
    return {"panels": panels, "comparisons": comparisons, "environment": environment()}


def environment() -> dict[str, Any]:
    """What the numbers were measured with, and when."""
    import torch

    import drkd

    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": platform.machine(),
        "system": platform.system(),
        "processors": _processors(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "drkd": drkd.__version__,
    }


def as_csv(results: dict[str, Any]) -> str:
    """A row per panel, method and seed."""
    text = io.StringIO()
    columns = [*METRICS, "rectified_fraction", "teacher_train_accuracy", "train_seconds", "teacher_seconds"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["panel", "method", "seed", *columns])
    for panel in results["panels"]:
        for name, lists in panel["methods"].items():
            for position, seed in enumerate(panel["seeds"]):
                writer.writerow([panel["name"], name, seed, *(lists[column][position] for column in columns)])
    return text.getvalue()


def _refuse_bad_methods(trainings: Sequence[Training]) -> None:
    """Make every method once: what it refuses, it refuses before anything is trained."""
    for training in {t.method: t for t in trainings}.values():
        config = training.config
        settings = {name: getattr(config, name) for name in METHOD_SETTINGS if getattr(config, name) is not None}
        teacher = None if config.teacher is None else nn.Identity()
        create(config.method, settings, teacher=teacher, student=nn.Identity())


def _own_settings(config: CompareConfig, method: str) -> dict[str, Any]:
    """The settings that `method` takes: the general ones it knows, and its own from the file."""
    accepted = inspect.signature(by_name(method)).parameters
    general = {name: getattr(config, name) if name in accepted else None for name in METHOD_SETTINGS}
    own = config.method_options.get(method, {})
    strangers = [name for name in own if name not in accepted or name not in METHOD_SETTINGS]
    if strangers:
        raise InputError(f"method_options: {method} takes no {strangers[0]}")
    return {**general, **own}


def _job(training: Training, trainings: Sequence[Training]) -> Job:
    teacher = training.config.teacher
    before = next((_name(other) for other in trainings if str(other.out) == teacher), None)
    return Job(_name(training), training, after=before)


def _name(training: Training) -> str:
    return f"{training.panel}, seed {training.config.seed}, {training.method}"


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _per_seed(summaries: Sequence[dict[str, Any] | None]) -> dict[str, list[Any]]:
    """One list per measured thing, null where a training failed."""

    def each(get: Callable[[dict[str, Any]], Any]) -> list[Any]:
        return [None if summary is None else get(summary) for summary in summaries]

    def mean_rectified(summary: dict[str, Any]) -> float | None:
        fractions = summary["rectified_fraction_per_epoch"]
        return sum(fractions) / len(fractions) if fractions else None

    return {
        **{metric: [None if s is None else s["test"][metric] for s in summaries] for metric in METRICS},
        "rectified_fraction": each(mean_rectified),
        "rectified_fraction_per_epoch": each(lambda s: s["rectified_fraction_per_epoch"]),
        "teacher_train_accuracy": each(lambda s: s["teacher_train_accuracy"]),
        "train_seconds": each(lambda s: s["train_seconds"]),
        "teacher_seconds": each(lambda s: s["teacher_seconds"]),
        "reliability": each(lambda s: s["test"]["reliability"]),
        "notes": each(lambda s: s["notes"]),
    }


def _compare_with_baseline(panel: str, methods: dict[str, dict[str, list[Any]]]) -> list[dict[str, Any]]:
    """Every method against the baseline on every metric; Holm's correction over the methods of a metric."""
    rows = []
    for metric in METRICS:
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
