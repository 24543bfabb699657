"""Targets that spare a frozen network's passes: `Cached` for the very images, `CleanView` for the plain ones."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.targets.base import Epochs, Samples, StudentBatch, Target, TargetOutput, mix_logits, to_half
from drkd.targets.networks import Frozen
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.targets.cross_fitted import CrossFitted
    from drkd.targets.teacher_cache import TeacherCache


class Cached(Target):
    """Frozen networks whose outputs are cached on disk, for all trainings that show it the same images.

    Its logits are rounded to float16, computed or found: a relative error of at most 2^-11 per logit. The cache keeps
    an epoch once all its samples are complete.

    Args:
        teacher: the network, or those of folds.
        cache: where its outputs are kept. The cache's key must fix the images, up to epoch and index. Second views
            (`replay`, `pairs`, `balanced`) cannot be told apart from first ones and must not be used with it.
        samples: their number.

    Attributes:
        found: whether an epoch's answers, or some of them, were in the cache, by epoch; checkpoints keep it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from drkd import TeacherCache
        >>> with tempfile.TemporaryDirectory() as root:
        ...     cache = TeacherCache(Path(root), {"teacher": "its hash"}, limit=10**6)
        ...     target = Cached(Frozen(torch.nn.Linear(2, 3)), cache, samples=1)
        ...     index = label = torch.tensor([0])
        ...     _ = target(StudentBatch(torch.zeros(1, 3), label, torch.ones(1, 2), index))
        ...     target.update(epoch=1)
        ...     cache.read(0, rows=1).shape
        (1, 3)
    """

    needs = frozenset({"inputs", "index"})

    def __init__(self, teacher: "Frozen | CrossFitted", cache: "TeacherCache", *, samples: int) -> None:
        super().__init__()
        self.teacher = teacher
        self.cache = cache
        self.samples = samples
        self.epochs = Epochs()
        self.found: dict[int, bool] = {}
        self._open = -1  # the epoch that the rest is about
        self._known: NDArray[np.float16] | Tensor | None = None
        self._asked = torch.zeros(0)
        self._complete = torch.zeros(0, dtype=torch.bool)

    def forward(self, batch: StudentBatch) -> TargetOutput:
        index = batch.index_for(self)
        if self._open != self.epochs.number:
            self._start(self.epochs.number, batch.logits)
        if isinstance(self._known, Tensor):
            return TargetOutput(self._known[index].float())
        if self._known is not None:
            return TargetOutput(torch.from_numpy(self._known[index.numpy()]).float())
        rounded = to_half(cast(Tensor, self.teacher(batch).logits))
        if self.training and rounded.shape == batch.logits.shape:  # the term refuses others
            self._asked[index], self._complete[index] = rounded, True
        return TargetOutput(rounded.float())

    def update(self, epoch: int = 0) -> None:
        self.end_epoch(epoch)

    def end_epoch(self, epoch: int) -> None:
        if self.epochs.ended(epoch) and self._open == epoch - 1 and self._known is None and self._complete.all():
            self.cache.write(self._open, self._asked.cpu().numpy())

    def reset(self) -> None:
        self.epochs.reset()
        self.found = {}
        self._open = -1

    def _start(self, epoch: int, like: Tensor) -> None:
        """Find the answers of `epoch`, or make room for new ones shaped like these logits."""
        self._open, self._known = epoch, None
        known = self.cache.read(epoch, rows=self.samples)
        self.found[epoch] = known is not None or self.found.get(epoch, False)  # it may go on after an interruption
        if known is None:
            self._asked = torch.zeros(self.samples, *like.shape[1:], dtype=torch.float16, device=like.device)
            self._complete = torch.zeros(self.samples, dtype=torch.bool, device=like.device)
        elif like.device.type == "cpu":
            self._known = known
        else:  # an accelerator should not wait for the disk at every step
            self._known = torch.tensor(known, device=like.device)


def fraction_found(targets: Iterable[Target]) -> float | None:
    """The fraction of epochs whose answers of the teacher were found in a cache; None without one."""
    caches = [target for target in targets if isinstance(target, Cached)]
    epochs = [found for target in caches for found in target.found.values()]
    return sum(epochs) / len(epochs) if epochs else None


class CleanView(Target):
    """A frozen network that sees every sample once, un-augmented, before training starts.

    Cheaper than `Frozen`, but a different method: it teaches the prediction for the plain image, whatever view the
    student sees. For a mixed image it teaches the weighted mean of the probabilities for both samples. Outputs are kept
    in memory in float16, with a relative error of at most 2^-11 per logit.

    Args:
        teacher: as for `Frozen`.

    `drkd.fit` shows it the samples; in your own loop, call `prepare` with a `drkd.data.Loader` of the training split
    that neither shuffles nor augments.
    """

    needs = frozenset({"index"})

    def __init__(self, teacher: Callable[..., Tensor]) -> None:
        super().__init__()
        self.teacher = Frozen(teacher)
        self.answers: Tensor | None = None

    def reset(self) -> None:
        self.answers = None

    @torch.no_grad()
    def prepare(self, samples: Samples) -> None:
        parts = [to_half(self.teacher.answer(batch.inputs)) for batch in samples.batches()]
        self.answers = torch.cat(parts)

    def forward(self, batch: StudentBatch) -> TargetOutput:
        index = batch.index_for(self)
        if self.answers is None:
            raise InputError("`CleanView` must see the samples first; call `prepare`")
        partners = batch.partners_for(self)
        if partners is not None:
            return TargetOutput(mix_logits(self._plain(index), self._plain(partners[0]), partners[1]))
        return TargetOutput(self._plain(index))

    def _plain(self, index: Tensor) -> Tensor:
        """The answers about samples."""
        answers = cast(Tensor, self.answers)
        if index.device.type == "cpu" and len(index) and int(index.max()) >= len(answers):
            raise InputError(
                f"`CleanView` was shown {len(answers)} samples, got the index {int(index.max())}; call `prepare` "
                "with the samples that are trained on"
            )
        return answers[index].float()
