"""The target that remembers what the student said of each sample before."""

import math
from typing import Literal

import torch
from torch import Tensor

from drkd.targets.base import Queue, Samples, StudentBatch, Target, TargetOutput, mix_logits, resize_buffers, to_half
from drkd.utils.checks import check_count
from drkd.utils.errors import InputError

Keep = Literal["full", "half"] | int
"""What is kept of a sample's logits: all, all in float16, or a number of the largest."""

TABLES = ("table", "topk_index", "rest", "seen")


class Memory(Target):
    """The student's own logits at its last visit of the sample, kept by sample index (PS-KD, arXiv 2006.12000).

    A sample that was never visited has no target yet. In training mode a call queues its rows; `update` writes them.
    Rows with non-finite logits are never written. If a sample occurs twice, its last finite row counts. A mixed image
    (mixup, cutmix) learns the weighted mean of both samples' remembered probabilities, and is not remembered itself,
    because its prediction is valid for neither sample.

    Args:
        size: number of samples, if known. `drkd.fit` fills it in; otherwise the table grows as needed. Loading a state
            sizes it.
        keep: `full` remembers logits as they are, 4 K bytes a sample. `half` rounds each of them to float16: 2 K bytes,
            a relative error of at most 2^-11. A number k keeps the k largest, and what the probabilities of all others
            add up to: 8 k + 4 bytes. The others come back even; so at temperature 1 the k largest probabilities are
            exact, and the distribution is off by at most the others' sum, in total variation.

    Example:
        >>> memory = Memory(keep=1)
        >>> visit = StudentBatch(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([2]), index=torch.tensor([0]))
        >>> _ = memory(visit)
        >>> memory.update()
        >>> memory(visit).logits.softmax(1)
        tensor([[0.1674, 0.1674, 0.6652]])
    """

    needs = frozenset({"index"})

    def __init__(self, size: int = 0, *, keep: Keep = "full") -> None:
        super().__init__()
        named = isinstance(keep, str) and keep in ("full", "half")
        if not named and not (isinstance(keep, int) and keep is not True and keep > 0):
            raise InputError(f"`Memory` keeps full, half or a number of logits above 0, got {keep!r}")
        check_count("size", size, at_least=0)
        self.size = self.given_size = size
        self.keep = keep
        self.table: Tensor
        self.topk_index: Tensor
        self.rest: Tensor
        self.seen: Tensor
        self.register_buffer("table", torch.zeros(0, 0))
        self.register_buffer("topk_index", torch.zeros(0, 0, dtype=torch.int32))
        self.register_buffer("rest", torch.zeros(0, 0))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.bool))
        self.queue = Queue()

    def reset(self) -> None:
        for name in TABLES:
            table = getattr(self, name)
            setattr(self, name, table.new_zeros((0,) if name == "seen" else (0, 0)))
        self.size = self.given_size
        self.queue.clear()

    def prepare(self, samples: Samples) -> None:
        self.size = max(self.size, len(samples.split))

    def forward(self, batch: StudentBatch) -> TargetOutput:
        index = batch.index_for(self)
        self._fit(batch.logits, index)
        if (partners := batch.partners_for(self)) is not None:
            return self._mixed(batch, index, *partners)
        self.queue.add(index, batch.logits)
        return TargetOutput(self._unpack(index, batch.logits.shape[1]), batch.per_row(self.seen[index]))

    def _mixed(self, batch: StudentBatch, index: Tensor, partner_index: Tensor, weight: Tensor) -> TargetOutput:
        """Of two samples by their weights; only images that are wholly one sample's are queued to be written."""
        self._fit(batch.logits, partner_index)
        plain, classes = weight == 1, batch.logits.shape[1]
        per_value = plain.view(-1, *[1] * (batch.logits.dim() - 1))
        self.queue.add(index, batch.logits.where(per_value, torch.nan))  # which `update` never writes
        both = mix_logits(self._unpack(index, classes), self._unpack(partner_index, classes), weight)
        return TargetOutput(both, batch.per_row(self.seen[index] & (self.seen[partner_index] | plain)))

    def update(self, epoch: int = 0) -> None:
        for index, said in self.queue.take():
            self._fit(said, index)  # other ranks' samples may lie beyond our own
            all_differ = said.device.type == "cpu" and len(set(index.tolist())) == len(index)
            logits = said if all_differ else said[last_visits(index, said.isfinite().flatten(1).all(dim=1))]
            finite = logits.isfinite()
            if logits.device.type == "cpu" and finite.all():  # as almost always
                for name, values in self._pack(logits).items():
                    table = getattr(self, name)
                    table[index] = values.to(table.dtype)
                self.seen[index] = True
                continue
            keep = finite.flatten(1).all(dim=1)
            per_value = keep.view(-1, *[1] * (logits.dim() - 1))
            for name, values in self._pack(logits.where(per_value, 0.0)).items():
                table = getattr(self, name)
                table[index] = values.to(table.dtype).where(per_value, table[index])
            self.seen[index] |= keep

    def discard(self) -> None:
        self.queue.clear()

    def _pack(self, logits: Tensor) -> dict[str, Tensor]:
        """What is kept of logits (B, K, ...): tables' names and their new rows."""
        if self.keep == "full":
            return {"table": logits}
        if self.keep == "half":
            return {"table": to_half(logits)}
        largest, topk_index = logits.topk(min(int(self.keep), logits.shape[1]), dim=1)
        others = logits.scatter(1, topk_index, -torch.inf).logsumexp(dim=1, keepdim=True)
        return {"table": largest, "topk_index": topk_index, "rest": others}

    def _unpack(self, index: Tensor, classes: int) -> Tensor:
        """Logits (B, K, ...) from what was kept; zeros for samples never visited."""
        kept = self.table[index]
        if not isinstance(self.keep, int):
            return kept.to(torch.promote_types(kept.dtype, torch.float32))
        left = max(1, classes - kept.shape[1])
        even = (self.rest[index] - math.log(left)).expand(-1, classes, *kept.shape[2:])
        return even.scatter(1, self.topk_index[index].long(), kept)

    def _fit(self, logits: Tensor, index: Tensor) -> None:
        """Make room for a batch; the tables' shapes are known from the first logits on."""
        kept = logits.shape[1:]
        if isinstance(self.keep, int):
            kept = torch.Size([min(self.keep, kept[0]), *kept[1:]])
        if self.table.shape[1:] != kept:
            if len(self.seen):
                raise InputError(
                    f"`Memory` holds logits {tuple(self.table.shape[1:])} per sample, got {tuple(kept)}; "
                    "keep the number of classes and the image size fixed during a training"
                )
            self._resize(max(self.size, 1), logits)
        if logits.device.type == "cpu" or not self.size:  # a known size needs no look at the values
            rows = int(index.max()) + 1 if index.numel() else 0
            if rows > len(self.seen):
                self._resize(max(rows, 2 * len(self.seen)), logits)

    def _resize(self, rows: int, like: Tensor) -> None:
        for name, values in {**self._pack(like[:1]), "seen": self.seen.new_zeros(1)}.items():
            old = getattr(self, name)
            floats = values.is_floating_point() and values.dtype != torch.float16
            dtype = torch.promote_types(values.dtype, torch.float32) if floats else values.dtype
            dtype = torch.int32 if name == "topk_index" else dtype
            new = torch.zeros(rows, *values.shape[1:], device=like.device, dtype=dtype)
            new[: len(self.seen)] = old.view(len(self.seen), *values.shape[1:])
            setattr(self, name, new)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        resize_buffers(self, state, prefix, TABLES)
        super()._load_from_state_dict(state, prefix, *args)


def last_visits(index: Tensor, counts: Tensor) -> Tensor:
    """For each row of `index` (B,), the last row of the same sample: writing those, no order of the writes matters.

    It is the last of those that count (B,), if any of them does. No accelerator has to wait for that.

    Example:
        >>> last_visits(torch.tensor([4, 9, 4]), torch.tensor([True, True, True]))
        tensor([2, 1, 2])
        >>> last_visits(torch.tensor([4, 9, 4]), torch.tensor([True, True, False]))
        tensor([0, 1, 0])
    """
    doubled = 2 * index.long()
    ordered, rows = (doubled + counts).sort(stable=True)  # of each sample, the rows that count come last
    return rows[torch.searchsorted(ordered, doubled + 1, right=True) - 1]
