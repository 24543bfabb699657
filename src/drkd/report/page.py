"""The page of a comparison: one HTML file that opens anywhere, offline."""

from dataclasses import dataclass
from pathlib import Path

from drkd.report.classes import MOST_CLASSES, ClassTable, Confusion, class_table, confusions
from drkd.report.labels import label_of
from drkd.report.plots import draw_all
from drkd.report.rendering import RunImages, figures_of, images_of, render, settings_of
from drkd.report.sentences import conclusions, headline
from drkd.report.table import columns_of, legend_of, rows, title
from drkd.runs.directory import method_dirname
from drkd.runs.results import FILE, ComparisonResults, Panel
from drkd.tasks import get_task
from drkd.utils.errors import InputError

CAPTIONS = {
    "accuracy": "Test {label}: dots are seeds, diamonds their means, bars 95% intervals of the paired difference",
    "learning": "Validation {label} while training, mean over seeds; cross-entropy 2x is drawn to the same width",
    "reliability": "Reliability: accuracy over confidence on the test split, seeds together; the diagonal is perfect",
    "rectified": "Targets that rectification changed, mean over seeds",
}
"""Of the plots; `label` is the task's metric."""


def write_report(out: Path) -> Path:
    """Write `report.html` and the plots of the comparison in `out`, from its files alone.

    Raises:
        InputError: if `out` holds no finished comparison.
    """
    if not out.is_dir():
        raise InputError(f"there is no folder {out}; give the run directory of `compare` or `train`")
    if not (out / FILE).is_file() and (out / "config.yaml").is_file():
        raise InputError(f"{out} holds an unfinished run; to finish it, run its command again with --out {out}")
    if not (out / FILE).is_file():
        raise InputError(
            f"{out} holds neither a comparison (results.json) nor a training (summary.json); give a run directory"
        )
    results = ComparisonResults.read(out)
    if not (out / "config.yaml").is_file():
        raise InputError(
            f"{out / 'config.yaml'} is missing, so the settings are unknown; give a complete run directory"
        )
    plots = draw_all(results, out)
    task = get_task(results.panels[0].task)
    captions = {name: text.format(label=task.label) for name, text in CAPTIONS.items()}
    panels = [
        _shown(panel, results, out, figures_of(plots[panel.name], captions, prefix=f"p{number}-"))
        for number, panel in enumerate(results.panels)
    ]
    filled = {key for panel in panels for row in panel.rows for key, cell in row.items() if cell}
    return render(
        "page.html",
        out / "report.html",
        columns={key: heading for key, heading in columns_of(task).items() if key in filled},
        legend=legend_of(task),
        panels=panels,
        most_classes=MOST_CLASSES,
        environment=results.environment,
        chosen_on_validation=results.panels[0].chosen_on_validation,
        settings=settings_of(out / "config.yaml"),
    )


@dataclass(frozen=True)
class ShownPanel:
    """What the template shows of a panel; `images` are those of the first seed, by the label of the method."""

    title: str
    headline: str
    rows: list[dict[str, str]]
    conclusions: list[str]
    figures: list[tuple[str, str]]
    classes: ClassTable | None
    confusions: list[Confusion]
    images: dict[str, RunImages]
    seeds: int


def _shown(panel: Panel, results: ComparisonResults, out: Path, figures: list[tuple[str, str]]) -> ShownPanel:
    differences = results.of(panel)
    return ShownPanel(
        title=title(panel),
        headline=headline(panel, differences),
        rows=rows(panel, differences),
        conclusions=conclusions(panel, differences),
        figures=figures,
        classes=class_table(panel),
        confusions=confusions(panel),
        images=images_of_first_seed(panel, out),
        seeds=len(panel.seeds),
    )


def images_of_first_seed(panel: Panel, out: Path) -> dict[str, RunImages]:
    """What the trainings of the first seed drew, by the label of their method; not of those that drew nothing."""
    folder = out / "trainings" / panel.name.replace(" ", "-") / f"seed-{panel.seeds[0]}"
    found = {label_of(method): images_of(folder / method_dirname(method)) for method in panel.methods}
    return {label: drawn for label, drawn in found.items() if drawn.mistakes or drawn.cases}
