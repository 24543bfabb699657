"""A training as notebooks, frames of pandas and papers show it."""

import html
import math
from typing import TYPE_CHECKING

from drkd.utils.tables import as_frame, html_table, latex_table, text_table
from drkd.utils.text import counted

if TYPE_CHECKING:
    import pandas as pd

MOST_EPOCHS = 12
"""The most epochs shown: evenly spaced ones, and the selected one."""

Cells = list[dict[str, str]]


class ShownTraining:
    """The display of a training's result in notebooks, frames and LaTeX."""

    history: list[dict[str, float]]
    best_epoch: int
    seconds: float
    seconds_per_epoch: list[float]

    def to_frame(self) -> "pd.DataFrame":
        """The history as a frame of pandas: a row per epoch, with its `seconds`.

        Raises:
            InputError: where pandas is not installed.
        """
        timed = zip(self.history, self.seconds_per_epoch, strict=True)
        return as_frame([{**row, "seconds": seconds} for row, seconds in timed])

    def to_latex(self) -> str:
        """The history as a table for LaTeX's booktabs; the selected epoch is bold."""
        columns, rows, bold = self._table()
        return latex_table(columns, rows, bold=bold)

    def __str__(self) -> str:
        columns, rows, _ = self._table()
        return f"{text_table(columns, rows)}\n{self._words()}"

    def _repr_html_(self) -> str:
        columns, rows, bold = self._table()
        return f"<div>{html_table(columns, rows, bold=bold)}<p>{html.escape(self._words())}</p></div>"

    def _words(self) -> str:
        chosen = f"Epoch {self.best_epoch} is selected. " if self.best_epoch >= 0 else ""
        return f"{chosen}{counted(len(self.history), 'epoch')}, {self.seconds:.1f} s"

    def _table(self) -> tuple[dict[str, str], Cells, list[tuple[int, str]]]:
        """Headings, cells, and those of the selected epoch."""
        last = len(self.history) - 1
        most = MOST_EPOCHS - 1
        spaced = range(last + 1) if last <= most else (round(number * last / most) for number in range(MOST_EPOCHS))
        numbers = sorted({*spaced, *([self.best_epoch] if self.best_epoch >= 0 else [])})
        columns = {name: name.replace("_", " ") for name in (self.history[-1] if self.history else ())}
        rows = [{name: f"{self.history[number].get(name, math.nan):.4g}" for name in columns} for number in numbers]
        bold = [(row, name) for row, number in enumerate(numbers) if number == self.best_epoch for name in columns]
        return columns, rows, bold
