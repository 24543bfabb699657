"""The means over an epoch, as sums over its batches: added up on the device, read once at the end."""

import torch
from torch import Tensor

from drkd.training.learner import StepLosses
from drkd.utils.distributed import add_up


class EpochSums:
    """Sums over the running epoch, in float64.

    Attributes:
        names: what is added up, `rows` among them: their number.
        totals: a sum for each name.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.totals = torch.zeros(0, dtype=torch.float64)

    def add(self, losses: StepLosses) -> None:
        """Add a batch."""
        names, rows = list(losses.parts), losses.rows.double()
        totals = torch.stack([part.double() for part in losses.parts.values()]) * rows
        if losses.correct is not None:
            names, totals = [*names, "train_accuracy"], torch.cat([totals, losses.correct.double().view(1)])
        names, totals = [*names, "rows"], torch.cat([totals, rows.view(1)])
        if names == self.names:
            self.totals += totals
        else:  # the first batch, or a term that had no weight so far
            self._merge(names, totals)

    def _merge(self, names: list[str], totals: Tensor) -> None:
        merged = dict(zip(self.names, self.totals, strict=True))
        for name, total in zip(names, totals, strict=True):
            merged[name] = merged[name] + total if name in merged else total
        self.names, self.totals = list(merged), torch.stack(list(merged.values()))

    def means(self) -> dict[str, float]:
        """The sums of all ranks over their rows; the next epoch begins at 0."""
        totals = dict(zip(self.names, add_up(self.totals).tolist(), strict=True))
        rows = totals.pop("rows")
        self.names, self.totals = [], self.totals[:0]
        return {name: total / rows for name, total in totals.items()}
