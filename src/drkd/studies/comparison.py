"""`compare`: methods x seeds x label noise, paired, with the same teacher for all that need one.

Cross-entropy is trained first; its network teaches every self-taught method of the same seed. The control
`cross_entropy_2x` has the epochs of baseline and student together, on the same schedule stretched to them, warm-up
included. All trainings are ordinary run directories under
`OUT/trainings/PANEL/seed-S/METHOD`, so that an interrupted comparison resumes with the first unfinished one.

A method may be listed more than once, with settings and with options of the training of its own (`OWN`):
`dr_kd,dr_kd:alpha=0.5:rectify=drop,dr_kd:lr=0.03,dr_kd:cutmix=1:average=ema`. With a teacher given, it teaches every
method that takes one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from drkd.config import METHOD_SETTINGS, CompareConfig, TrainConfig, TuneConfig, as_bytes, resolve, validated
from drkd.config.effects import has_effect, refuse_without_effect
from drkd.config.keywords import CompareKeywords
from drkd.methods.registry import all_settings, get_method, parse_variant
from drkd.runs.building import check_fine_tuning, describe_weights, refuse_without_teacher
from drkd.runs.directory import inspect_run_dir, method_dirname, new_run_dir, one_writer, opened_run_dir
from drkd.runs.estimating import Planned, announce, estimate_trainings
from drkd.runs.events import OnEvent, Progressed, RunFailed, ignore_event
from drkd.runs.features import keep_features
from drkd.runs.fold_teachers import check_folds, takes_folds
from drkd.runs.precision import asks_teacher, is_open, refuse_open_precision, settle_precision
from drkd.runs.results import FILE, ComparisonResults
from drkd.runs.summary import RunSummary
from drkd.runs.training import train
from drkd.studies.given import Given, name_objects
from drkd.studies.jobs import Job, Outcome
from drkd.studies.launchers import launch, process_count
from drkd.studies.planned import Training
from drkd.studies.results import BASELINE, CONTROL, as_csv, collect, costs_double
from drkd.studies.showing import ShownComparison
from drkd.tasks.classification import default_cache
from drkd.training.trackers import check_trackers
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.files import write_text
from drkd.utils.objects import known_objects
from drkd.utils.progress import listening

OWN = (
    *("lr", "weight_decay", "sampler", "class_weights"),
    *("augment", "mixup", "cutmix", "mix_prob", "average", "teacher_folds"),
)
"""Options of the training that a method may have for itself, beside its settings: none changes what a training costs in
steps, so that twice the epochs remain the fair control of methods that cost double. Two teachers of folds cost one."""

FROM_COMPARISON = dict.fromkeys(TrainConfig.model_fields, "comparison")


@dataclass(frozen=True, repr=False)
class Comparison(ShownComparison):
    """What `compare` returns. It displays itself in a notebook.

    Attributes:
        results: the content of `results.json`; its `failures` say why trainings have no result, by name.
        out: the run directory.
    """

    results: ComparisonResults
    out: Path


def compare(
    *, config: str | Path | None = None, on_event: OnEvent = ignore_event, **options: Unpack[CompareKeywords]
) -> Comparison:
    """Train methods side by side and compare them with cross-entropy, seed by seed.

    Args:
        config: a YAML file of options.
        on_event: called with `EpochDone`, `RunDone` and `RunFailed` (`drkd.runs.events`) of every training.
        options: as on the command line; see `drkd.config.CompareConfig`. `data`, `model` and `methods` may be Python
            objects, see `drkd.studies.given.name_objects` and docs/python.md.

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
        >>> [(each.method, each.metric) for each in comparison.results.comparisons][:2]
        [('ps_kd', 'accuracy'), ('ps_kd', 'nll')]
    """
    check_arguments(compare, {"config": config, "on_event": on_event})
    given = name_objects(options, config)
    settings, source = resolve(CompareConfig, given.options, config)
    out = Path(settings.out) if settings.out else new_run_dir("compare")
    return run(settings, source, out, on_event=on_event, given=given)


def run(
    config: CompareConfig, source: Mapping[str, str], out: Path, *, on_event: OnEvent, given: Given | None = None
) -> Comparison:
    """`compare` with its options resolved; `given` are the Python objects among them."""
    inspect_run_dir(out, config, finished=FILE)  # refuses other people's folders before anything is written
    with one_writer(out):
        return _run(config, source, out, on_event, given or Given())


def _run(config: CompareConfig, source: Mapping[str, str], out: Path, on_event: OnEvent, given: Given) -> Comparison:
    """`run` where no other process writes."""
    given.check(out)
    trainings = plan(config, with_controls(config), out)
    if inspect_run_dir(out, config, finished=FILE) == "finished":
        results = ComparisonResults.read(out)
        if not results.failures:
            return Comparison(results, out)
    weights(trainings)  # refuses bad settings before anything is written, and so do the next lines
    check_used(config, source, trainings)
    for training in trainings:
        check_fine_tuning(training.config)
    check_trackers(config.log)
    refuse_open_precision(config)
    processes = process_count(config, len(trainings))
    with opened_run_dir(out, config, source):
        given.write(out)
        if is_open(config):
            taught = any(asks_teacher(training.config.method) for training in trainings)
            threads = 1 if processes > 1 else config.threads
            config = settle_precision(config, out, trainings[0].config, taught=taught, threads=threads)
            trainings = plan(config, with_controls(config), out)
        jobs = [Job(t.name, t, after=None if t.taught_by is None else t.taught_by.name) for t in trainings]
        if config.launcher == "local":
            planned = [Planned(t.config, t.out, t.taught_by.out if t.taught_by else None) for t in trainings]
            announce("compare", lambda: estimate_trainings(planned, processes=processes), on_event)
        with listening(lambda progress: on_event(Progressed("frozen backbone", progress))):
            keep_features(trainings[0].config, trainings[0].out)
        outcomes = launch(given.launched(config), jobs, train_planned, out=out, on_event=on_event)
    failures = {name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, RunFailed)}
    rows = [training for training in trainings if training.config.fold is None]  # others are of teachers of folds
    settings = {training.method: _all_settings(training.config, config) for training in rows}
    results = replace(collect(config, _sorted(rows, outcomes), settings), failures=failures)
    results.write(out)
    write_text(out / "results.csv", as_csv(results))
    return Comparison(results, out)


def train_planned(training: Training, on_event: OnEvent) -> RunSummary:
    """The work of one job: a training, or the summary of one that is finished."""
    training.objects.make_known()
    config = training.config.model_copy(update={"resume": True})  # a comparison resumes whatever it finds
    return train(config, FROM_COMPARISON, training.out, name=training.name, on_event=on_event, alone=False)


def with_controls(config: CompareConfig) -> list[str]:
    """Its methods led by the baseline, and with the doubled control where one costs as much."""
    rest = [name for name in dict.fromkeys(config.methods) if name not in (BASELINE, CONTROL)]
    needs_control = CONTROL in config.methods or any(costs_double(name, config) for name in rest)
    return [BASELINE, *([CONTROL] if needs_control else []), *rest]


def plan(config: CompareConfig, names: Sequence[str], out: Path) -> list[Training]:
    """Every training, seed by seed, so that what is compared is trained in the same minutes; the teacher first."""
    shared = {name: getattr(config, name) for name in TrainConfig.model_fields if name in CompareConfig.model_fields}
    trainings = []
    for noise in config.label_noise:
        for seed in range(config.seeds):
            baseline: Training | None = None  # teaches the self-taught methods of its seed
            of_folds: dict[int, list[Training]] = {}  # teachers, by the number of folds
            for name in names:
                method, own = parse_variant(BASELINE if name == CONTROL else name)
                of_training = {option: own.pop(option) for option in OWN if option in own}
                times = 2 if name == CONTROL else 1
                folder = out / "trainings" / panel_name(noise).replace(" ", "-") / f"seed-{seed}"
                taught_by = baseline if get_method(method).teacher == "self" and config.teacher is None else None
                folds = of_training.get("teacher_folds", config.teacher_folds if takes_folds(method) else None)
                teacher = config.teacher if taught_by is None else str(taught_by.out)
                if isinstance(folds, int) and folds > 1 and taught_by is not None:
                    if folds not in of_folds:
                        of_folds[folds] = taught_by.fold_teachers(folder / f"teachers-{folds}", folds)
                        trainings += of_folds[folds]
                    taught_by = of_folds[folds][-1]
                    teacher = str(taught_by.out.parent)
                special = {
                    **shared,
                    **of_training,
                    **_cache(config.model_copy(update=of_training), method, out),
                    **_own_settings(config, method, own),
                    "teacher": None if get_method(method).teacher == "none" else teacher,
                    "teacher_folds": folds,
                    "teacher_precision": config.teacher_precision if asks_teacher(method) else None,
                    "epochs": config.epochs * times,
                    "warmup_epochs": config.warmup_epochs * times,  # the same fraction, as milestones are
                    "head_epochs": config.head_epochs * times,
                    "method": method,
                    "seed": seed,
                    "label_noise": noise,
                    "out": None,
                }
                settings = validated(TrainConfig, special, called=lambda name: f"--{name.replace('_', '-')}")
                refuse_without_effect(settings, dict.fromkeys(of_training, "command line"))
                if folds:
                    check_folds(settings)
                objects = known_objects([settings.data, settings.model, method])
                training = Training(
                    panel_name(noise), name, settings, folder / method_dirname(name), taught_by, objects
                )
                if name == BASELINE:
                    baseline = training
                trainings.append(training)
    return trainings


def weights(trainings: Sequence[Training]) -> dict[str, str]:
    """Each method's final weights, described."""
    rows = {t.method: describe_weights(t.config) for t in trainings if t.method != CONTROL and t.config.fold is None}
    return {name: f"{name}:{words.partition(':')[2]}" for name, words in rows.items()}


