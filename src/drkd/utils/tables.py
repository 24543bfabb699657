"""Small tables as text, as HTML, as LaTeX and as frames of pandas."""

import html
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drkd.utils.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
"""Characters that mean something to LaTeX, or that its older engines do not know."""

CELL = "text-align:{};padding:2px 8px;white-space:nowrap"

Rows = Sequence[Mapping[str, str]]
"""Cells by the key of their column."""


def escape_latex(text: str) -> str:
    """Text as LaTeX prints it.

    Example:
        >>> print(escape_latex("dr_kd & 5% ± 1"))
        dr\\_kd \\& 5\\% $\\pm$ 1
    """
    return "".join(SPECIAL.get(character, character) for character in text)


def latex_table(columns: Mapping[str, str], rows: Rows, *, bold: Collection[tuple[int, str]] = ()) -> str:
    """A table for the package booktabs: the first column to the left, all others to the right.

    Args:
        columns: headings, by key.
        rows: cells by key; a missing one is empty. Signs of numbers are set as mathematics.
        bold: (row, key) of the cells to emphasise.

    Example:
        >>> print(latex_table({"a": "Method", "b": "Gain %"}, [{"a": "dr_kd", "b": "-1.5"}], bold=[(0, "b")]))
        \\begin{tabular}{lr}
        \\toprule
        Method & Gain \\% \\\\
        \\midrule
        dr\\_kd & \\textbf{$-$1.5} \\\\
        \\bottomrule
        \\end{tabular}
    """

    def cell(row: int, key: str) -> str:
        text = re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", escape_latex(rows[row].get(key, "")))
        return f"\\textbf{{{text}}}" if (row, key) in bold else text

    lines = [" & ".join(cell(row, key) for key in columns) for row in range(len(rows))]
    return "\n".join(
        [
            f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            "\\toprule",
            " & ".join(map(escape_latex, columns.values())) + r" \\",
            "\\midrule",
            *(f"{line} \\\\" for line in lines),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def html_table(columns: Mapping[str, str], rows: Rows, *, bold: Collection[tuple[int, str]] = ()) -> str:
    """The same table in HTML, in the colours of the page that shows it.

    Example:
        >>> "<b>1 &lt; 2</b>" in html_table({"a": "A"}, [{"a": "1 < 2"}], bold=[(0, "a")])
        True
    """

    def cell(tag: str, key: str, text: str, strong: bool = False) -> str:
        content = f"<b>{html.escape(text)}</b>" if strong else html.escape(text)
        return f'<{tag} style="{CELL.format("left" if key == next(iter(columns)) else "right")}">{content}</{tag}>'

    head = "".join(cell("th", key, heading) for key, heading in columns.items())
    body = "".join(
        "<tr>" + "".join(cell("td", key, row.get(key, ""), (number, key) in bold) for key in columns) + "</tr>"
        for number, row in enumerate(rows)
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return (
        f'<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:inherit">{table}</table></div>'
    )


def text_table(columns: Mapping[str, str], rows: Rows) -> str:
    """The same table in plain text.

    Example:
        >>> print(text_table({"a": "Method", "b": "Gain %"}, [{"a": "dr_kd", "b": "-1.5"}]))
        Method  Gain %
        dr_kd     -1.5
    """
    lines = [list(columns.values()), *([row.get(key, "") for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_frame(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Rows as a frame of pandas.

    Raises:
        InputError: where pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as reason:
        raise InputError("to_frame needs pandas; install it with pip install pandas") from reason
    return pd.DataFrame(list(rows))
