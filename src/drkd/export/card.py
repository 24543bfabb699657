"""A model card: what a run's network is, what it was trained on and how, what was measured, how to load it."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from drkd.config import METHOD_SETTINGS, read_written
from drkd.export.records import read_records
from drkd.models.files import ModelInfo
from drkd.runs.directory import method_dirname
from drkd.runs.precision import settled
from drkd.runs.results import FILE, ComparisonResults
from drkd.runs.summary import RunSummary
from drkd.tasks import Task, get_task
from drkd.tasks.use import Use
from drkd.utils.text import printable

SETTINGS = (
    *("epochs", "batch_size", "lr", "optimizer", "momentum", "weight_decay", "schedule", "warmup_epochs", "augment"),
    *("sampler", "class_weights", "validation", "limit_train", "label_noise", "average", "precision", "seed"),
    *METHOD_SETTINGS,
)
"""Options that a card lists where they are set; no paths of a machine are among them."""


MARKUP = re.compile(r"[\\`*\[\]|~$#!]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would take for more than text."""


def model_card(run: Path, info: ModelInfo, name: str) -> str:
    """The card of a finished run, as Markdown with the header that the Hub reads.

    Args:
        run: a run directory; where it belongs to a comparison, the paired differences come from there.
        info: what its model file says.
        name: of the model on the Hub, or a placeholder.

    Raises:
        InputError: if the run is not finished.
    """
    config = settled(read_written(run / "config.yaml", needs=("data",)), run)
    summary, task = RunSummary.read(run), get_task(info.task)
    use = task.use(info)
    header = {"library_name": "drkd", "pipeline_tag": use.pipeline, "tags": ["drkd", summary.method]}
    size, channels = info.image_size, "grey" if info.channels == 1 else "colour"
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
        f"# {info.model}, trained with {summary.method}\n",
        f"{use.what} for {len(info.classes)} classes, {size}x{size} {channels} images: {_some(info.classes)}.\n",
        f"{use.images}\n",
        f"## Training\n\n{_training(run, config, summary)}",
        f"## Measured\n\n{_measured(summary, task)}",
        _compared(run, summary.method, task),
        _exports(run),
        f"## Loading\n\n{_loading(name, use)}",
    ]
    return "\n".join(part for part in parts if part)


def _training(run: Path, config: Mapping[str, Any], summary: RunSummary) -> str:
    chosen = "chosen on the validation split" if summary.select == "best" else "the last one"
    lines = [
        f"- Data: {_code(Path(str(config['data'])).name)}",
        f"- Method: `{summary.method}`" + (f"; {_teacher(run, config)}" if summary.teacher else ""),
        f"- Epoch: {summary.best_epoch} of {summary.epochs} (from 0), {chosen}",
    ]
    if config.get("pretrained"):
        lines.append(f"- Start: pretrained weights of {_code(config['model'])}")
    elif config.get("weights"):
        lines.append(f"- Start: weights of {_code(Path(str(config['weights'])).name)}")
    given = [f"`{name}` {_plain(config[name])}" for name in SETTINGS if config.get(name) not in (None, [], {})]
    return "\n".join([*lines, f"- Settings: {', '.join(given)}"]) + "\n"


def _teacher(run: Path, config: Mapping[str, Any]) -> str:
    """Who taught; in a comparison self-teachers are trainings beside that of the run."""
    given, folds = config.get("teacher"), config.get("teacher_folds")
    if folds:
        return f"the teachers are {folds} copies of the network itself, each trained without the images that it teaches"
    beside = Path(str(given)).parts[-4:-1]
    if given is None or (beside[:1] == ("trainings",) and beside == run.absolute().parts[-4:-1]):
        return "the teacher is a frozen copy of the network itself"
    return f"the teacher is another network, {_code(Path(str(given)).name)}"


