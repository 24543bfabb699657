"""How good a classifier is, and how well it knows: accuracy, NLL, ECE, AURC."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drkd.data.datasets import Data, Split
from drkd.data.loader import Loader
from drkd.objective.losses import to_float32
from drkd.training.calibration import fit_temperature
from drkd.training.mistakes import Confusions, Mistake, count_confusions, surest_mistakes
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import IGNORED, check_choice, check_count, check_labels, check_logits
from drkd.utils.errors import InputError, NonFiniteLossError
from drkd.utils.progress import tracked

BINS = 15
"""Equal-width confidence bins of the calibration error."""


@dataclass(frozen=True)
class Metrics:
    """What `measure` finds. All but NLL, which is in nats, are fractions.

    Attributes:
        accuracy, nll, ece, aurc: over the samples.
        reliability: [count, mean confidence, accuracy] for each of the 15 confidence bins.
        balanced_accuracy: mean recall over the classes that have samples: each counts alike, however rare.
        macro_f1: mean F1 over the classes that have samples or were predicted.
        per_class: of these classes by name, the number of their `samples`, `precision`, `recall` and `f1`; a fraction
            of nothing is 0.
        temperature: the calibrated temperature; None without one.
        calibrated_nll, calibrated_ece: of the logits divided by it. `nll`, `ece` and the rest are of the logits as they
            are.
        confused: how often a class was predicted as another, the 400 most frequent pairs.
        mistakes: the 12 most confident wrong predictions.

    What older versions wrote has None in place of the two means, no classes and no mistakes.
    """

    accuracy: float
    nll: float
    ece: float
    aurc: float
    reliability: list[list[float]]
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    temperature: float | None = None
    calibrated_nll: float | None = None
    calibrated_ece: float | None = None
    confused: Confusions = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def measure(
    logits: Tensor, labels: Tensor, classes: Sequence[str] | None = None, *, temperature: float | None = None
) -> Metrics:
    """All metrics of logits (N, K) against integer labels (N,).

    Args:
        logits, labels: of the samples.
        classes: K names; their numbers by default.
        temperature: calibrated on other samples, see `drkd.fit_temperature`; None to measure without.

    Raises:
        InputError: for logits or labels that do not fit.
        NonFiniteLossError: for logits that are NaN or infinite.

    Example:
        >>> round(measure(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])).ece, 4)
        0.3808
    """
    logits, labels = _checked(logits, labels)
    probs = torch.softmax(logits, dim=1)
    confidence, predicted = probs.max(dim=1)
    correct = predicted == labels
    names = classes or [str(number) for number in range(logits.shape[1])]
    per_class = classwise(predicted, labels, names)
    recalls = [row["recall"] for row in per_class.values() if row["samples"]]
    calibrated = None if temperature is None else logits / temperature
    return Metrics(
        accuracy=correct.double().mean().item(),
        nll=F.cross_entropy(logits, labels).item(),
        ece=calibration_error(confidence, correct),
        aurc=risk_coverage_area(confidence, correct),
        reliability=reliability(confidence, correct),
        balanced_accuracy=sum(recalls) / max(1, len(recalls)),
        macro_f1=sum(row["f1"] for row in per_class.values()) / max(1, len(per_class)),
        per_class=per_class,
        temperature=temperature,
        calibrated_nll=None if calibrated is None else F.cross_entropy(calibrated, labels).item(),
        calibrated_ece=None
        if calibrated is None
        else calibration_error(calibrated.softmax(dim=1).max(dim=1).values, correct),
        confused=count_confusions(predicted, labels, names),
        mistakes=surest_mistakes(probs, labels, names),
    )


def accuracy_and_nll(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The first two metrics of `measure`, without the time of the others: what an epoch is judged by.

    Example:
        >>> accuracy_and_nll(torch.zeros(2, 4), torch.tensor([0, 1]))
        (0.5, 1.3862943611198906)
    """
    logits, labels = _checked(logits, labels)
    correct = torch.softmax(logits, dim=1).max(dim=1).indices == labels
    return correct.double().mean().item(), F.cross_entropy(logits, labels).item()


