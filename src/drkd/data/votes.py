"""Labels that several annotators gave: their votes per class, from a Parquet column, a CSV file or a tensor.

A training learns from the distribution of the votes. Whatever needs one class for an image, such as accuracy and the
division into splits, goes by the class that its folder names, or else by the one with most votes.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from drkd.data.by_name import same_name
from drkd.data.problems import OnProblem, problem_at, some
from drkd.utils.errors import InputError

VOTES_FILE = "votes.csv"
"""Beside the class folders: a column `file`, and one for each class; a row per image, or one for each annotator."""


class Votes(int):
    """A class as any other label, that knows the votes for all classes.

    Example:
        >>> label = Votes.of([1, 3, 0])
        >>> label, label == 1, label.probs
        (Votes(1, (0.25, 0.75, 0.0)), True, (0.25, 0.75, 0.0))
    """

    probs: tuple[float, ...]

    @classmethod
    def of(cls, votes: Sequence[float | None], label: int | None = None) -> "Votes | None":
        """Votes as a label, or as those on another `label`; None where they are no numbers from 0 on, or all 0."""
        numbers = [math.nan if vote is None else float(vote) for vote in votes]
        total = sum(numbers)
        if not (0 < total < math.inf and min(numbers) >= 0):
            return None
        made = cls(numbers.index(max(numbers)) if label is None else label)
        made.probs = tuple(number / total for number in numbers)
        return made

    def __repr__(self) -> str:
        return f"Votes({int(self)}, {self.probs})"


def votes_of(samples: Mapping[str, Sequence[tuple[object, int]]], num_classes: int) -> dict[str, Tensor]:
    """Distributions (N, K) of each split that has votes, one-hot where nobody voted on an image."""
    found = {}
    for split, part in samples.items():
        labels = [label for _, label in part]
        if any(isinstance(label, Votes) for label in labels):
            rows = [label.probs if isinstance(label, Votes) else _one_hot(label, num_classes) for label in labels]
            found[split] = torch.tensor(rows)
    return found


def _one_hot(label: int, num_classes: int) -> tuple[float, ...]:
    return tuple(float(number == label) for number in range(num_classes))


def split_votes(labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Integer labels (N,), and distributions (N, K) where `labels` are votes (N, K) of any numbers from 0 on.

    Raises:
        InputError: for rows without a vote, and for votes below 0.

    Example:
        >>> split_votes(torch.tensor([[1, 3], [2, 0]]))
        (tensor([1, 0]), tensor([[0.2500, 0.7500],
                [1.0000, 0.0000]]))
    """
    if labels.dim() != 2:
        return labels, None
    votes = labels.float()
    totals = votes.sum(dim=1, keepdim=True)
    bad = ~(totals.isfinite() & (totals > 0) & (votes >= 0).all(dim=1, keepdim=True)).flatten()
    if bad.any():
        row = int(bad.nonzero()[0])
        raise InputError(f"votes must be numbers from 0 on, not all 0, got {votes[row].tolist()} in row {row}")
    return votes.argmax(dim=1), votes / totals


def read_votes(root: Path, classes: Sequence[str], on_problem: OnProblem) -> Mapping[str, list[float]]:
    """The votes for each class, by file name relative to `root`; nothing where there is no file of votes.

    Rows of the same file add up.
    """
    path = root / VOTES_FILE
    if not path.is_file():
        return {}
    found: dict[str, list[float]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = list(rows.fieldnames or ())
            if sorted(map(same_name, columns)) != sorted(map(same_name, ["file", *classes])):
                reason = f"needs the columns file, {some(list(classes))}, got {some(columns) or 'none'}"
                on_problem(problem_at(path, reason, "wrong columns"))
                return {}
            rows.fieldnames = [same_name(column) for column in columns]
            for number, row in enumerate(rows, 2):
                votes = [float(row[same_name(name)] or 0) for name in classes]
                if Votes.of(votes) is None:
                    reason = f"has no vote, or one below 0, in line {number}; leave that line out"
                    on_problem(problem_at(path, reason, "empty row"))
                    continue
                name = same_name(row["file"].replace("\\", "/"))
                known = found.setdefault(name, [0.0] * len(classes))
                found[name] = [one + more for one, more in zip(known, votes, strict=True)]
    except InputError:  # of `on_problem`
        raise
    except (OSError, ValueError, TypeError, csv.Error) as reason:  # TypeError: a row with more columns than names
        on_problem(problem_at(path, f"cannot be read as votes: {reason}; write numbers per class", "damaged file"))
    return found
