"""Targets: who teaches, and when.

A target turns a batch into what the student should match. It is called as `target(logits, labels, inputs, index)`
with the student's detached logits and returns `(target_logits, valid)`: finite logits shaped like the student's, and
a boolean per row, False where there is nothing to match yet, or None when every row has a target. Rows that are not
valid become plain cross-entropy. Calling a target changes nothing that a later call reads; `update` does, after the
optimizer step.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from drkd.data.loader import Loader

Taught = tuple[Tensor, Tensor | None]
"""Target logits, and which rows have any (None: all)."""


class Target(nn.Module):
    """What every target is. Abstract: `forward` is the subclass's; the rest has a default."""

    needs: frozenset[str] = frozenset()
    """What `forward` reads beyond logits and labels (`inputs`, `index`), and batches it wants (`pairs`, `replay`)."""

    def prepare(self, samples: "Loader") -> None:
        """Look at the training samples, un-augmented and in order; `drkd.fit` calls this before training."""

    def update(self, epoch: int = 0) -> None:
        """Take in the step that was just made; `epoch` is the number of completed epochs."""

    def discard(self) -> None:
        """Forget the calls since the last update: their step was skipped."""


class Epochs(nn.Module):
    """Tells a target when an epoch has ended; part of the target's state, so that a resumed training goes on alike.

    `number` counts the completed epochs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.completed: Tensor
        self.register_buffer("completed", torch.zeros((), dtype=torch.int64))
        self.number = 0  # the buffer's value, where reading it stalls no accelerator

    def ended(self, epoch: int) -> bool:
        """Whether `epoch`, the number of completed epochs, is higher than at any call before."""
        if epoch <= self.number:
            return False
        self.number = epoch
        self.completed.fill_(epoch)
        return True

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.number = int(self.completed)


def resize_buffers(target: Target, state: dict[str, Tensor], prefix: str, names: tuple[str, ...]) -> None:
    """Give the buffers called `names` the shapes that a saved `state` has, before it is loaded into them."""
    for name in names:
        saved = state.get(prefix + name)
        if saved is not None:
            setattr(target, name, torch.empty_like(saved, device=getattr(target, name).device))


def to_half(logits: Tensor) -> Tensor:
    """Logits in float16: a relative error of at most 2^-11, and none beyond its range."""
    largest = torch.finfo(torch.float16).max
    return logits.clamp(-largest, largest).half()
