"""The means over an epoch, as sums over its batches."""

import torch

from drkd.training.learner import StepLosses
from drkd.utils.distributed import add_up

WAITING = 64
"""Batches whose numbers wait on the device to be read together: reading each at once would stall an accelerator."""


class EpochSums:
    """Sums over the running epoch, in float64, batch by batch.

    Attributes:
        totals: by name, the sum and the number of its rows: a term of weight 0 is not computed, so that a batch may
            lack some names. Whole only after `flush`.
    """

    def __init__(self) -> None:
        self.totals: dict[str, tuple[float, float]] = {}
        self._waiting: list[StepLosses] = []

    def add(self, losses: StepLosses) -> None:
        """Add a batch."""
        if len(self._waiting) == WAITING or (self._waiting and losses.parts.keys() != self._waiting[0].parts.keys()):
            self.flush()
        self._waiting.append(losses._replace(total=losses.parts["loss"]))  # not the graph of the backward pass

    def flush(self) -> None:
        """Read and add up what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        names = list(waiting[0].parts)
        parts = torch.stack([part for losses in waiting for part in losses.parts.values()]).view(-1, len(names))
        rows = _read([losses.rows for losses in waiting])
        correct = _read([losses.correct for losses in waiting if losses.correct is not None])
        for number, means in enumerate(parts.tolist()):
            for name, mean in zip(names, means, strict=True):
                self._add(name, mean * rows[number], rows[number])
            if correct:
                self._add("train_accuracy", correct[number], rows[number])

    def _add(self, name: str, value: float, rows: float) -> None:
        total, counted = self.totals.get(name, (0.0, 0.0))
        self.totals[name] = total + value, counted + rows

    def mean(self, name: str) -> float:
        """The mean so far of one of them, over this rank's rows; it reads what waits on the device."""
        self.flush()
        total, rows = self.totals[name]
        return total / max(1, rows)

    def means(self) -> dict[str, float]:
        """The sums of all ranks over their rows; the next epoch begins at 0."""
        self.flush()
        totals, self.totals = self.totals, {}
        reduced = add_up(torch.tensor(list(totals.values()), dtype=torch.float64)).tolist()
        return {name: total / max(1, rows) for name, (total, rows) in zip(totals, reduced, strict=True)}


def _read(numbers: list[torch.Tensor | int]) -> list[float]:
    """Numbers that may be on a device, as floats."""
    known = [number for number in numbers if isinstance(number, torch.Tensor)]
    return torch.stack(known).double().tolist() if known else [float(number) for number in numbers]
