"""`reproduce`: a published row, what it needs trained first, and the measured figure beside the published one.

For each seed a chain is trained: the teacher, the baseline, the row itself. Every training is an ordinary run directory
under `OUT/MODEL-METHOD-HASH/seed-S`, where HASH identifies all settings that change the result, those of the teacher
among them. So a teacher or a baseline that some earlier row needed is found again, and an interrupted one is resumed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

from drkd.config import WITHOUT_EFFECT, ReproduceConfig, TrainConfig, resolve
from drkd.config.keywords import ReproduceKeywords
from drkd.runs.directory import kept_epoch, one_writer, refuse_output_in_data
from drkd.runs.estimating import Planned, announce, estimate_trainings
from drkd.runs.events import OnEvent, RunFailed, ignore_event
from drkd.runs.summary import FILE, RunSummary
from drkd.runs.training import train
from drkd.studies.deviations import deviations, overrides, scaled, why_incomparable
from drkd.studies.jobs import Job, Outcome, run_jobs
from drkd.studies.recipe import Recipe, load_recipe
from drkd.studies.statistics import paired
from drkd.tasks import get_task
from drkd.utils.arguments import check_arguments
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError
from drkd.utils.files import write_json
from drkd.utils.machine import environment, processor_count


@dataclass(frozen=True)
class Step:
    """One training of a chain.

    Attributes:
        role: `teacher`, `baseline` or `row`.
        recipe: which one it runs.
        config, source, out: of the run, see `drkd.runs.training.train`.
        needs: the folder of the teacher, None without.
        earlier: whether a finished run was there already.
    """

    role: str
    recipe: Recipe
    config: TrainConfig
    source: dict[str, str]
    out: Path
    needs: Path | None
    earlier: bool

    @property
    def name(self) -> str:
        return f"{self.role} {self.recipe.name}, seed {self.config.seed}"


@dataclass(frozen=True)
class Measured:
    """A line of the outcome: percent of accuracy, mAP or mIoU, a number per seed, None where a training failed."""

    role: str
    recipe: str
    published: float | None
    spread: float | None
    accuracies: list[float | None]
    from_earlier_runs: bool


@dataclass(frozen=True)
class Gain:
    """Of a row over its baseline in points, paired over seeds: measured, and as published."""

    mean: float | None
    ci95: tuple[float, float] | None
    published: float | None


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` returns, and writes to `file`.

    Attributes:
        lines: teacher, baseline and row, measured beside published.
        comparable: whether measured and published figures are comparable.
        incomparable: why they are not; empty if they are.
        gain: of the row over its baseline; None without.
        deviations: how this run differs from the published experiment.
        failures: why trainings have no result, by name.
        file: where all this is kept as JSON.
    """

    lines: list[Measured]
    comparable: bool
    incomparable: list[str]
    gain: Gain | None
    deviations: list[str]
    failures: dict[str, str]
    file: Path


def reproduce(name: str, *, on_event: OnEvent = ignore_event, **options: Unpack[ReproduceKeywords]) -> Reproduction:
    """Train a published row and everything it needs, and compare measured with published figures.

    Args:
        name: a recipe, see `drkd list recipes`.
        on_event: called with `EpochDone`, `RunDone` and `RunFailed` (`drkd.runs.events`) of every training.
        options: as on the command line; see `drkd.config.ReproduceConfig`.

    Raises:
        InputError: for an unknown recipe or options that do not fit, before anything is trained.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = reproduce("tf_kd/cifar100/mobilenetv2-self", miniature=True, seeds=1, jobs=1, out=folder)
        >>> [(line.role, line.published) for line in done.lines]
        [('teacher', 68.38), ('row', 70.96)]
    """
    check_arguments(reproduce, {"name": name, "on_event": on_event})
    recipe = load_recipe(name)
    config, _ = resolve(ReproduceConfig, options)
    return run(recipe, config, plan(recipe, config), on_event=on_event)


def plan(recipe: Recipe, config: ReproduceConfig) -> list[Step]:
    """Every training, teachers before those that they teach."""
    steps = []
    for seed in range(config.seeds):
        teacher = _step("teacher", load_recipe(recipe.teacher), config, seed) if recipe.teacher else None
        if teacher is not None:
            steps.append(teacher)
        if recipe.baseline and recipe.baseline != recipe.teacher:
            steps.append(_step("baseline", load_recipe(recipe.baseline), config, seed))
        steps.append(_step("row", recipe, config, seed, teacher))
    return steps


def run(recipe: Recipe, config: ReproduceConfig, steps: list[Step], *, on_event: OnEvent) -> Reproduction:
    """`reproduce` with its options resolved and its trainings planned."""
    if config.data is not None:
        refuse_output_in_data(Path(config.out), config.data)
    with one_writer(Path(config.out)):
        return _run(recipe, config, steps, on_event)


