"""The page: one HTML file that opens anywhere, offline."""

import base64
import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader

from drkd.report.plots import draw_all
from drkd.report.sentences import conclusions
from drkd.report.table import classes_of, columns_of, label_of, legend_of, rows, title
from drkd.runs.directory import method_dirname
from drkd.tasks.task import task_of
from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_text

CAPTIONS = {
    "accuracy": "Test accuracy, a point per seed",
    "learning": "Validation accuracy while training, mean over seeds (the doubled control is drawn to the same width)",
    "reliability": "Reliability: accuracy over confidence on the test split, seeds pooled; the diagonal is perfect",
    "rectified": "Rectified targets per epoch, mean over seeds",
}


def write_report(out: Path) -> Path:
    """Write `report.html` and the plots of the comparison in `out`, from its files alone.

    Raises:
        InputError: if `out` holds no finished comparison.
    """
    if not out.is_dir():
        raise InputError(f"there is no folder {out}; give the run directory of `compare` or `train`")
    if not (out / "results.json").is_file():
        raise InputError(
            f"{out} holds no finished comparison (no results.json); finish it with --resume, or give another"
        )
    results = read_json(out / "results.json", needs=("panels", "comparisons", "environment"))
    if not (out / "config.yaml").is_file():
        raise InputError(f"{out / 'config.yaml'} is missing, and with it the settings; give a whole run directory")
    plots = {name: _inline(file, name) for name, file in draw_all(results, out).items()}
    template = Environment(loader=PackageLoader("drkd.report"), autoescape=True).get_template("page.html")
    page = template.render(
        columns=columns_of(results["panels"][0]),
        legend=legend_of(results["panels"][0]),
        panels=[_panel(panel, results["comparisons"]) for panel in results["panels"]],
        plots=plots,
        captions=captions_of(results["panels"][0]),
        cases=_cases(results["panels"][0], out),
        environment=results["environment"],
        chosen_on_validation=results["panels"][0].get("chosen_on_validation", True),
        settings=_settings(out / "config.yaml"),
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _panel(panel: dict[str, Any], comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "title": title(panel),
        "rows": rows(panel, comparisons),
        "classes": classes_of(panel),
        "conclusions": conclusions(panel, comparisons),
    }


def captions_of(panel: dict[str, Any]) -> dict[str, str]:
    """What stands below the plots."""
    called = task_of(panel).called
    return {
        name: text.replace("accuracy, a", f"{called}, a").replace("Validation accuracy", f"Validation {called}")
        for name, text in CAPTIONS.items()
    }


def _cases(panel: dict[str, Any], out: Path) -> dict[str, str]:
    """Of detectors, the best and worst images of the first seed of every method, as parts of the page."""
    folder = out / "trainings" / panel["name"].replace(" ", "-") / f"seed-{panel['seeds'][0]}"
    files = {method: folder / method_dirname(method) / "cases.png" for method in panel["methods"]}
    return {
        label_of(method): base64.b64encode(file.read_bytes()).decode()
        for method, file in files.items()
        if file.is_file()
    }


def _inline(file: Path, name: str) -> str:
    """An SVG as part of a page: without its header, and with ids of its own."""
    svg = file.read_text(encoding="utf-8")
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])


def _settings(file: Path) -> list[tuple[str, str, str]]:
    """(option, value, source) of each line of a `config.yaml`."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        setting, _, source = line.rpartition("  # ")
        ((name, value),) = yaml.safe_load(setting).items()
        shown = ", ".join(str(part) for part in value) if isinstance(value, list) else value
        lines.append((name, "" if value is None else str(shown), source))
    return lines
