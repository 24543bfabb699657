"""Targets that are rules: the labels, the uniform distribution, the virtual teacher."""

import math

import torch

from drkd.targets.base import StudentBatch, Target, TargetOutput
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_fraction
from drkd.utils.errors import InputError


class OneHot(Target):
    """The labels themselves: never a soft target, so every row is plain cross-entropy (arithmetic on integers).

    Example:
        >>> OneHot()(StudentBatch(torch.zeros(1, 4), torch.tensor([0])))
        TargetOutput(logits=None, valid=None, changed=None)
    """

    def forward(self, batch: StudentBatch) -> TargetOutput:
        return TargetOutput(None)


class Uniform(Target):
    """The same probability 1/K for every class.

    Example:
        >>> Uniform()(StudentBatch(torch.randn(1, 4), torch.tensor([0]))).logits
        tensor([[0., 0., 0., 0.]])
    """

    def forward(self, batch: StudentBatch) -> TargetOutput:
        logits = batch.logits
        if logits.dim() > 2:
            return TargetOutput(torch.zeros_like(logits))
        return TargetOutput(torch.zeros_like(logits[:1]).expand_as(logits))  # one row: large losses read it once


class Virtual(Target):
    """The hand-designed teacher of Tf-KD_reg (arXiv 1909.11723): `correct_prob` on the label, the rest spread evenly.

    Args:
        correct_prob: probability of the label, in (0, 1); the paper wants at least 0.9.
        probs_as_logits: hand out the probabilities themselves where logits are expected, as the public code does,
            so that `softmax(probs / temperature)` is almost uniform. Otherwise the logits are log-probabilities.

    Example:
        >>> Virtual(0.9)(StudentBatch(torch.randn(1, 3), torch.tensor([1]))).logits.exp()
        tensor([[0.0500, 0.9000, 0.0500]])
    """

    def __init__(self, correct_prob: float = 0.99, *, probs_as_logits: bool = False) -> None:
        check_arguments(Virtual.__init__, locals())
        super().__init__()
        check_fraction("correct_prob", correct_prob, open_ends=True)
        self.correct_prob = correct_prob
        self.probs_as_logits = probs_as_logits

    def forward(self, batch: StudentBatch) -> TargetOutput:
        logits, classes = batch.logits, batch.logits.shape[1]
        if classes < 2:
            raise InputError(f"`Virtual` needs at least 2 classes, got logits {tuple(logits.shape)}")
        right, wrong = self.correct_prob, (1 - self.correct_prob) / (classes - 1)
        if batch.mixed is not None:  # of each class that the label names, its own teacher, in the label's proportions
            probs = wrong + (right - wrong) * batch.mixed.probs
            return TargetOutput(probs if self.probs_as_logits else probs.log())
        if not self.probs_as_logits:
            right, wrong = math.log(right), math.log(wrong)
        # ignored rows get some target; they do not count
        label_index = batch.labels if batch.all_counted else batch.labels.long().clamp(0, classes - 1)
        return TargetOutput(torch.full_like(logits, wrong).scatter_(1, label_index.unsqueeze(1), right))