def _run(recipe: Recipe, config: ReproduceConfig, steps: list[Step], on_event: OnEvent) -> Reproduction:
    """`run` where no other process writes."""
    names = {step.out: step.name for step in steps}
    jobs = [Job(step.name, step, after=names[step.needs] if step.needs else None) for step in steps]
    processes = config.jobs or (processor_count() if choose_device(steps[-1].config.device).type == "cpu" else 1)
    processes = min(processes, len(jobs))
    planned = [Planned(step.config, step.out, step.needs) for step in steps]
    announce("reproduce", lambda: estimate_trainings(planned, processes=processes), on_event)
    outcomes = run_jobs(jobs, train_step, processes=processes, on_event=on_event)
    lines = [_measure(role, recipe, steps, outcomes) for role in dict.fromkeys(step.role for step in steps)]
    row = lines[-1]
    basis = next((line for line in lines if line.recipe == recipe.baseline), None)
    sizes = [outcome.data_size for outcome in outcomes.values() if isinstance(outcome, RunSummary)]
    incomparable = why_incomparable(recipe, steps[-1].config, config, sizes)
    reproduction = Reproduction(
        lines=lines,
        comparable=not incomparable,
        incomparable=incomparable,
        gain=None if basis is None else _gain(row, basis, recipe.baseline_published or basis.published),
        deviations=deviations(recipe, steps[-1].config, config),
        failures={name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, RunFailed)},
        file=Path(config.out) / "results" / f"{recipe.name.replace('/', '-')}-{steps[-1].out.parent.name[-12:]}.json",
    )
    reproduction.file.parent.mkdir(parents=True, exist_ok=True)
    about = {"recipe": recipe.model_dump(), "environment": environment()}
    write_json(reproduction.file, {**asdict(reproduction), "file": str(reproduction.file), **about})
    return reproduction


def train_step(step: Step, on_event: OnEvent) -> RunSummary:
    """The work of one job: a training, or the summary of one that is finished."""
    config = step.config.model_copy(update={"resume": True})
    return train(config, step.source, step.out, name=step.name, on_event=on_event, alone=False)


def _step(role: str, recipe: Recipe, config: ReproduceConfig, seed: int, teacher: Step | None = None) -> Step:
    if recipe.teacher and teacher is None:
        raise InputError(f"the recipe {recipe.name} needs a teacher itself; it cannot be the {role} of another")
    replaced = overrides(recipe, config)
    values = {**recipe.settings, **replaced, "seed": seed}
    if "keep_epochs" in recipe.settings:
        values["keep_epochs"] = [scaled(epoch, recipe, values["epochs"]) for epoch in recipe.settings["keep_epochs"]]
    taught: list[Any] | None = None
    if teacher is not None:
        values["teacher"], taught = str(teacher.out), [teacher.out.parent.name]
        if recipe.teacher_epoch is not None:
            after = scaled(recipe.teacher_epoch, teacher.recipe, teacher.config.epochs)
            values["teacher"], taught = str(kept_epoch(teacher.out, after)), [*taught, after]
    trained = TrainConfig(**values)
    from_recipe = dict.fromkeys(recipe.settings, f"recipe {recipe.name}")
    source = {
        name: "reproduce" if name in replaced else from_recipe.get(name, "default") for name in TrainConfig.model_fields
    }
    out = Path(config.out) / _folder(trained, taught) / f"seed-{seed}"
    needs = None if teacher is None else teacher.out
    return Step(role, recipe, trained, source, out, needs, earlier=(out / FILE).exists())


def _folder(config: TrainConfig, taught: list[Any] | None) -> str:
    """A name for all settings that change the result, the seed aside; `taught` says by what, and after which epoch."""
    values = {k: v for k, v in config.model_dump().items() if k not in (*WITHOUT_EFFECT, "seed", "teacher")}
    digest = hashlib.sha256(json.dumps([values, taught], sort_keys=True).encode()).hexdigest()
    return f"{config.model.replace(':', '-')}-{config.method}-{digest[:12]}"


def _measure(role: str, recipe: Recipe, steps: list[Step], outcomes: Mapping[str, Outcome]) -> Measured:
    """The line of one role; for a teacher taken before its end, what it was worth then."""
    ours = [step for step in steps if step.role == role]
    own = ours[0].recipe
    early = role == "teacher" and recipe.teacher_epoch is not None
    kept = str(scaled(recipe.teacher_epoch or 0, own, ours[0].config.epochs))

    def percent(outcome: Outcome) -> float | None:
        if isinstance(outcome, RunFailed):
            return None
        metrics = outcome.kept_epochs[kept] if early else outcome.test
        return 100 * float(getattr(metrics, get_task(ours[0].config.task).primary))

    return Measured(
        role=role,
        recipe=own.name,
        published=recipe.teacher_published if early else own.published,
        spread=None if early else own.spread,
        accuracies=[percent(outcomes[step.name]) for step in ours],
        from_earlier_runs=all(step.earlier for step in ours),
    )


def _gain(row: Measured, basis: Measured, published: float | None) -> Gain:
    test = paired(row.accuracies, basis.accuracies)
    known = None if row.published is None or published is None else round(row.published - published, 2)
    return Gain(None, None, known) if test is None else Gain(test.mean_difference, test.ci95, known)
