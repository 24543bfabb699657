"""The page of one training."""

from pathlib import Path

from drkd.config import TrainConfig, read_record
from drkd.report.classes import MOST_CLASSES, columns_by_class, confusion_of
from drkd.report.exports import LEGEND as EXPORTS_LEGEND
from drkd.report.exports import describe_measurement, draw_exports, export_rows, read_exports
from drkd.report.figures import inline
from drkd.report.labels import label_of
from drkd.report.plots import draw_run, read_columns
from drkd.report.rendering import figures_of, images_of, render, settings_of
from drkd.runs.results import Panel
from drkd.runs.summary import RunSummary
from drkd.studies.results import results_of
from drkd.tasks import SplitMetrics, Task, get_task
from drkd.utils.text import counted

CAPTIONS = {
    "learning": "The {label} while training",
    "loss": "The loss that is minimised, mean over each epoch",
    "reliability": "Reliability: accuracy over confidence on the test split; the diagonal is perfect",
    "rectified": "Targets that rectification changed",
}
"""Of the plots; `label` is the task's metric."""


def write_run_report(run: Path) -> Path:
    """Write `report.html` and the plots of the training in `run`, from its files alone.

    Raises:
        InputError: if `run` holds no finished training.
    """
    summary = RunSummary.read(run)
    config = read_record(TrainConfig, run / "config.yaml")
    task = get_task(config.task)
    panel = _panel(summary, config, task)
    plots = draw_run(read_columns(run / "metrics.csv"), panel, run)
    (results,) = panel.methods.values()
    captions = {name: text.format(label=task.label) for name, text in CAPTIONS.items()}
    return render(
        "run.html",
        run / "report.html",
        heading=f"{label_of(summary.method)}: {_shown(task, summary.test)[0]}% {task.label} on the test split",
        about=_about(summary, config),
        facts=_facts(summary, task),
        metrics=[metric.heading for metric in task.metrics],
        splits=[
            (name, _shown(task, split))
            for name, split in (("test", summary.test), ("validation", summary.val))
            if split
        ],
        figures=figures_of(plots, captions),
        classes=columns_by_class(results, task.class_metric),
        most_classes=MOST_CLASSES,
        confusions=[found] if (found := confusion_of(label_of(summary.method), results)) else [],
        images=images_of(run),
        exports=_exports(run),
        notes=summary.notes,
        settings=settings_of(run / "config.yaml"),
    )


def _panel(summary: RunSummary, config: TrainConfig, task: Task) -> Panel:
    """The training as a comparison has it, with nothing to compare it with."""
    return Panel(
        name="",
        task=task.name,
        data=config.data,
        model=config.model,
        epochs=summary.epochs,
        label_noise=config.label_noise,
        limit_train=config.limit_train,
        chosen_on_validation=summary.select == "best",
        costs_double=[],
        seeds=[summary.seed],
        methods={summary.method: results_of([summary], task)},
    )


def _shown(task: Task, measured: SplitMetrics) -> list[str]:
    """The metrics of a split, as the columns of the task have them; empty where one was not measured."""
    values = [(metric, getattr(measured, metric.name, None)) for metric in task.metrics]
    return ["" if value is None else f"{metric.factor * value:.{metric.digits}f}" for metric, value in values]


def _about(summary: RunSummary, config: TrainConfig) -> str:
    """What was trained, on what, in a line."""
    size = summary.data_size
    samples = ", ".join(f"{size[split]} for {what}" for split, what in SPLITS.items() if size.get(split))
    images = f" ({samples})" if samples else ""
    return f"{config.model} on {config.data}{images}, {counted(summary.epochs, 'epoch')}, seed {summary.seed}"


SPLITS = {"train": "training", "val": "validation", "test": "testing"}


def _facts(summary: RunSummary, task: Task) -> list[str]:
    """What else there is to say in a sentence."""
    chosen = "chosen on validation" if summary.select == "best" else "the last one"
    facts = [f"The network is from epoch {summary.best_epoch} (of 0 to {summary.epochs - 1}), {chosen}."]
    facts.append(f"Training took {_duration(summary.train_seconds)}.")
    if summary.teacher is not None:
        metric = task.metric(task.teacher_metric)
        value = getattr(summary, f"teacher_train_{metric.name}")
        facts.append(f"The teacher's {metric.label} on the training split is {100 * value:.1f}%.")
    if summary.rectified_fraction_per_epoch:
        first, last = (100 * summary.rectified_fraction_per_epoch[end] for end in (0, -1))
        facts.append(f"Rectification changed {first:.1f}% of the targets in the first epoch, {last:.1f}% in the last.")
    facts.append("One training is not a comparison: drkd compare runs several, in pairs.")
    return facts


def _duration(seconds: float) -> str:
    """A time for people.

    Example:
        >>> _duration(3.21), _duration(150), _duration(9000)
        ('3.2 s', '2.5 min', '2.5 h')
    """
    for factor, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.1f} {unit}"
    return f"{seconds:.1f} s"


def _exports(run: Path) -> dict[str, object] | None:
    """The exports side by side; None without any."""
    if not (run / "exports").is_dir():
        return None
    files, speed = read_exports(run)
    plot = draw_exports(run)
    return {
        "rows": export_rows(files, speed),
        "figure": inline(plot.with_suffix(".svg"), "exports") if plot is not None else "",
        "measured": describe_measurement(speed) if speed is not None else "",
        "legend": EXPORTS_LEGEND,
    }
