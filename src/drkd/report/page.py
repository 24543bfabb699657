"""The page: one HTML file that opens anywhere, offline."""

import base64
import re
import warnings
from pathlib import Path

from jinja2 import Environment, PackageLoader
from PIL import Image

from drkd.config import read_written
from drkd.report.plots import draw_all
from drkd.report.sentences import conclusions
from drkd.report.table import classes_of, columns_of, label_of, legend_of, rows, title
from drkd.runs.directory import method_dirname
from drkd.runs.results import FILE, ComparisonResults, Panel
from drkd.tasks import get_task
from drkd.utils.errors import InputError
from drkd.utils.files import write_text

CAPTIONS = {
    "accuracy": "Test {label}, a point per seed",
    "learning": "Validation {label} while training, mean over seeds (the doubled control is drawn to the same width)",
    "reliability": "Reliability: accuracy over confidence on the test split, seeds pooled; the diagonal is perfect",
    "rectified": "Rectified targets per epoch, mean over seeds",
}
"""Of the plots; `label` is the task's metric."""


def write_report(out: Path) -> Path:
    """Write `report.html` and the plots of the comparison in `out`, from its files alone.

    Raises:
        InputError: if `out` holds no finished comparison.
    """
    if not out.is_dir():
        raise InputError(f"there is no folder {out}; give the run directory of `compare` or `train`")
    if not (out / FILE).is_file():
        raise InputError(
            f"{out} holds no finished comparison (no results.json); finish it with --resume, or give another"
        )
    results = ComparisonResults.read(out)
    if not (out / "config.yaml").is_file():
        raise InputError(f"{out / 'config.yaml'} is missing, and with it the settings; give a whole run directory")
    plots = {name: _inline(file, name) for name, file in draw_all(results, out).items()}
    panel = results.panels[0]
    task = get_task(panel.task)
    template = Environment(loader=PackageLoader("drkd.report"), autoescape=True).get_template("page.html")
    page = template.render(
        columns=columns_of(task),
        legend=legend_of(task),
        panels=[_panel(each, results) for each in results.panels],
        plots=plots,
        captions={name: text.format(label=task.label) for name, text in CAPTIONS.items()},
        cases=_cases(panel, out),
        environment=results.environment,
        chosen_on_validation=panel.chosen_on_validation,
        settings=_settings(out / "config.yaml"),
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _panel(panel: Panel, results: ComparisonResults) -> dict[str, object]:
    """What the template shows of a panel."""
    differences = results.of(panel)
    return {
        "title": title(panel),
        "rows": rows(panel, differences),
        "classes": classes_of(panel),
        "conclusions": conclusions(panel, differences),
    }


def _cases(panel: Panel, out: Path) -> dict[str, str]:
    """The best and worst images of the first seed of every method, in base64, where the task draws them."""
    folder = out / "trainings" / panel.name.replace(" ", "-") / f"seed-{panel.seeds[0]}"
    files = {method: folder / method_dirname(method) / "cases.png" for method in panel.methods}
    return {
        label_of(method): base64.b64encode(file.read_bytes()).decode()
        for method, file in files.items()
        if file.is_file() and _is_whole(file)
    }


def _is_whole(file: Path) -> bool:
    """Whether a PNG fits its own checksums; one that does not is warned of."""
    try:
        with Image.open(file) as image:
            image.verify()
    except Exception as reason:  # whatever Pillow raises of a damaged file
        warnings.warn(f"{file} is damaged and left out: {reason}", stacklevel=2)
        return False
    return True


def _inline(file: Path, name: str) -> str:
    """An SVG to put into a page: without its header, and with ids of its own."""
    svg = file.read_text(encoding="utf-8")
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])


def _settings(file: Path) -> list[tuple[str, str, str]]:
    """(option, value, source) of a `config.yaml`."""
    options = read_written(file)
    sources = dict(re.findall(r"^([a-z_]+): .*  # (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE))
    lines = []
    for name, value in options.items():
        shown = ", ".join(str(part) for part in value) if isinstance(value, list) else value
        lines.append((name, "" if value is None else str(shown), sources.get(name, "")))
    return lines
