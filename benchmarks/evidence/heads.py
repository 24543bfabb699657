"""Many classifiers trained at once on the same batches: one for each way to teach; linear, or with a hidden layer.

All start from the same weights and see the same batches, so a row of numbers differs from the next in nothing but what
it names. The losses are those of `drkd.tf_kd_self` and `drkd.dr_kd`; their gradients at the logits are written out,
(1 - a) (p - y) + a T (p_T - q_T), because one product for all classifiers is many times cheaper than one for each.
`python benchmarks/evidence/rectifiers.py check` compares that with drkd's own objectives.
"""

import math
from dataclasses import dataclass, replace

import torch
from beds import Bed
from rules import corrected
from torch import Tensor, nn

DECAY = 0.999
"""Of the running average."""

REMEMBERED = ("memory", "growing")

Layers = list[Tensor]


@dataclass(frozen=True)
class Row:
    """A training.

    Attributes:
        source: who teaches: `labels` (nobody), `smoothing` and `virtual` (all classes alike), `finished` (the
            self-teacher), `early3` (one that was trained for 3 epochs), `folds2` (networks that were each trained on
            half of the images, and answer for the other half), `average` (of the student), `memory` (what the
            student said of the image an epoch ago; nothing in the first), or `growing` (the memory with a weight that
            grows from 0 to alpha: PS-KD).
        rule: what corrects the teacher, see `rules.py`.
        alpha, temperature: of the soft target.
        epochs, lr, weight_decay: of AdamW with a cosine to 0.
        decay: of the running average.
    """

    source: str = "labels"
    rule: str = "none"
    alpha: float = 0.0
    temperature: float = 1.0
    epochs: int = 12
    lr: float = 0.02
    weight_decay: float = 0.05
    decay: float = DECAY


@dataclass(frozen=True)
class Trained:
    """What came out, in the order of the rows.

    Attributes:
        heads: the layers of M classifiers, see `start`.
        averages: the same of their running averages.
        rectified: (M,) fraction of the targets that were changed.
    """

    heads: Layers
    averages: Layers
    rectified: Tensor


def with_ones(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)


def start(features: int, classes: int, hidden: int, count: int) -> Layers:
    """`count` copies of one initial classifier.

    Linear: (D + 1, M, K), whose last row of D + 1 is the bias. With `hidden` units: (D + 1, M, H), (M, H, K) and
    (M, 1, K).
    """
    first = nn.Linear(features, hidden or classes)
    layers = [torch.cat([first.weight.T, first.bias[None]])[:, None].repeat(1, count, 1)]
    if hidden:
        second = nn.Linear(hidden, classes)
        layers += [second.weight.T.repeat(count, 1, 1), second.bias.repeat(count, 1, 1)]
    return [layer.detach() for layer in layers]


def forward(x: Tensor, layers: Layers) -> tuple[Tensor, Tensor | None]:
    """Logits (N, M, K) of inputs with ones, (N, D + 1), and the hidden layer (M, N, H)."""
    first, *rest = layers
    out = (x @ first.flatten(1)).view(len(x), *first.shape[1:])
    if not rest:
        return out, None
    units = out.transpose(0, 1).relu()
    return torch.baddbmm(rest[1], units, rest[0]).transpose(0, 1), units


def backward(x: Tensor, units: Tensor | None, layers: Layers, slope: Tensor) -> Layers:
    """The mean gradient of each layer, from the loss's gradient at the logits, (N, M, K)."""
    if units is None:
        return [(x.T @ slope.flatten(1)).view_as(layers[0]) / len(x)]
    slope = slope.transpose(0, 1) / len(x)
    inner = ((slope @ layers[1].mT) * (units > 0)).transpose(0, 1)
    return [(x.T @ inner.flatten(1)).view_as(layers[0]), units.mT @ slope, slope.sum(dim=1, keepdim=True)]


def one_of(layers: Layers, number: int) -> Layers:
    return [layers[0][:, number : number + 1], *(layer[number : number + 1] for layer in layers[1:])]


def logits_of(inputs: Tensor, layers: Layers) -> Tensor:
    """(N, M, K)."""
    return torch.cat([forward(with_ones(part), layers)[0] for part in inputs.split(4096)])


