"""The target that remembers what the student said of each sample before."""

import torch
from torch import Tensor

from drkd.distributed import gather
from drkd.errors import InputError
from drkd.targets.base import Target, Taught, make_room


class Memory(Target):
    """The student's own logits at its last visit of the sample, kept by sample index (PS-KD, arXiv 2006.12000).

    A sample that was never visited has no target yet. In training mode a call queues its rows; `update` writes them.
    Rows with non-finite logits are never written.

    Args:
        size: number of samples, where known; the table grows as needed, and loading a state sizes it.
    """

    needs = frozenset({"index"})
    independent_rows = True

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.size = size
        self.table: Tensor
        self.seen: Tensor
        self.register_buffer("table", torch.zeros(0, 0))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.bool))
        self._queue: list[tuple[Tensor, Tensor]] = []

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        if index is None:
            raise InputError("`Memory` needs the samples' index (B,), got none; pass `index=`")
        self._fit(logits, index)
        remembered, seen = self.table[index], self.seen[index]
        if self.training:
            self._queue.append((index, logits.detach().to(self.table.dtype)))
        return remembered, seen.view(-1, *[1] * (labels.dim() - 1)).expand_as(labels)

    def update(self, epoch: int = 0) -> None:
        for index, logits in (rows for queued in self._queue for rows in gather(queued)):
            self._fit(logits, index)  # other ranks' samples may lie beyond our own
            finite = logits.flatten(1).isfinite().all(dim=1)
            keep = finite.view(-1, *[1] * (logits.dim() - 1))
            self.table[index] = logits.where(keep, self.table[index])
            self.seen[index] |= finite
        self.discard()

    def discard(self) -> None:
        self._queue.clear()

    def _fit(self, logits: Tensor, index: Tensor) -> None:
        """Make room for a batch; the table's shape is known from the first logits on."""
        if self.table.shape[1:] != logits.shape[1:]:
            if len(self.seen):
                raise InputError(
                    f"`Memory` holds logits {tuple(self.table.shape[1:])} per sample, got {tuple(logits.shape[1:])}; "
                    "keep the number of classes and the picture size fixed during a training"
                )
            self._resize(max(self.size, 1), logits)
        if logits.device.type == "cpu" or not self.size:  # a known size needs no look at the values
            rows = int(index.max()) + 1 if index.numel() else 0
            if rows > len(self.seen):
                self._resize(max(rows, 2 * len(self.seen)), logits)

    def _resize(self, rows: int, like: Tensor) -> None:
        kind = torch.promote_types(like.dtype, torch.float32)
        table = torch.zeros(rows, *like.shape[1:], device=like.device, dtype=kind)
        seen = torch.zeros(rows, dtype=torch.bool, device=like.device)
        table[: len(self.seen)], seen[: len(self.seen)] = self.table.view(len(self.seen), *like.shape[1:]), self.seen
        self.table, self.seen = table, seen

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        make_room(self, state, prefix, ("table", "seen"))
        super()._load_from_state_dict(state, prefix, *args)