def _checked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in float64, and labels that belong to them."""
    check_labels(logits, labels, IGNORED, caller="measure")
    if not logits.isfinite().all():
        raise NonFiniteLossError("the network returns NaN or infinite logits: it has diverged; lower the learning rate")
    return to_float32(logits).double(), labels.long()


def classwise(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Samples, precision, recall and F1 of each class that has samples or was predicted, by name.

    Args:
        predicted, labels: integers (N,); ignored labels do not count.
        classes: names.

    Example:
        >>> classwise(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), ["cat", "dog", "cow"])["cat"]
        {'samples': 1, 'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666}
    """
    counted = labels != IGNORED
    predicted, labels = predicted[counted], labels[counted]
    columns = (labels, predicted, labels[predicted == labels])
    rows = zip(classes, *(torch.bincount(each, minlength=len(classes)).tolist() for each in columns), strict=True)
    return {
        name: {
            "samples": samples,
            "precision": right / max(1, found),
            "recall": right / max(1, samples),
            "f1": 2 * right / (samples + found),
        }
        for name, samples, found, right in rows
        if samples + found
    }


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
    batches = tracked(loader.batches(), "evaluation", len(loader))
    pairs = [(check_logits(model(batch.inputs), need), cast(Tensor, batch.labels)) for batch in batches]
    model.train(was_training)
    return torch.cat([logits for logits, _ in pairs]), torch.cat([labels for _, labels in pairs])


def batch_to_measure(split: Split, device: torch.device, at_least: int = 1) -> int:
    """Samples to measure at once: 512, or fewer where images are above 32 pixels a side (on an accelerator 128).

    Activations then take no more memory than those of 512 such images.

    Args:
        split: what is measured.
        device: where.
        at_least: what surely fits, such as the batch size of the training.

    Example:
        >>> photos, cpu = Split(torch.zeros(3, 3, 128, 128), torch.zeros(3, dtype=torch.long)), torch.device("cpu")
        >>> batch_to_measure(photos, cpu), batch_to_measure(photos, cpu, at_least=64)
        (32, 64)
    """
    most = 512 * (32 if device.type == "cpu" else 128) ** 2
    return max(1, at_least, min(512, most // math.prod(split.inputs.shape[2:])))


def evaluate(
    model: nn.Module,
    data: Data,
    split: str = "test",
    *,
    batch_size: int | None = None,
    temperature: float | None = None,
) -> Metrics:
    """Measure `model` on a split of `data` (`train` without augmentation, `val` or `test`).

    With `temperature`, such as the `info.temperature` of `drkd.load_model`, calibrated probabilities are measured too.
    By default a batch takes 512 samples, of images above 32 pixels fewer.

    Example:
        >>> import drkd
        >>> data = drkd.load_data("digits")
        >>> model = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        >>> 0 <= drkd.evaluate(model, data).accuracy <= 1
        True
    """
    check_arguments(evaluate, locals())
    check_choice("split", split, ("train", "val", "test"))
    if batch_size is not None:
        check_count("batch_size", batch_size)
    if not len(getattr(data, split)):
        raise InputError(f"the {split} split of {data.name} is empty; measure another, or hold out some samples")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    part: Split = getattr(data, split)
    batch_size = batch_size or batch_to_measure(part, device)
    loader = Loader(data, part, batch_size=batch_size, training=False, device=device)
    return measure(*predict_logits(model, loader), data.classes, temperature=temperature)


def calibrate(model: nn.Module, data: Data) -> float | None:
    """The temperature of `model` on the validation split of `data`, see `fit_temperature`.

    None without such a split, and for logits that are not finite, of which measuring tells.
    """
    if not len(data.val):
        return None
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    loader = Loader(data, data.val, batch_size=batch_to_measure(data.val, device), training=False, device=device)
    with contextlib.suppress(NonFiniteLossError):
        return fit_temperature(*predict_logits(model, loader))
    return None
