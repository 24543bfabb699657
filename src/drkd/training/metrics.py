"""How good a classifier is, and how well it knows: accuracy, NLL, ECE, AURC."""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drkd.data.datasets import Data
from drkd.data.loader import Loader
from drkd.objective.losses import to_float32
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import IGNORED, check_choice, check_count, check_labels, check_logits
from drkd.utils.errors import InputError, NonFiniteLossError

BINS = 15
"""Equal-width confidence bins of the calibration error."""


@dataclass(frozen=True)
class Metrics:
    """What `measure` finds. Accuracy, ECE and AURC are fractions, NLL is in nats.

    `reliability` has a row [count, mean confidence, accuracy] for each of the 15 confidence bins.
    """

    accuracy: float
    nll: float
    ece: float
    aurc: float
    reliability: list[list[float]]


def measure(logits: Tensor, labels: Tensor) -> Metrics:
    """All metrics of logits (N, K) against integer labels (N,).

    Raises:
        InputError: for logits or labels that do not fit.
        NonFiniteLossError: for logits that are NaN or infinite.

    Example:
        >>> round(measure(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])).ece, 4)
        0.3808
    """
    check_labels(logits, labels, IGNORED, caller="measure")
    labels = labels.long()
    if not logits.isfinite().all():
        raise NonFiniteLossError("the network answers NaN or infinite logits: it has diverged; lower the learning rate")
    probs = torch.softmax(to_float32(logits).double(), dim=1)
    confidence, predicted = probs.max(dim=1)
    correct = predicted == labels
    return Metrics(
        accuracy=correct.double().mean().item(),
        nll=F.cross_entropy(to_float32(logits).double(), labels).item(),
        ece=calibration_error(confidence, correct),
        aurc=risk_coverage_area(confidence, correct),
        reliability=reliability(confidence, correct),
    )


def reliability(confidence: Tensor, correct: Tensor) -> list[list[float]]:
    """[count, mean confidence, accuracy] per bin of the top probability, bins [i/15, (i+1)/15), the last one closed."""
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    mean_confidence = torch.bincount(bins, weights=confidence.double(), minlength=BINS) / counts.clamp(min=1)
    accuracy = torch.bincount(bins, weights=correct.double(), minlength=BINS) / counts.clamp(min=1)
    return torch.stack([counts.double(), mean_confidence, accuracy], dim=1).tolist()


def calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """Top-label expected calibration error (arXiv 1706.04599): bins' |accuracy - confidence|, weighted by their counts.

    Example:
        >>> calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))
        0.25
    """
    rows = reliability(confidence, correct)
    return sum(count * abs(accuracy - mean) for count, mean, accuracy in rows) / max(1, len(correct))


def risk_coverage_area(confidence: Tensor, correct: Tensor) -> float:
    """Area under the curve of risk over coverage (arXiv 1805.08206): mean error rate among the k surest, over k.

    Samples of the same confidence count as the mean over all their orders: each has the error rate of its group. So the
    order in which samples come changes nothing.

    Example:
        >>> risk_coverage_area(torch.tensor([0.9, 0.8]), torch.tensor([True, False]))
        0.25
        >>> risk_coverage_area(torch.tensor([0.8, 0.8]), torch.tensor([True, False]))
        0.5
    """
    order = torch.argsort(confidence, descending=True)
    ordered, wrong = confidence[order], (~correct[order]).double()
    group = (ordered != ordered.roll(1)).cumsum(0)  # the number of each sample's tie
    errors = (torch.bincount(group, weights=wrong) / torch.bincount(group))[group].cumsum(0)
    return (errors / torch.arange(1, len(errors) + 1, device=errors.device)).mean().item()


@torch.no_grad()
def predict_logits(model: nn.Module, loader: Loader) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and labels (N,) of everything a loader serves, with the model in eval mode."""
    was_training = model.training
    model.eval()
    need = f"the network {type(model).__name__} must return"
    pairs = [(check_logits(model(batch.inputs), need), cast(Tensor, batch.labels)) for batch in loader.batches()]
    model.train(was_training)
    return torch.cat([logits for logits, _ in pairs]), torch.cat([labels for _, labels in pairs])


def evaluate(model: nn.Module, data: Data, split: str = "test", *, batch_size: int = 512) -> Metrics:
    """Measure `model` on a split of `data` (`train` without augmentation, `val` or `test`).

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits")
        >>> model = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> 0 <= drkd.evaluate(model, data).accuracy <= 1
        True
    """
    check_arguments(evaluate, locals())
    check_choice("split", split, ("train", "val", "test"))
    check_count("batch_size", batch_size)
    if not len(getattr(data, split)):
        raise InputError(f"the {split} split of {data.name} is empty; measure another, or hold some samples out")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    loader = Loader(data, getattr(data, split), batch_size=batch_size, training=False, device=device)
    return measure(*predict_logits(model, loader))
