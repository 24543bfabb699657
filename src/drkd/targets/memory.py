"""The target that remembers what the student said of each sample before."""

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from drkd.targets.base import Target, Taught, resize_buffers, to_half
from drkd.utils.distributed import gather
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.data.loader import Loader

Keep = Literal["full", "half"] | int
"""What is kept of a sample's logits: all, all in float16, or so many of the largest."""

TABLES = ("table", "topk_index", "rest", "seen")


class Memory(Target):
    """The student's own logits at its last visit of the sample, kept by sample index (PS-KD, arXiv 2006.12000).

    A sample that was never visited has no target yet. In training mode a call queues its rows; `update` writes them.
    Rows with non-finite logits are never written.

    Args:
        size: number of samples, where known; `drkd.fit` tells it, else the table grows as needed; loading a state
            sizes it.
        keep: `full` remembers logits as they are, 4 K bytes a sample. `half` rounds each of them to float16: 2 K bytes,
            a relative error of at most 2^-11. A number k keeps the k largest, and what the probabilities of all others
            add up to: 8 k + 4 bytes. The others come back even; so at temperature 1 the k largest probabilities are
            exact, and the distribution is off by at most the others' sum, in total variation.

    Example:
        >>> memory = Memory(keep=1)
        >>> visit = (torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([2]), None, torch.tensor([0]))
        >>> _ = memory(*visit)
        >>> memory.update()
        >>> memory(*visit)[0].softmax(1)
        tensor([[0.1674, 0.1674, 0.6652]])
    """

    needs = frozenset({"index"})

    def __init__(self, size: int = 0, *, keep: Keep = "full") -> None:
        super().__init__()
        if keep not in ("full", "half") and not (isinstance(keep, int) and keep > 0):
            raise InputError(f"`Memory` keeps full, half or a number of logits above 0, got {keep!r}")
        self.size = size
        self.keep = keep
        self.table: Tensor
        self.topk_index: Tensor
        self.rest: Tensor
        self.seen: Tensor
        self.register_buffer("table", torch.zeros(0, 0))
        self.register_buffer("topk_index", torch.zeros(0, 0, dtype=torch.int32))
        self.register_buffer("rest", torch.zeros(0, 0))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.bool))
        self._queue: list[tuple[Tensor, Tensor]] = []

    def prepare(self, samples: "Loader") -> None:
        self.size = max(self.size, len(samples.split))

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        if index is None:
            raise InputError("`Memory` needs the samples' index (B,), got none; pass `index=`")
        self._fit(logits, index)
        remembered, seen = self._unpack(index, logits.shape[1]), self.seen[index]
        if self.training:
            self._queue.append((index, logits.detach()))
        return remembered, seen.view(-1, *[1] * (labels.dim() - 1)).expand_as(labels)

    def update(self, epoch: int = 0) -> None:
        for index, logits in (rows for queued in self._queue for rows in gather(queued)):
            self._fit(logits, index)  # other ranks' samples may lie beyond our own
            finite = logits.flatten(1).isfinite().all(dim=1)
            keep = finite.view(-1, *[1] * (logits.dim() - 1))
            for name, values in self._pack(logits.where(keep, 0.0)).items():
                table = getattr(self, name)
                table[index] = values.to(table.dtype).where(keep, table[index])
            self.seen[index] |= finite
        self.discard()

    def discard(self) -> None:
        self._queue.clear()

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
        kept = {name: values.shape[1:] for name, values in self._pack(logits[:1]).items()}
        if self.table.shape[1:] != kept["table"]:
            if len(self.seen):
                raise InputError(
                    f"`Memory` holds logits {tuple(self.table.shape[1:])} per sample, got {tuple(kept['table'])}; "
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
            kind = torch.promote_types(values.dtype, torch.float32) if floats else values.dtype
            kind = torch.int32 if name == "topk_index" else kind
            new = torch.zeros(rows, *values.shape[1:], device=like.device, dtype=kind)
            new[: len(self.seen)] = old.view(len(self.seen), *values.shape[1:])
            setattr(self, name, new)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        resize_buffers(self, state, prefix, TABLES)
        super()._load_from_state_dict(state, prefix, *args)
