"""Targets: who teaches, and when.

A target turns a batch into what the student should match. It is called as `target(logits, labels, inputs, index)`
with the student's detached logits and returns `(target_logits, valid)`: finite logits shaped like the student's, and
a boolean per row, False where there is nothing to match yet, or None when every row has a target. Rows that are not
valid become plain cross-entropy. Calling a target changes nothing that a later call reads; `update` does, after the
optimizer step.
"""

from torch import Tensor, nn

Taught = tuple[Tensor, Tensor | None]
"""Target logits, and which rows have any (None: all)."""


class Target(nn.Module):
    """What every target is. Abstract: `forward` is the subclass's; the rest has a default."""

    needs: frozenset[str] = frozenset()
    """What `forward` reads beyond logits and labels: `inputs`, `index`."""

    def update(self) -> None:
        """Take in the step that was just made."""

    def discard(self) -> None:
        """Forget the calls since the last update: their step was skipped."""
