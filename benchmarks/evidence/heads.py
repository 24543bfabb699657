"""Many linear classifiers trained at once on the same batches: one for each way to teach.

All start from the same weights and see the same batches, so a row of numbers differs from the next in nothing but what
it names. The losses are those of `drkd.tf_kd_self` and `drkd.dr_kd`; their gradients at the logits are written out,
(1 - a) (p - y) + a T (p_T - q_T), because one product for all classifiers is many times cheaper than one for each.
`python benchmarks/evidence/rectifiers.py check` compares that with drkd's own objectives.
"""

import math
from dataclasses import dataclass

import torch
from beds import Bed
from rules import corrected
from torch import Tensor, nn

DECAY = 0.999
"""Of the running average."""


@dataclass(frozen=True)
class Row:
    """A training.

    Attributes:
        source: who teaches: `labels` (nobody), `smoothing` and `virtual` (all classes alike), `finished` (the
            self-teacher), `folds2` (networks that were each trained on half of the images, and answer for the other
            half), or `average` (of the student).
        rule: what corrects the teacher, see `rules.py`.
        alpha, temperature: of the soft target.
        epochs, lr, weight_decay: of AdamW with a cosine to 0.
    """

    source: str = "labels"
    rule: str = "none"
    alpha: float = 0.0
    temperature: float = 1.0
    epochs: int = 12
    lr: float = 0.02
    weight_decay: float = 0.05


@dataclass(frozen=True)
class Trained:
    """What came out, in the order of the rows.

    Attributes:
        heads: (D + 1, M, K), the last row of D + 1 is the bias.
        averages: the same of their running averages.
        rectified: (M,) fraction of the targets that were changed.
    """

    heads: Tensor
    averages: Tensor
    rectified: Tensor


def with_ones(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)


def logits_of(inputs: Tensor, heads: Tensor) -> Tensor:
    """(N, M, K)."""
    return (with_ones(inputs) @ heads.flatten(1)).view(len(inputs), *heads.shape[1:])


@torch.no_grad()
def train(
    bed: Bed, rows: list[Row], answers: dict[str, Tensor], seed: int, *, index: Tensor | None = None, batch: int = 256
) -> Trained:
    """Train a classifier for each row; all of them have the same number of epochs.

    Args:
        bed: what they learn from.
        rows: how they are taught.
        answers: logits of the teachers about all training images, (N, K), by source.
        seed: of the initial weights and the order.
        index: the images that are trained on, all by default.
        batch: images per step.
    """
    torch.manual_seed(seed)
    first = nn.Linear(bed.inputs.shape[1], bed.classes)
    heads = torch.cat([first.weight.T, first.bias[None]])[:, None].repeat(1, len(rows), 1)
    averages, mean, square = heads.clone(), torch.zeros_like(heads), torch.zeros_like(heads)
    numbers = torch.tensor([[row.lr, row.weight_decay, row.temperature, row.alpha] for row in rows])
    lr, decay, heat, alpha = numbers[..., None].unbind(dim=1)  # (M, 1)
    weights = alpha[:, 0].repeat(len(bed.labels), 1)  # of the soft target, for each sample
    soft = torch.zeros(len(bed.labels), len(rows), bed.classes)
    rectified = torch.zeros(len(rows))
    online = [number for number, row in enumerate(rows) if row.source == "average"]
    for number, row in enumerate(rows):
        if row.source not in ("labels", "average"):
            logits, changed, valid = corrected(row.rule, answers[row.source], bed.labels)
            soft[:, number] = (logits / row.temperature).softmax(dim=1)
            weights[:, number] *= valid
            rectified[number] = changed.float().mean()
    inputs, hot = with_ones(bed.inputs), nn.functional.one_hot(bed.labels, bed.classes).float()
    taken = torch.arange(len(bed.labels)) if index is None else index
    order = torch.Generator().manual_seed(seed)
    epochs = rows[0].epochs
    steps, step = epochs * math.ceil(len(taken) / batch), 0
    for _ in range(epochs):
        for part in taken[torch.randperm(len(taken), generator=order)].split(batch):
            x, targets, weight = inputs[part], soft[part], weights[part]
            for number in online:
                row = rows[number]
                logits, changed, valid = corrected(row.rule, x @ averages[:, number], bed.labels[part])
                targets[:, number] = (logits / row.temperature).softmax(dim=1)
                weight[:, number] *= valid
                rectified[number] += changed.float().mean() / steps
            z = (x @ heads.flatten(1)).view(len(x), len(rows), bed.classes)
            share = weight[..., None]
            slope = (1 - share) * (z.softmax(dim=2) - hot[part][:, None])
            slope += share * heat * ((z / heat).softmax(dim=2) - targets)
            gradient = (x.T @ slope.flatten(1)).view_as(heads) / len(x)
            step += 1
            rate = lr * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.001)
            heads.mul_(1 - rate * decay)
            heads.sub_(rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8))
            averages.lerp_(heads, max(1 / (step + 1), 1 - DECAY))
    return Trained(heads, averages, rectified)


def answers_of(source: str, bed: Bed, seed: int) -> Tensor | None:
    """What teachers that are trained before say of the training images, (N, K)."""
    if source in ("smoothing", "virtual"):
        return torch.zeros(len(bed.labels), bed.classes)
    if source == "finished":
        return logits_of(bed.inputs, train(bed, [Row()], {}, seed).heads)[:, 0]
    if not source.startswith("folds"):
        return None
    count = int(source.removeprefix("folds"))
    fold = bed.folds(count, seed)
    answers = torch.zeros(len(bed.labels), bed.classes)
    for number in range(count):
        heads = train(bed, [Row()], {}, seed, index=(fold != number).nonzero().flatten()).heads
        answers[fold == number] = logits_of(bed.inputs[fold == number], heads)[:, 0]
    return answers
