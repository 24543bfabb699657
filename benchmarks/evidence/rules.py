"""Rules that say which answers of a teacher are swapped with the label's, by name.

    none  swap  drop            as drkd has them
    plausible:C                 where the label has C times the largest probability, or more
    top:N                       where the label is among the teacher's first N classes
    mean:C                      where it has C times the mean probability of the labels of the batch
    class:C                     the same for each class, as in confident learning
    least:P                     where it has the probability P
    soft                        both answers, mixed by p_label / p_max
    bayes:E                     what the teacher believes after it hears a label that is wrong with probability E
    corrected:E                 the same, in rows that the teacher gets wrong

Batches are those of the training for a teacher that changes, and all images for one that does not.
"""

import math

import torch
from torch import Tensor

from drkd.targets.rectify import swap


def corrected(name: str, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The answers (N, K) as the rule called `name` corrects them, which of them it changed, and which teach at all."""
    kind, _, number = name.partition(":")
    everything = torch.ones(len(labels), dtype=torch.bool)
    label = logits.gather(1, labels[:, None])
    wrong = (label < logits.amax(dim=1, keepdim=True))[:, 0]
    if kind == "none":
        return logits, ~everything, everything
    if kind == "drop":
        return logits, wrong, ~wrong
    if kind in ("bayes", "corrected"):
        classes, error = logits.shape[1], float(number)
        lift = torch.full_like(label, math.log((1 - error) * (classes - 1) / error))
        lifted = logits.scatter_add(1, labels[:, None], lift)
        return (lifted if kind == "bayes" else lifted.where(wrong[:, None], logits)), wrong, everything
    probs = logits.softmax(dim=1)
    found = probs.gather(1, labels[:, None])[:, 0]
    swapped = swap(logits, labels)
    if kind == "soft":
        share = (found / probs.amax(dim=1))[:, None]
        return (share * swapped.softmax(dim=1) + (1 - share) * probs).clamp(min=1e-30).log(), wrong, everything
    value = float(number or 0)
    if kind == "class":
        sums = torch.zeros(logits.shape[1]).index_add_(0, labels, found)
        threshold = value * (sums / torch.bincount(labels, minlength=len(sums)).clamp(min=1))[labels]
    else:
        threshold = {
            "plausible": value * probs.amax(dim=1),
            "mean": value * float(found.mean()),
            "least": value,
            "swap": 0.0,
            "top": 0.0,
        }[kind]
    keep = found >= threshold
    if kind == "top":
        keep = (logits > label).sum(dim=1) < value
    return swapped.where(keep[:, None], logits), wrong & keep, everything
