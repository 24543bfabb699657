"""The target that has each sample judged by a network that was not trained on it."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from drkd.targets.base import StudentBatch, Target, TargetOutput
from drkd.targets.networks import Frozen, state_hash
from drkd.targets.precision import TeacherPrecision
from drkd.utils.errors import InputError


class CrossFitted(Target):
    """Frozen networks, each of which answers for the samples that it was not trained on.

    A network knows the labels of its training samples by heart, whether they are right or wrong. Cross-fitting asks
    another one: the samples are divided into folds, each network is trained on all folds but its own, and a row is
    answered by the network of its sample's fold, on the very view that the student sees.

    A mixed image (mixup, cutmix) is answered by the network of the fold of the sample with the larger weight. That
    network may have been trained on the other sample.

    Args:
        teachers: a network or callable for each fold, as for `Frozen`.
        fold: (N,), the fold of each training sample, from 0 on.
        precision: in which they are asked, as for `Frozen`.

    Attributes:
        parts: a `Frozen` for each fold.
        fold: int64 (N,).

    Raises:
        InputError: for fewer than two teachers, and for folds without a teacher.

    Example:
        >>> first, second = (lambda inputs: inputs), (lambda inputs: -inputs)
        >>> target = CrossFitted([first, second], torch.tensor([0, 1, 1]))
        >>> inputs, index = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([2, 0])
        >>> target(StudentBatch(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64), inputs, index)).logits
        tensor([[-1., -2.],
                [ 3.,  4.]])
    """

    needs = frozenset({"inputs", "index"})

    def __init__(
        self, teachers: Sequence[Callable[..., Tensor]], fold: Tensor, *, precision: TeacherPrecision | None = None
    ) -> None:
        super().__init__()
        if len(teachers) < 2 or not isinstance(fold, Tensor) or fold.dim() != 1 or fold.is_floating_point():
            raise InputError(
                "`CrossFitted` needs two teachers or more, and the fold of each sample as a tensor of whole numbers "
                f"(N,), got {len(teachers)} and {tuple(fold.shape) if isinstance(fold, Tensor) else fold!r}"
            )
        if len(fold) and not 0 <= int(fold.min()) <= int(fold.max()) < len(teachers):
            raise InputError(
                f"`CrossFitted` has teachers for the folds 0 to {len(teachers) - 1}, got folds from {int(fold.min())} "
                f"to {int(fold.max())}"
            )
        self.parts = nn.ModuleList(Frozen(teacher, precision=precision) for teacher in teachers)
        self.fold: Tensor
        self.register_buffer("fold", fold.long(), persistent=False)

    @property
    def teachers(self) -> list[Callable[..., Tensor]]:
        """The networks, in the order of the folds; as they were given until one is asked, then as `Frozen` has them."""
        return [part.original for part in self._frozen]

    @property
    def identity(self) -> str:
        """SHA-256 of all networks and folds; of plain callables only their number counts."""
        known = nn.Module()
        known.register_buffer("fold", self.fold)
        for number, part in enumerate(self._frozen):
            text = (part.identity or "").encode() or b"?"
            known.register_buffer(f"teacher{number}", torch.tensor(list(text), dtype=torch.uint8))
        return state_hash(known)

    def forward(self, batch: StudentBatch) -> TargetOutput:
        index = batch.index_for(self)
        if (partners := batch.partners_for(self)) is not None:
            index = index.where(partners[1] >= 0.5, partners[0])
        if index.device.type == "cpu" and len(index) and int(index.max()) >= len(self.fold):
            raise InputError(
                f"`CrossFitted` knows the folds of {len(self.fold)} samples, got the index {int(index.max())}; give it "
                "the samples that are trained on"
            )
        if not isinstance(batch.inputs, Tensor):
            raise InputError(f"`CrossFitted` needs inputs as one tensor (B, ...), got {type(batch.inputs).__name__}")
        fold, logits = self.fold[index], torch.zeros_like(batch.logits)
        for number, part in enumerate(self._frozen):
            rows = (fold == number).nonzero().flatten()
            if len(rows):
                answers = part.answer(batch.inputs[rows])
                if answers.shape[1:] != logits.shape[1:]:
                    raise InputError(
                        f"the teacher of fold {number} gives logits {tuple(answers.shape)} for a student's "
                        f"{tuple(logits.shape)}; teachers and student need the same classes"
                    )
                if answers.dtype != logits.dtype:
                    logits = logits.to(torch.promote_types(answers.dtype, logits.dtype))
                logits[rows] = answers.to(logits.dtype)
        return TargetOutput(logits)

    @property
    def _frozen(self) -> list[Frozen]:
        return [cast(Frozen, part) for part in self.parts]