def panel_name(noise: float) -> str:
    """What a data setting is called.

    Example:
        >>> panel_name(0.0), panel_name(0.2), panel_name(0.125)
        ('clean labels', '20% label noise', '12.5% label noise')
    """
    return f"{100 * noise:g}% label noise" if noise else "clean labels"


def _own_settings(config: CompareConfig, method: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `method` takes: the general ones it knows, those of the file, and `own` before all."""
    accepted = get_method(method).settings
    general = {name: getattr(config, name) if name in accepted else None for name in METHOD_SETTINGS}
    if "source" in accepted:
        averages = {**general, **config.method_options.get(method, {}), **own}["source"] == "ema"
        general["keep" if averages else "decay"] = None  # there is no memory to keep, or no average to decay
    of_file = {**config.method_options.get(method, {}), **{k: v for k, v in own.items() if k not in METHOD_SETTINGS}}
    return {**general, **{k: v for k, v in own.items() if k in METHOD_SETTINGS}, "method_options": of_file}


def _cache(config: CompareConfig, method: str, out: Path) -> dict[str, str | None]:
    """Where a training with `method` keeps answers and features; nowhere, if it has none to keep."""
    info = get_method(method)
    asks_again = config.freeze == "backbone" or (info.teacher != "none" and not info.clean_view)
    if as_bytes(config.cache_size) and asks_again and has_effect(config, "cache_size"):
        return {"cache": config.cache or str(default_cache(out)), "cache_size": config.cache_size}
    return {"cache": None, "cache_size": "0"}


def _all_settings(training: TrainConfig, config: CompareConfig) -> dict[str, Any]:
    """Every setting of a training's method, and what else is not as in the rest of the comparison."""
    own = {option: getattr(training, option) for option in OWN if getattr(training, option) != getattr(config, option)}
    if not takes_folds(training.method):  # and so has none, whatever the comparison asks of the others
        own.pop("teacher_folds", None)
    return {**all_settings(training), **own}


def check_used(config: CompareConfig | TuneConfig, source: Mapping[str, str], trainings: Sequence[Training]) -> None:
    """Refuse a setting that none of the methods takes: it would change nothing, and nobody would know."""
    for name in METHOD_SETTINGS:
        value = getattr(config, name)
        if value is not None and all(getattr(training.config, name) is None for training in trainings):
            option = f"--{name.replace('_', '-')} {value}"
            raise InputError(f"{option} applies to none of {', '.join(config.methods)} as they are; leave it out")
    folds = getattr(config, "teacher_folds", None)
    if folds is not None and not any(training.config.teacher_folds for training in trainings):
        raise InputError(f"--teacher-folds {folds} applies to none of {', '.join(config.methods)}; leave it out")
    refuse_without_teacher(config, source, [get_method(training.config.method) for training in trainings])


def _sorted(
    trainings: Sequence[Training], outcomes: Mapping[str, Outcome]
) -> dict[str, dict[str, list[RunSummary | None]]]:
    """Summaries by panel, method and seed; None for what failed."""
    table: dict[str, dict[str, list[RunSummary | None]]] = {}
    for training in trainings:
        outcome = outcomes[training.name]
        of_seeds = table.setdefault(training.panel, {}).setdefault(training.method, [])
        of_seeds.append(None if isinstance(outcome, RunFailed) else outcome)
    for panel, methods in table.items():
        for seed, summaries in enumerate(zip(*methods.values(), strict=True)):
            if len({summary.data_fingerprint for summary in summaries if summary is not None}) > 1:
                raise InputError(
                    f"the data changed while {panel}, seed {seed} was trained: its methods cannot be compared; restore "
                    "the data and compare again with another --out"
                )
    return table