@torch.no_grad()
def train(
    bed: Bed,
    rows: list[Row],
    answers: dict[str, Tensor],
    seed: int,
    *,
    hidden: int = 0,
    index: Tensor | None = None,
    batch: int = 256,
) -> Trained:
    """Train a classifier for each row; all of them have the same number of epochs.

    Args:
        bed: what they learn from.
        rows: how they are taught.
        answers: logits of the teachers about all training images, (N, K), by source.
        seed: of the initial weights and the order.
        hidden: units of a layer before the classifier, none by default.
        index: the images that are trained on, all by default.
        batch: images per step.
    """
    torch.manual_seed(seed)
    heads = start(bed.inputs.shape[1], bed.classes, hidden, len(rows))
    averages = [layer.clone() for layer in heads]
    means, squares = ([torch.zeros_like(layer) for layer in heads] for _ in range(2))
    numbers = torch.tensor([[row.lr, row.weight_decay, row.temperature, row.alpha, row.decay] for row in rows])
    lr, decay, heat, alpha, forgets = numbers[..., None].unbind(dim=1)  # (M, 1)
    weights = alpha[:, 0].repeat(len(bed.labels), 1)  # of the soft target, for each sample
    soft = torch.zeros(len(bed.labels), len(rows), bed.classes)
    rectified = torch.zeros(len(rows))
    online = [number for number, row in enumerate(rows) if row.source in ("average", *REMEMBERED)]
    memory = {number: torch.zeros_like(soft[:, number]) for number in online if rows[number].source in REMEMBERED}
    for number, row in enumerate(rows):
        if row.source != "labels" and number not in online:
            logits, changed, valid = corrected(row.rule, answers[row.source], bed.labels)
            soft[:, number] = (logits / row.temperature).softmax(dim=1)
            weights[:, number] *= valid
            rectified[number] = changed.float().mean()
    inputs, hot = with_ones(bed.inputs), nn.functional.one_hot(bed.labels, bed.classes).float()
    taken = torch.arange(len(bed.labels)) if index is None else index
    order = torch.Generator().manual_seed(seed)
    epochs = rows[0].epochs
    steps, step = epochs * math.ceil(len(taken) / batch), 0
    for epoch in range(epochs):
        for part in taken[torch.randperm(len(taken), generator=order)].split(batch):
            x, targets, weight = inputs[part], soft[part], weights[part]
            for number in online:
                row, remembered = rows[number], memory.get(number)
                said = forward(x, one_of(averages, number))[0][:, 0] if remembered is None else remembered[part]
                logits, changed, valid = corrected(row.rule, said, bed.labels[part])
                targets[:, number] = (logits / row.temperature).softmax(dim=1)
                if remembered is not None and epoch == 0:
                    valid, changed = torch.zeros_like(valid), torch.zeros_like(changed)
                weight[:, number] *= valid * (step / steps if row.source == "growing" else 1)
                rectified[number] += changed.float().mean() / steps
            z, units = forward(x, heads)
            for number, remembered in memory.items():
                remembered[part] = z[:, number]
            share = weight[..., None]
            slope = (1 - share) * (z.softmax(dim=2) - hot[part][:, None])
            slope += share * heat * ((z / heat).softmax(dim=2) - targets)
            step += 1
            rate = lr * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
            new = (1 - forgets).clamp(min=1 / (step + 1))
            layers = zip(heads, averages, means, squares, backward(x, units, heads, slope), strict=True)
            for number, (head, average, mean, square, gradient) in enumerate(layers):
                each = (lambda value: value[..., None]) if number else (lambda value: value)
                mean.lerp_(gradient, 0.1)
                square.lerp_(gradient.square_(), 0.001)
                head.mul_(1 - each(rate * decay))
                change = (square / (1 - 0.999**step)).sqrt_().add_(1e-8).reciprocal_().mul_(mean)
                head.sub_(change.mul_(each(rate / (1 - 0.9**step))))
                average.lerp_(head, each(new))
    return Trained(heads, averages, rectified)


def answers_of(source: str, bed: Bed, seed: int, *, plain: Row | None = None, hidden: int = 0) -> Tensor | None:
    """What teachers that are trained before, as `plain` says, say of the training images, (N, K)."""
    plain = plain or Row()
    if source in ("smoothing", "virtual"):
        return torch.zeros(len(bed.labels), bed.classes)
    if source == "finished" or source.startswith("early"):
        if source != "finished":
            plain = replace(plain, epochs=int(source.removeprefix("early")))
        return logits_of(bed.inputs, train(bed, [plain], {}, seed, hidden=hidden).heads)[:, 0]
    if not source.startswith("folds"):
        return None
    count = int(source.removeprefix("folds"))
    fold = bed.folds(count, seed)
    answers = torch.zeros(len(bed.labels), bed.classes)
    for number in range(count):
        heads = train(bed, [plain], {}, seed, hidden=hidden, index=(fold != number).nonzero().flatten()).heads
        answers[fold == number] = logits_of(bed.inputs[fold == number], heads)[:, 0]
    return answers
