"""A comparison as a notebook shows it, and as a paper prints it."""

import html
import io

from rich.console import Console

from drkd.report.sentences import LEVEL, conclusions, headline
from drkd.report.table import WIDE, columns_of, legend_of, print_results, rows, title
from drkd.runs.results import ComparisonResults, Panel
from drkd.studies.results import BASELINE
from drkd.tasks import get_task
from drkd.utils.tables import escape_latex, html_table, latex_table

METRICS = 3
"""The most metrics in a notebook's table; `to_frame` and the report have all."""

IN_PAPER = ("method", "difference", "p", "time")
"""The columns of a table for a paper, beside the metric that is compared."""


def comparison_html(results: ComparisonResults) -> str:
    """Each panel's table with the sentences that its numbers bear; differences that are shown are bold."""
    parts = []
    for panel in results.panels:
        differences = results.of(panel)
        table = html_table(_columns(panel), rows(panel, differences), bold=_shown(panel, results))
        sentences = "".join(f"<li>{html.escape(each)}</li>" for each in conclusions(panel, differences))
        answer = html.escape(headline(panel, differences))
        parts.append(f"<p>{html.escape(title(panel))}</p>{table}<p><b>{answer}</b></p><ul>{sentences}</ul>")
    failed = "".join(f"<li>{html.escape(f'{name}: {why}')}</li>" for name, why in results.failures.items())
    legend = html.escape(legend_of(get_task(results.panels[0].task)))
    more = f"<details><summary>What the columns mean</summary>{legend}</details>"
    return f"<div>{''.join(parts)}{f'<p>Failed:</p><ul>{failed}</ul>' if failed else ''}{more}</div>"


def comparison_text(results: ComparisonResults) -> str:
    """What the command line prints of it, for a terminal and a log."""
    text = io.StringIO()
    print_results(results, Console(file=text, width=WIDE, markup=False, emoji=False))
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def comparison_latex(results: ComparisonResults) -> str:
    """A `tabular` for each panel, below a comment that says what it is; differences that are shown are bold."""
    tables = []
    for panel in results.panels:
        columns = {key: heading for key, heading in columns_of(get_task(panel.task)).items() if key in _paper(panel)}
        table = latex_table(columns, rows(panel, results.of(panel)), bold=_shown(panel, results))
        tables.append(f"% {escape_latex(title(panel))}; bold: p (Holm) below {LEVEL:g}\n{table}")
    return "\n\n".join(tables)


def _paper(panel: Panel) -> tuple[str, ...]:
    return (*IN_PAPER, get_task(panel.task).primary)


def _columns(panel: Panel) -> dict[str, str]:
    """Those that have something to show, with the first metrics alone."""
    task, cells = get_task(panel.task), rows(panel, {})
    wanted = [key for key in columns_of(task) if key not in task.metric_names[METRICS:]]
    full = [key for key in wanted if key in ("difference", "p") or any(row[key] for row in cells)]
    return {key: columns_of(task)[key] for key in full}


def _shown(panel: Panel, results: ComparisonResults) -> list[tuple[int, str]]:
    """The cells of differences to cross-entropy with a corrected p-value below `LEVEL`."""
    tests = results.of(panel)
    found = [tests.get((name, BASELINE)) for name in panel.methods]
    return [
        (row, "difference")
        for row, test in enumerate(found)
        if test is not None and test.p_holm is not None and test.p_holm < LEVEL
    ]
