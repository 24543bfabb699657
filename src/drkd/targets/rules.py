"""Targets that are rules: the labels, the uniform distribution, the virtual teacher."""

import math

import torch
from torch import Tensor

from drkd.targets.base import Target, Taught
from drkd.utils.checks import check_fraction
from drkd.utils.errors import InputError


class OneHot(Target):
    """The labels themselves: never a soft target, so every row is plain cross-entropy (arithmetic on integers)."""

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        return torch.zeros_like(logits), torch.zeros_like(labels, dtype=torch.bool)


class Uniform(Target):
    """The same probability 1/K for every class.

    Example:
        >>> Uniform()(torch.randn(1, 4), torch.tensor([0]))
        (tensor([[0., 0., 0., 0.]]), None)
    """

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        return torch.zeros_like(logits), None


class Virtual(Target):
    """The hand-designed teacher of Tf-KD_reg (arXiv 1909.11723): `correct_prob` on the label, the rest spread evenly.

    Args:
        correct_prob: probability of the label, in (0, 1); the paper wants at least 0.9.
        probs_as_logits: hand out the probabilities themselves where logits are expected, as the public code does,
            so that `softmax(probs / temperature)` is almost uniform. Otherwise the logits are log-probabilities.

    Example:
        >>> logits, _ = Virtual(0.9)(torch.randn(1, 3), torch.tensor([1]))
        >>> logits.exp()
        tensor([[0.0500, 0.9000, 0.0500]])
    """

    def __init__(self, correct_prob: float = 0.99, *, probs_as_logits: bool = False) -> None:
        super().__init__()
        check_fraction("correct_prob", correct_prob, open_ends=True)
        self.correct_prob = correct_prob
        self.probs_as_logits = probs_as_logits

    def forward(
        self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None, index: Tensor | None = None
    ) -> Taught:
        classes = logits.shape[1]
        if classes < 2:
            raise InputError(f"`Virtual` needs at least 2 classes, got logits {tuple(logits.shape)}")
        right, wrong = self.correct_prob, (1 - self.correct_prob) / (classes - 1)
        if not self.probs_as_logits:
            right, wrong = math.log(right), math.log(wrong)
        label_index = (
            labels.clamp(0, classes - 1).long().unsqueeze(1)
        )  # ignored rows get some target; they do not count
        return torch.full_like(logits, wrong).scatter(1, label_index, right), None
