"""`compare`: methods x seeds x label noise, paired, with the same self-teacher for all that need one.

For each seed cross-entropy is trained first; its network teaches every self-taught method of that seed. The control
`cross_entropy_2x` has the epochs of baseline and student together. All trainings are ordinary run directories under
`OUT/trainings/PANEL/seed-S/METHOD`, so that an interrupted comparison goes on at the first unfinished one.
"""

import inspect
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drkd.config import METHOD_SETTINGS, CompareConfig, TrainConfig, resolve
from drkd.errors import InputError
from drkd.factory import by_name
from drkd.folders import look_into, new_folder, open_folder
from drkd.methods import SELF_TAUGHT, TWICE
from drkd.results import BASELINE, as_csv, collect, processors
from drkd.run import choose_device, train, weights_in_words
from drkd.scheduling import Failed, Job, Progress, run_jobs, silent
from drkd.storage import read_json, write_json, write_text
from drkd.teachers import default_cache

CONTROL = "cross_entropy_2x"


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
        results = read_json(out / "results.json")
        if not results["failures"]:
            return Comparison(results, out, {})
    weights(trainings)  # refuses what no method takes, before anything is written
    missing = [place for place in (out, *out.parents) if not place.exists()]
    open_folder(out, config, source)
    processes = config.jobs or (processors() if choose_device(config.device) == "cpu" else 1)
    jobs = [_job(training, trainings) for training in trainings]
    try:
        outcomes = run_jobs(jobs, train_one, processes=min(processes, len(jobs)), progress=progress)
    except InputError:
        if missing and not any(out.rglob("metrics.csv")):
            shutil.rmtree(missing[-1])  # nothing was trained: leave nothing behind
        raise
    failures = {name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, Failed)}
    results = {**collect(config, _sorted(trainings, outcomes)), "failures": failures}
    write_json(out / "results.json", results)
    write_text(out / "results.csv", as_csv(results))
    return Comparison(results, out, failures)


def with_controls(methods: Sequence[str]) -> list[str]:
    """`methods` led by the baseline, and with the doubled control where one had a self-teacher or sees all twice."""
    for name in methods:
        if name != CONTROL:
            by_name(name)
    rest = [name for name in dict.fromkeys(methods) if name not in (BASELINE, CONTROL)]
    needs_control = CONTROL in methods or any(by_name(name) in (*SELF_TAUGHT, *TWICE) for name in rest)
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
                    "method": method,
                    "seed": seed,
                    "label_noise": noise,
                    "cache": config.cache or str(default_cache(out)),
                    "out": None,
                }
                trainings.append(Training(panel_name(noise), name, TrainConfig(**special), folder / name))
    return trainings


def weights(trainings: Sequence[Training]) -> dict[str, str]:
    """Each method's final weights in words."""
    return {t.config.method: weights_in_words(t.config) for t in trainings}


def panel_name(noise: float) -> str:
    """How a data setting is called.

    Example:
        >>> panel_name(0.0), panel_name(0.2), panel_name(0.125)
        ('clean labels', '20% label noise', '12.5% label noise')
    """
    return f"{100 * noise:g}% label noise" if noise else "clean labels"


def train_one(training: Training, report: Callable[[Any], None]) -> dict[str, Any]:
    """The work of one job: a training, or the summary of one that is finished."""
    source = dict.fromkeys(TrainConfig.model_fields, "comparison")
    config = training.config.model_copy(update={"resume": True})
    return train(config, source, training.out, on_epoch=lambda _, row: report(row))


def _own_settings(config: CompareConfig, method: str) -> dict[str, Any]:
    """The settings that `method` takes: the general ones it knows, and its own from the file."""
    accepted = inspect.signature(by_name(method)).parameters
    general = {name: getattr(config, name) if name in accepted else None for name in METHOD_SETTINGS}
    return {**general, "method_options": config.method_options.get(method, {})}


def _job(training: Training, trainings: Sequence[Training]) -> Job:
    teacher = training.config.teacher
    before = next((name_of(other) for other in trainings if str(other.out) == teacher), None)
    return Job(name_of(training), training, after=before)


def name_of(training: Training) -> str:
    """What a training's progress is called by."""
    return f"{training.panel}, seed {training.config.seed}, {training.method}"


def _sorted(trainings: Sequence[Training], outcomes: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Summaries by panel, method and seed; None for what failed."""
    table: dict[str, dict[str, list[Any]]] = {}
    for training in trainings:
        outcome = outcomes[name_of(training)]
        of_seeds = table.setdefault(training.panel, {}).setdefault(training.method, [])
        of_seeds.append(None if isinstance(outcome, Failed) else outcome)
    return table
