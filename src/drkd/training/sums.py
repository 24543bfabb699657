"""The means over an epoch, as sums over its batches: added up on the device, read once at the end."""

import torch
from torch import Tensor

from drkd.training.learner import StepLosses
from drkd.utils.distributed import add_up

WAITING = 64
"""Batches whose numbers wait to be added up: one sum of many costs a step less than many sums."""


class EpochSums:
    """Sums over the running epoch, in float64.

    Attributes:
        names: what is added up, `rows` among them: their number.
        totals: a sum for each name.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.totals = torch.zeros(0, dtype=torch.float64)
        self._waiting: list[StepLosses] = []

    def add(self, losses: StepLosses) -> None:
        """Add a batch."""
        if len(self._waiting) == WAITING or (self._waiting and losses.parts.keys() != self._waiting[0].parts.keys()):
            self.flush()
        self._waiting.append(losses)

    def flush(self) -> None:
        """Add up what waits, batch by batch: `names` and `totals` are whole only then."""
        if not self._waiting:
            return
        first, waiting = self._waiting[0], self._waiting
        rows = torch.stack([losses.rows for losses in waiting]).double()
        columns = [torch.stack([losses.parts[name] for losses in waiting]).double() * rows for name in first.parts]
        names = list(first.parts)
        if first.correct is not None:
            names.append("train_accuracy")
            columns.append(torch.stack([losses.correct for losses in waiting if losses.correct is not None]).double())
        columns.append(rows)
        for name, column in zip([*names, "rows"], columns, strict=True):
            self._add_column(name, column)
        self._waiting = []

    def _add_column(self, name: str, column: Tensor) -> None:
        """Add a number for each batch to the sum called `name`, in their order: a sum of sums would round otherwise."""
        if name in self.names:
            at = self.names.index(name)
            self.totals[at] = torch.cat([self.totals[at].view(1), column]).cumsum(0)[-1]
        else:
            self.names.append(name)
            self.totals = torch.cat([self.totals.to(column.device), column.cumsum(0)[-1:]])

    def means(self) -> dict[str, float]:
        """The sums of all ranks over their rows; the next epoch begins at 0."""
        self.flush()
        totals = dict(zip(self.names, add_up(self.totals).tolist(), strict=True))
        rows = totals.pop("rows")
        self.names, self.totals = [], self.totals[:0]
        return {name: total / rows for name, total in totals.items()}
