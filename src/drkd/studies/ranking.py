"""Images in the order in which their labels are suspect."""

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from drkd.data import Data
from drkd.utils.files import write_text
from drkd.utils.text import spreadsheet_cell

TABLE = "suspects.csv"

SHOWN = 50
"""How many of the first come with their pixels."""


@dataclass(frozen=True)
class Suspect:
    """An image and what the network makes of its label.

    Attributes:
        rank: from 1, the most suspect.
        image: path below the data's folder; of images in tables the file and the row, of others the split as it was
            read and the row.
        split: of the run, `train` or `val`.
        given, suggested: the label's class, and the most probable other class.
        given_probability, suggested_probability: of these two.
        score: logarithm of the second over the first, see `contradictions`.
        contradicted: whether it is above 0: rectification would swap the two.
    """

    rank: int
    image: str
    split: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    score: float
    contradicted: bool


@dataclass(frozen=True)
class Suspects:
    """What `find_suspects` returns.

    Attributes:
        images: all that were judged, the most suspect first.
        asked: `folds` or `memory`.
        not_judged: names of images that no network could judge: their class has no image in any other fold, or the
            training that is remembered never saw them alone.
        out: where `suspects.csv` is, and the trainings under `suspects`.
        pixels: uint8 (M, C, H, W), of the first M <= 50 images, as the network gets them.
    """

    images: tuple[Suspect, ...]
    asked: str
    not_judged: tuple[str, ...]
    out: Path
    pixels: Tensor

    @property
    def table(self) -> Path:
        """The file that lists them all."""
        return self.out / TABLE

    @property
    def contradicted(self) -> int:
        """How many labels the network contradicts."""
        return sum(each.contradicted for each in self.images)

    def write(self) -> None:
        """Write `suspects.csv`; cells that a spreadsheet would compute get a quotation mark in front."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([field.name for field in fields(Suspect)])
        writer.writerows([_cell(value) for value in astuple(each)] for each in self.images)
        write_text(self.table, table.getvalue())


def contradictions(probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How surely each label is contradicted, and the most probable other class.

    The score is the logarithm of the odds of that class to the label: how far the largest of the other logits
    exceeds the label's. Above 0 the label is contradicted, and rectification would swap these two logits.

    Args:
        probs: (N, K).
        labels: integers (N,).

    Returns:
        Scores, float64 (N,), in nats, and classes (N,).

    Example:
        >>> contradictions(torch.tensor([[0.1, 0.8, 0.1], [0.5, 0.25, 0.25]]), torch.tensor([0, 0]))
        (tensor([ 2.0794, -0.6931], dtype=torch.float64), tensor([1, 1]))
    """
    logs = probs.double().clamp(min=torch.finfo(torch.float32).tiny).log()
    given = labels[:, None]
    highest, other = logs.scatter(1, given, -torch.inf).max(dim=1)
    return highest - logs.gather(1, given).squeeze(1), other


def rank(data: Data, probs: Tensor, asked: str, out: Path) -> Suspects:
    """All images that were judged, the most suspect first; equal ones in their order.

    Args:
        data: of the run.
        probs: (N, K) of its training and validation images, NaN where nobody judged.
        asked, out: see `Suspects`.
    """
    splits = [data.train, data.val]
    labels = torch.cat([split.labels for split in splits])
    names = [name for split in splits for name in (split.names or split.origins)]
    where = ["train"] * len(data.train) + ["val"] * len(data.val)
    judged = ~probs.isnan().any(dim=1)
    scores, others = contradictions(probs.nan_to_num(1.0), labels)
    order = scores.where(judged, -torch.inf).argsort(stable=True, descending=True)[: int(judged.sum())]
    images = tuple(
        Suspect(
            rank=number,
            image=names[row],
            split=where[row],
            given=data.classes[labels[row]],
            suggested=data.classes[others[row]],
            given_probability=float(probs[row, labels[row]]),
            suggested_probability=float(probs[row, others[row]]),
            score=float(scores[row]),
            contradicted=bool(scores[row] > 0),
        )
        for number, row in enumerate(order.tolist(), 1)
    )
    pixels = [_pixels(data, row) for row in order[:SHOWN].tolist()]
    not_judged = tuple(names[row] for row in (~judged).nonzero().flatten().tolist())
    return Suspects(images, asked, not_judged, out, torch.cat(pixels))


def _pixels(data: Data, row: int) -> Tensor:
    """An image (1, C, H, W) of the training split, or after them of the validation split."""
    after = row - len(data.train)
    return data.train.inputs[torch.tensor([row])] if after < 0 else data.val.inputs[torch.tensor([after])]


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}" if isinstance(value, float) else spreadsheet_cell(value) if isinstance(value, str) else value
