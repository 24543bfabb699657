"""What a student predicts for each training sample while it is trained; nothing learns from it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drkd.targets.base import Queue, Samples, Target, resize_buffers
from drkd.utils.errors import InputError
from drkd.utils.files import write_tensors
from drkd.utils.labels import MixedLabels

FILE = "answers.safetensors"
"""What a run directory has of them: `probabilities` and `visits`."""


class Answers(Target):
    """The mean of the student's probabilities over all its visits of each sample: its memory, over all epochs.

    It is no term of an objective but watches one, see `watch`. Mixed images (mixup, cutmix) are not counted: what the
    student says of them is said of neither sample. A step that was skipped does not count.

    Attributes:
        total: sums of probabilities, float32 (N, K).
        visits: how often each sample was seen, int64 (N,).
    """

    needs = frozenset({"index"})

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.total: Tensor
        self.visits: Tensor
        self.register_buffer("total", torch.zeros(0, 0))
        self.register_buffer("visits", torch.zeros(0, dtype=torch.int64))
        self.queue = Queue()

    @property
    def probabilities(self) -> Tensor:
        """(N, K), rows of zeros for samples that were never seen alone."""
        return self.total / self.visits.clamp(min=1)[:, None]

    def write(self, out: Path) -> None:
        """Keep them in the run directory `out`."""
        write_tensors(out / FILE, {"probabilities": self.probabilities, "visits": self.visits})

    def reset(self) -> None:
        self.total, self.visits = self.total.new_zeros(0, 0), self.visits.new_zeros(0)
        self.queue.clear()

    def prepare(self, samples: Samples) -> None:
        self.size = len(samples.split)

    def add(self, logits: Tensor, index: Tensor, labels: Tensor | MixedLabels) -> None:
        """Take in a batch's logits (B, K) and which samples they are of (B,), until the step is made."""
        if isinstance(labels, MixedLabels) and labels.weight is not None:
            alone = labels.weight == 1
            logits, index = logits[alone], index[alone]
        self.queue.add(index, logits.detach().float().softmax(dim=1))

    def update(self, epoch: int = 0) -> None:
        del epoch
        for index, probs in self.queue.take():
            if not self.total.numel():
                self.total = probs.new_zeros(self.size, probs.shape[1])
                self.visits = index.new_zeros(self.size)
            self.total.index_add_(0, index, probs)
            self.visits.index_add_(0, index, torch.ones_like(index))

    def discard(self) -> None:
        self.queue.clear()

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        resize_buffers(self, state, prefix, ("total", "visits"))
        super()._load_from_state_dict(state, prefix, *args)


def watch(objective: nn.Module) -> Answers:
    """Have `Answers` take in every batch that `objective` is called with, from now on.

    They are reset, updated, discarded and saved with the objective's targets; its losses stay what they are.

    Args:
        objective: a `drkd.Objective`.

    Raises:
        InputError: for another one, which has no targets.

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits", limit_train=100)
        >>> student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> method = drkd.label_smoothing(0.1)
        >>> answers = watch(method)
        >>> _ = drkd.fit(student, method, data, epochs=2)
        >>> answers.probabilities.shape, answers.visits.unique()
        (torch.Size([100, 10]), tensor([2]))
    """
    targets: Any = getattr(objective, "targets", None)
    if not isinstance(targets, tuple):
        raise InputError(f"answers are kept beside a drkd.Objective, got {type(objective).__name__}")
    answers: Any = Answers()
    owner: Any = objective
    owner.answers = answers
    owner.targets = (*targets, answers)
    owner.needs = owner.needs | answers.needs

    def take_in(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], losses: object) -> None:
        del module, losses
        logits, labels = given
        answers.add(logits, named["index"], labels)

    objective.register_forward_hook(take_in, with_kwargs=True)
    return answers  # type: ignore[no-any-return]
