"""A model card: what a run's network is, what it was trained on and how, what was measured, how to load it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from drkd.config import METHOD_SETTINGS, read_options
from drkd.export.manifest import record_of
from drkd.runs.directory import method_dirname
from drkd.utils.files import read_json

SETTINGS = (
    *("epochs", "batch_size", "lr", "optimizer", "momentum", "weight_decay", "schedule", "warmup_epochs", "augment"),
    *("validation", "limit_train", "label_noise", "precision", "seed", *METHOD_SETTINGS),
)
"""Options that a card lists where they are set; those that are places on a machine are not among them."""

METRICS = {"accuracy": ("accuracy %", 100), "nll": ("NLL", 1), "ece": ("ECE %", 100), "aurc": ("AURC", 1)}
"""What a card says of each split, and the factor that it is printed with."""


def model_card(run: Path, about: Mapping[str, Any], name: str) -> str:
    """The card of a finished run, as Markdown with the header that the Hub reads.

    Args:
        run: a run directory; where it is a part of a comparison, the paired differences come from there.
        about: what its model file says.
        name: of the model on the Hub, or a place-holder.

    Raises:
        InputError: if the run is not finished.
    """
    config = read_options(run / "config.yaml")
    summary = read_json(run / "summary.json", needs=("method", "seed", "test", "best_epoch", "epochs"))
    header = {"library_name": "drkd", "pipeline_tag": "image-classification", "tags": ["drkd", summary["method"]]}
    size, channels = about["image_size"], "grey" if about["channels"] == 1 else "colour"
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
        f"# {about['model']}, trained with {summary['method']}\n",
        f"An image classifier for {len(about['classes'])} classes, {size}x{size} {channels} images: "
        f"{_some(about['classes'])}.\n",
        f"## Training\n\n{_training(config, summary)}",
        f"## Measured\n\n{_measured(summary)}",
        _compared(run, summary["method"]),
        _exports(run),
        f"## Loading\n\n{_loading(name, size, about['channels'])}",
    ]
    return "\n".join(part for part in parts if part)


def _training(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    select = summary.get("select", "best" if summary.get("val") else "last")
    chosen = "chosen on the validation split" if select == "best" else "the last one"
    lines = [
        f"- Data: `{Path(str(config['data'])).name}`",
        f"- Method: `{summary['method']}`"
        + ("; the teacher is a frozen copy of the network itself" if summary.get("teacher") else ""),
        f"- Epoch: {summary['best_epoch']} of {summary['epochs']} (from 0), {chosen}",
    ]
    given = [f"`{name}` {_plain(config[name])}" for name in SETTINGS if config.get(name) not in (None, [], {})]
    return "\n".join([*lines, f"- Settings: {', '.join(given)}"]) + "\n"


def _measured(summary: Mapping[str, Any]) -> str:
    rows = ["| split | " + " | ".join(title for title, _ in METRICS.values()) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for split in ("test", "val"):
        if summary.get(split):
            cells = (f"{factor * summary[split][metric]:.4g}" for metric, (_, factor) in METRICS.items())
            rows.append(f"| {split} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n\nOne training: how far another seed would differ is not in these figures.\n"


def _compared(run: Path, method: str) -> str:
    """The paired differences of the comparison that the run belongs to; nothing without one."""
    parts = run.absolute().parts
    if len(parts) < 5 or parts[-4] != "trainings":
        return ""
    results = run.absolute().parents[3] / "results.json"
    if not results.is_file():
        return ""
    mine = [
        test
        for test in read_json(results, needs=("comparisons",))["comparisons"]
        if (test["panel"].replace(" ", "-"), method_dirname(test["method"])) == (parts[-3], parts[-1]) and test["ci95"]
    ]
    if not mine:
        return ""
    rows = [
        f"| difference to {mine[0]['baseline']}, paired | mean | 95% interval | p (Holm) | seeds |",
        "|---" * 5 + "|",
    ]
    for test in mine:
        title, factor = METRICS[test["metric"]]
        low, high = (f"{factor * end:+.4g}" for end in test["ci95"])
        p_value = "" if test["p_holm"] is None else f"{test['p_holm']:.3f}"
        mean = f"{factor * test['mean_difference']:+.4g}"
        rows.append(f"| {title} | {mean} | {low} to {high} | {p_value} | {test['seeds']} |")
    return f"Over the seeds of the comparison that this training of {method} is a part of:\n\n" + "\n".join(rows) + "\n"


def _exports(run: Path) -> str:
    """What is known of the files exported from this run."""
    files = sorted(file for file in (run / "exports").glob("*") if record_of(file).is_file())
    if not files:
        return ""
    rows = [
        "| exported file | MB | images | accuracy %, network | accuracy %, file | same class % |",
        "|---" * 6 + "|",
    ]
    for file in files:
        record = read_json(record_of(file), needs=("bytes", "parity"))
        parity = record["parity"]
        shares = (f"{100 * parity[name]:.2f}" for name in ("accuracy_before", "accuracy_after", "agreement"))
        rows.append(f"| {file.name} | {record['bytes'] / 1e6:.2f} | {parity['samples']} | {' | '.join(shares)} |")
    return "\n".join(rows) + "\n"


def _loading(name: str, size: int, channels: int) -> str:
    return (
        "```python\nimport torch\nfrom drkd import HubModel\n\n"
        f'model = HubModel.from_pretrained("{name}")\n'
        f"pixels = torch.zeros(1, {channels}, {size}, {size}, dtype=torch.uint8)  # 0 to 255; scaled inside\n"
        'print(model.about["classes"][model(pixels).argmax(dim=1).item()])\n```\n\n'
        "In a folder, it is also what `drkd predict FOLDER IMAGE_SUFFIXES`, `drkd export` and `drkd.load_model` read.\n"
    )


def _some(names: Sequence[str], most: int = 20) -> str:
    """Names with commas; of many, the first ones and how many more."""
    rest = f" and {len(names) - most} more (config.json)" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + rest


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
