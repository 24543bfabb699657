"""Targets that teach from the batches themselves: a partner of the same class, the batch before."""

import torch
from torch import Tensor

from drkd.targets.base import Epochs, Queue, StudentBatch, Target, TargetOutput, resize_buffers
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError


class Partner(Target):
    """The student's own logits on another sample of the same class, in the same batch (CS-KD, arXiv 2003.13964).

    It needs batches of pairs, which a loader can make (`drkd.data.loader`): the second half of the rows are the
    partners of the first half, in order. They have the ignored label, so they teach but do not count otherwise.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0], [5.0, 6.0]])
        >>> Partner()(StudentBatch(logits, torch.tensor([0, -100]))).logits[0]
        tensor([5., 6.])
    """

    needs = frozenset({"pairs"})

    def forward(self, batch: StudentBatch) -> TargetOutput:
        rows = len(batch.logits)
        half, odd = divmod(rows, 2)
        if odd or (batch.labels.device.type == "cpu" and bool((batch.labels[half:] != IGNORED).any())):
            raise InputError(
                f"`Partner` needs a batch of pairs, got {rows} rows whose second half has labels of its own; "
                "append a partner of the same class for each row, with the ignored label"
            )
        return TargetOutput(batch.logits.roll(half, dims=0))


class LastBatch(Target):
    """The student's own logits at the last step, for the samples that were in that batch (DLB, arXiv 2203.16172).

    Other samples have no target, and none has at an epoch's start, which `update` knows by its count of completed
    epochs. It needs batches that begin with new views of the previous batch's samples, which a loader can make
    (`drkd.data.loader`). In training mode a call queues its rows; `update` keeps them.

    Example:
        >>> target = LastBatch()
        >>> _ = target(StudentBatch(torch.tensor([[1.0, 2.0]]), torch.tensor([0]), index=torch.tensor([7])))
        >>> target.update()
        >>> target(StudentBatch(torch.zeros(2, 2), torch.tensor([0, 1]), index=torch.tensor([7, 8]))).valid
        tensor([ True, False])
    """

    needs = frozenset({"index", "replay"})

    def __init__(self) -> None:
        super().__init__()
        self.logits: Tensor
        self.index: Tensor
        self.register_buffer("logits", torch.zeros(0, 0))
        self.register_buffer("index", torch.zeros(0, dtype=torch.int64))
        self.epochs = Epochs()
        self.queue = Queue()

    def forward(self, batch: StudentBatch) -> TargetOutput:
        index, logits = batch.index_for(self), batch.logits
        self.queue.add(index, logits)
        if not len(self.index):
            return TargetOutput(torch.zeros_like(logits), torch.zeros_like(batch.labels, dtype=torch.bool))
        same = index[:, None] == self.index[None, :]
        was_there = same.any(dim=1)
        found = self.logits[same.to(torch.uint8).argmax(dim=1)].to(logits.dtype)
        per_row = was_there.view(-1, *[1] * (logits.dim() - 1))
        return TargetOutput(found.where(per_row, 0.0), batch.per_row(was_there))

    def update(self, epoch: int = 0) -> None:
        if rows := self.queue.take():
            self.index = torch.cat([index for index, _ in rows])
            self.logits = torch.cat([logits for _, logits in rows])
        self.end_epoch(epoch)

    def end_epoch(self, epoch: int) -> None:
        if self.epochs.ended(epoch):  # the next batch replays nothing; what it has in common with the last is chance
            self.index, self.logits = self.index[:0], self.logits[:0]

    def reset(self) -> None:
        self.index, self.logits = self.index[:0], self.logits[:0]
        self.epochs.reset()
        self.queue.clear()

    def discard(self) -> None:
        self.queue.clear()

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        resize_buffers(self, state, prefix, ("logits", "index"))
        super()._load_from_state_dict(state, prefix, *args)