def _measured(summary: RunSummary, task: Task) -> str:
    headings = " | ".join(metric.heading for metric in task.metrics)
    rows = [f"| split | {headings} |", "|---" * (len(task.metrics) + 1) + "|"]
    for split, measured in (("test", summary.test), ("val", summary.val)):
        if measured is not None:
            values = ((metric, getattr(measured, metric.name)) for metric in task.metrics)
            cells = ("" if value is None else f"{metric.factor * value:.4g}" for metric, value in values)
            rows.append(f"| {split} | {' | '.join(cells)} |")
    calibrated = _calibrated(summary)
    return (
        "\n".join(rows)
        + f"\n\n{calibrated}This is one training: the figures do not show how much another seed would differ.\n"
    )


def _calibrated(summary: RunSummary) -> str:
    """How its logits become probabilities; nothing where that was not calibrated."""
    found = vars(summary.test)
    if found.get("temperature") is None:
        return ""
    before, after = (f"{100 * found[name]:.2f}%" for name in ("ece", "calibrated_ece"))
    return (
        f"These figures are for the network's logits. For probabilities, divide them by {found['temperature']:.6g}, "
        f"the temperature fitted on the validation split: on the test split this changes ECE from {before} to "
        f"{after}.\n\n"
    )


def _compared(run: Path, method: str, task: Task) -> str:
    """The paired differences of the comparison that the run belongs to; nothing without one."""
    parts = run.absolute().parts
    if len(parts) < 5 or parts[-4] != "trainings":
        return ""
    out = run.absolute().parents[3]
    if not (out / FILE).is_file():
        return ""
    mine = [
        test
        for test in ComparisonResults.read(out).comparisons
        if (test.panel.replace(" ", "-"), method_dirname(test.method)) == (parts[-3], parts[-1]) and test.ci95
    ]
    if not mine:
        return ""
    rows = ["| difference, paired | to | mean | 95% interval | p (Holm) | seeds |", "|---" * 6 + "|"]
    metrics = {metric.name: metric for metric in task.metrics}
    for test in mine:
        metric = metrics[test.metric]
        low, high = (f"{metric.factor * end:+.4g}" for end in test.ci95 or ())
        p_value = "" if test.p_holm is None else f"{test.p_holm:.3f}"
        mean = f"{metric.factor * test.mean_difference:+.4g}"
        cells = (metric.heading, test.baseline, mean, f"{low} to {high}", p_value, str(test.seeds))
        rows.append(f"| {' | '.join(cells)} |")
    return f"Over the seeds of the comparison that this training of {method} belongs to:\n\n" + "\n".join(rows) + "\n"


def _exports(run: Path) -> str:
    """What is known of the files exported from this run."""
    records = read_records(run)
    if not records:
        return ""
    kind = records[0].parity
    rows = [
        f"| exported file | MB | images | {kind.metric} %, network | {kind.metric} %, file | {kind.same} % |",
        "|---" * 6 + "|",
    ]
    for record in records:
        parity = record.parity
        fractions = (parity.before, parity.after, parity.agreement)
        cells = " | ".join(f"{100 * fraction:.2f}" for fraction in fractions)
        rows.append(f"| {_plain(record.file)} | {record.bytes / 1e6:.2f} | {parity.samples} | {cells} |")
    return "\n".join(rows) + "\n"


def _loading(name: str, use: Use) -> str:
    return (
        "```python\nimport torch\nfrom drkd import HubModel\n\n"
        f"model = HubModel.from_pretrained({json.dumps(name)})\n"
        f"{use.example}```\n\n"
        "In a folder, it is also what `drkd predict FOLDER IMAGES`, `drkd export` and `drkd.load_model` read.\n"
    )


def _some(names: Sequence[str], most: int = 20) -> str:
    """Names with commas; of many, the first ones and how many more."""
    rest = f" and {len(names) - most} more (config.json)" if len(names) > most else ""
    return ", ".join(map(_plain, names[:most])) + rest


def _plain(value: Any) -> str:
    """A value as text that is neither Markdown nor HTML."""
    text = printable(", ".join(map(str, value)) if isinstance(value, list) else value)
    return html.escape(MARKUP.sub(r"\\\g<0>", text), quote=False)


def _code(value: Any) -> str:
    """A value between backticks, which it must not close."""
    return f"`{printable(value).replace('`', chr(39))}`"
