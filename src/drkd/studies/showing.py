"""Comparisons and searches as notebooks, frames of pandas and papers show them.

The faces of results are drawn in the room `report`, further down the house; a result that is asked for its own takes
the one step down.
"""

import html
from typing import TYPE_CHECKING, Any

from drkd.methods.registry import split_variant
from drkd.studies.proposals import count_trials
from drkd.studies.results import BASELINE, as_rows
from drkd.tasks import get_task
from drkd.utils.tables import as_frame, html_table, latex_table, text_table

if TYPE_CHECKING:
    import pandas as pd

    from drkd.runs.results import ComparisonResults
    from drkd.studies.found import TuneResults

MOST_TRIALS = 10
"""The most trials shown, the best ones."""

LUCK = (
    "One seed, and the best of many on one validation split: part of its lead is luck. Compare it over several seeds."
)


class ShownComparison:
    """A comparison that shows itself."""

    results: "ComparisonResults"

    def to_frame(self) -> "pd.DataFrame":
        """The content of `results.csv` as a frame of pandas: a row per panel, method and seed.

        Raises:
            InputError: where pandas is not installed.
        """
        return as_frame(as_rows(self.results))

    def to_latex(self) -> str:
        """A table per panel for LaTeX's booktabs, bold where Holm's p-value is below .05."""
        from drkd.report.notebook import comparison_latex

        return comparison_latex(self.results)

    def __repr__(self) -> str:
        from drkd.report.notebook import comparison_text

        return comparison_text(self.results)

    def _repr_html_(self) -> str:
        from drkd.report.notebook import comparison_html

        return comparison_html(self.results)


class ShownTrials:
    """A search that shows itself."""

    results: "TuneResults"

    def to_frame(self) -> "pd.DataFrame":
        """A row per training: cross-entropy at each learning rate, then the trials in their order.

        Columns are `method`, what the search chose (`lr`, `alpha`, ...), `val_accuracy` or another metric of the task
        (missing where a trial ended early), `epochs` and `seconds` of training, and `failed` with the reason where one
        diverged.

        Raises:
            InputError: where pandas is not installed.
        """
        rates = self.results.baselines.items()
        metric = f"val_{get_task(self.results.task).primary}"
        rows: list[dict[str, Any]] = [{"method": BASELINE, "lr": float(rate), metric: score} for rate, score in rates]
        for trial in self.results.trials:
            method, settings = split_variant(trial.variant)
            chosen = {name: _number(value) for name, _, value in (setting.partition("=") for setting in settings)}
            rows.append(
                {
                    "method": method,
                    **trial.options,
                    **chosen,
                    metric: trial.val_score,
                    "epochs": len(trial.scores),
                    "seconds": trial.seconds,
                    "failed": trial.failed,
                }
            )
        return as_frame(rows)

    def to_latex(self) -> str:
        """The best trials beside cross-entropy, as a table for LaTeX's booktabs."""
        return latex_table(self._columns(), self._rows())

    def __repr__(self) -> str:
        return f"{text_table(self._columns(), self._rows())}\n{self._words()}"

    def _repr_html_(self) -> str:
        return f"<div>{html_table(self._columns(), self._rows())}<p>{html.escape(self._words())}</p></div>"

    def _columns(self) -> dict[str, str]:
        label = get_task(self.results.task).label
        return {"trial": "Trial", "score": f"Validation {label} %", "gain": "Over cross-entropy"}

    def _words(self) -> str:
        return f"{count_trials(self.results.trials)}. {LUCK}"

    def _rows(self) -> list[dict[str, str]]:
        found = self.results
        base = found.baseline_val_score
        first = {"trial": f"{BASELINE}:lr={found.baseline_lr:.3g}", "score": f"{100 * base:.2f}"}
        finished = [(trial.val_score, trial.name) for trial in found.trials if trial.val_score is not None]
        best = sorted(finished, key=lambda pair: -pair[0])[:MOST_TRIALS]
        return [
            first,
            *(
                {"trial": name, "score": f"{100 * value:.2f}", "gain": f"{100 * (value - base):+.2f}"}
                for value, name in best
            ),
        ]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
