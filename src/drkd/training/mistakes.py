"""Which classes a classifier takes for which, and where it is surest and wrong."""

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from drkd.utils.checks import IGNORED

MOST_PAIRS = 400
"""Pairs of classes that are kept, the most frequent ones: all those of 20 classes."""

SUREST = 12
"""Mistakes that are kept."""

Confusions = dict[str, dict[str, int]]
"""How often a class (the first name) was taken for another (the second)."""


class Mistake(TypedDict):
    """A wrong answer: the position of the sample in its split, its label, and what was said with which probability."""

    index: int
    label: str
    predicted: str
    probability: float


def count_confusions(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> Confusions:
    """How often each class was taken for each other one, the most frequent pairs first.

    Args:
        predicted, labels: integers (N,); ignored labels do not count.
        classes: K names.

    Example:
        >>> count_confusions(torch.tensor([1, 1, 0, 2]), torch.tensor([0, 0, 1, 2]), ["cat", "dog", "cow"])
        {'cat': {'dog': 2}, 'dog': {'cat': 1}}
    """
    wrong = (labels != IGNORED) & (predicted != labels)
    counts = Counter(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True))
    confused: Confusions = {}
    for label, taken in sorted(counts, key=lambda pair: (-counts[pair], pair))[:MOST_PAIRS]:
        confused.setdefault(classes[label], {})[classes[taken]] = counts[label, taken]
    return confused


def surest_mistakes(probs: Tensor, labels: Tensor, classes: Sequence[str]) -> list[Mistake]:
    """The wrong answers of the highest probability, the surest first.

    Args:
        probs: (N, K).
        labels: integers (N,); ignored labels do not count.
        classes: K names.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
        >>> [each["index"] for each in surest_mistakes(probs, torch.tensor([1, 0, 1]), ["cat", "dog"])]
        [0, 1]
    """
    confidence, predicted = probs.max(dim=1)
    wrong = ((labels != IGNORED) & (predicted != labels)).nonzero().flatten()
    order = confidence[wrong].argsort(descending=True, stable=True)[:SUREST]
    return [
        Mistake(
            index=row,
            label=classes[int(labels[row])],
            predicted=classes[int(predicted[row])],
            probability=float(confidence[row]),
        )
        for row in wrong[order].tolist()
    ]


def surest_wrong_labels(probs: Tensor, labels: Tensor, classes: Sequence[str]) -> list[Mistake]:
    """The surest mistakes of a network that says of each class whether it is true.

    Args:
        probs: (N, K), of each class by itself.
        labels: (N, K) of 0, 1 and, where nothing is known, -100.
        classes: K names.

    Example:
        >>> surest_wrong_labels(torch.tensor([[0.1, 0.75]]), torch.tensor([[0, 0]]), ["cat", "dog"])
        [{'index': 0, 'label': 'no dog', 'predicted': 'dog', 'probability': 0.75}]
    """
    told = (probs > 0.5).long()
    sure = torch.where(told.bool(), probs, 1 - probs).where((labels != IGNORED) & (told != labels), -1.0).flatten()
    order = sure.argsort(descending=True, stable=True)[:SUREST]
    found = []
    for place in order[sure[order] >= 0].tolist():
        row, column = divmod(place, len(classes))
        names = (f"no {classes[column]}", classes[column])
        said = int(told[row, column])
        found.append(Mistake(index=row, label=names[1 - said], predicted=names[said], probability=float(sure[place])))
    return found
