"""The target that remembers what the student predicts for each class."""

import torch
from torch import Tensor

from drkd.targets.base import Epochs, Queue, StudentBatch, Target, TargetOutput, resize_buffers
from drkd.utils.checks import IGNORED


class ClassMean(Target):
    """The mean prediction for each class over the last epoch, from its samples predicted right (OLS, arXiv 2011.12562).

    During an epoch the probabilities of correctly predicted samples add up by class; at its end, which `update` knows
    by its count of completed epochs, their means become the targets of the next. A class without any is uniform, and
    so are all of them in the first epoch. The logits handed out are log-probabilities. A label that names several
    classes is taught the mean of theirs by its weights, and adds to each by its weight; a mixed image adds nothing.

    Example:
        >>> target = ClassMean()
        >>> _ = target(StudentBatch(torch.tensor([[2.0, 0.0]]), torch.tensor([0])))
        >>> target.update(epoch=1)
        >>> target(StudentBatch(torch.zeros(2, 2), torch.tensor([0, 1]))).logits.exp()
        tensor([[0.8808, 0.1192],
                [0.5000, 0.5000]])
    """

    def __init__(self) -> None:
        super().__init__()
        self.means: Tensor
        self.sums: Tensor
        self.counts: Tensor
        self.register_buffer("means", torch.zeros(0, 0))
        self.register_buffer("sums", torch.zeros(0, 0))
        self.register_buffer("counts", torch.zeros(0))
        self.epochs = Epochs()
        self.queue = Queue()

    def forward(self, batch: StudentBatch) -> TargetOutput:
        logits, labels, classes = batch.logits, batch.labels, batch.logits.shape[1]
        if len(self.counts) != classes:
            dtype = torch.promote_types(logits.dtype, torch.float32)
            self.means = torch.full((classes, classes), 1 / classes, device=logits.device, dtype=dtype)
            self.sums, self.counts = torch.zeros_like(self.means), torch.zeros_like(self.means[0])
        tiny = torch.finfo(self.means.dtype).tiny
        if batch.mixed is not None:
            probs = batch.mixed.probs.to(self.means.dtype).movedim(1, -1)
            adds = labels != IGNORED
            if batch.mixed.weight is not None:
                adds = adds & batch.per_row(batch.mixed.weight == 1)
            self.queue.add(probs * adds.unsqueeze(-1), logits)
            with torch.autocast(logits.device.type, enabled=False):  # which would multiply in half precision
                taught = probs @ self.means
            return TargetOutput(taught.clamp(min=tiny).log().movedim(-1, 1).to(logits.dtype))
        self.queue.add(labels, logits)
        label_index = labels.clamp(0, classes - 1)  # ignored rows get some target; they do not count
        return TargetOutput(self.means[label_index].clamp(min=tiny).log().movedim(-1, 1).to(logits.dtype))

    def update(self, epoch: int = 0) -> None:
        for labels, logits in self.queue.take():
            probs = torch.softmax(logits.to(self.sums.dtype), dim=1).movedim(1, -1).flatten(0, -2)
            if labels.is_floating_point():  # each row a distribution over the classes, or zeros
                weights = labels.flatten(0, -2)
                right = logits.argmax(dim=1).flatten() == weights.argmax(dim=1)
                weights = weights * right[:, None]
                with torch.autocast(logits.device.type, enabled=False):
                    self.sums += weights.T @ probs
                self.counts += weights.sum(dim=0)
                continue
            right = (logits.argmax(dim=1) == labels).flatten().to(self.sums.dtype)  # never for ignored rows
            label_index = labels.flatten().clamp(min=0)
            self.sums.index_add_(0, label_index, probs * right[:, None])
            self.counts.index_add_(0, label_index, right)
        self.end_epoch(epoch)

    def end_epoch(self, epoch: int) -> None:
        if self.epochs.ended(epoch):
            uniform = torch.full_like(self.sums, 1 / max(1, len(self.counts)))
            mean = self.sums / self.counts.clamp(min=torch.finfo(self.counts.dtype).tiny)[:, None]
            self.means = mean.where(self.counts[:, None] > 0, uniform)
            self.sums, self.counts = torch.zeros_like(self.sums), torch.zeros_like(self.counts)

    def reset(self) -> None:
        self.means, self.sums, self.counts = self.means.new_zeros(0, 0), self.sums.new_zeros(0, 0), self.counts[:0]
        self.epochs.reset()
        self.queue.clear()

    def discard(self) -> None:
        self.queue.clear()

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        resize_buffers(self, state, prefix, ("means", "sums", "counts"))
        super()._load_from_state_dict(state, prefix, *args)
