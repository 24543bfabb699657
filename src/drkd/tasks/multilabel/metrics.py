"""How good predictions of several labels are: mean average precision, accuracy, F1, NLL."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drkd.data.datasets import Data, Split
from drkd.data.loader import Loader
from drkd.training.metrics import batch_to_measure, calibration_error, predict_logits
from drkd.training.mistakes import Mistake, surest_wrong_labels
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError, NonFiniteLossError


@dataclass(frozen=True)
class MultiLabelMetrics:
    """What `measure` finds; all but NLL are fractions.

    Attributes:
        mean_ap: mean over the classes that occur of the area under precision over recall (scikit-learn's average
            precision). 0 if none occurs.
        accuracy: of all known labels, how many are right at a probability of 0.5.
        exact: of all images, how many have every known label right.
        macro_f1: mean over classes that occur of the F1 score at 0.5.
        nll: binary cross-entropy, mean over all known labels, in nats.
        per_class: of every class that occurs, by name, its average precision `mean_ap` and in how many `images` it is
            true.
        ece: calibration error over all known labels, of the probability of the answer, yes or no; None in what older
            versions wrote.
        temperature, calibrated_nll, calibrated_ece: see `drkd.Metrics`; one temperature divides the logits of all
            classes.
        mistakes: the 12 wrong answers of the highest probability.
    """

    mean_ap: float
    accuracy: float
    exact: float
    macro_f1: float
    nll: float
    per_class: dict[str, dict[str, float]]
    ece: float | None = None
    temperature: float | None = None
    calibrated_nll: float | None = None
    calibrated_ece: float | None = None
    mistakes: list[Mistake] = field(default_factory=list)


def measure(
    logits: Tensor, labels: Tensor, classes: Sequence[str], *, temperature: float | None = None
) -> MultiLabelMetrics:
    """All metrics of logits (N, K) against labels (N, K) of 0, 1 and, where nothing is known, -100; K names.

    Raises:
        InputError: for shapes that differ.
        NonFiniteLossError: for logits that are NaN or infinite.

    Example:
        >>> found = measure(torch.tensor([[2.0, -1.0], [-1.0, 3.0]]), torch.tensor([[1, 0], [0, 0]]), ["cat", "dog"])
        >>> found.accuracy, found.per_class
        (0.75, {'cat': {'mean_ap': 1.0, 'images': 1}})
    """
    if logits.shape != labels.shape:
        raise InputError(f"labels must be shaped like the logits {tuple(logits.shape)}, got {tuple(labels.shape)}")
    if not logits.isfinite().all():
        raise NonFiniteLossError("the network returns NaN or infinite logits: it has diverged; lower the learning rate")
    logits, labels = logits.double().cpu(), labels.cpu()
    known, told = labels != IGNORED, (logits > 0).long()
    right = (told == labels) | ~known
    columns = [(z[k], guess[k], y[k]) for z, guess, y, k in zip(logits.T, told.T, labels.T, known.T, strict=True)]
    per_class: dict[str, dict[str, float]] = {}
    scores = []
    for name, (z, guess, y) in zip(classes, columns, strict=True):
        if y.any():
            per_class[name] = {"mean_ap": _average_precision(z, y), "images": int(y.sum())}
            scores.append(_f1(guess, y))
    nll, ece = _of_probabilities(logits[known], labels[known])
    calibrated = (None, None) if temperature is None else _of_probabilities(logits[known] / temperature, labels[known])
    return MultiLabelMetrics(
        mean_ap=sum(one["mean_ap"] for one in per_class.values()) / max(1, len(per_class)),
        accuracy=((told == labels) & known).sum().item() / max(1, known.sum().item()),
        exact=right.all(dim=1).double().mean().item(),
        macro_f1=sum(scores) / max(1, len(scores)),
        nll=nll,
        per_class=per_class,
        ece=ece,
        temperature=temperature,
        calibrated_nll=calibrated[0],
        calibrated_ece=calibrated[1],
        mistakes=surest_wrong_labels(logits.sigmoid(), labels, classes),
    )


def _of_probabilities(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """NLL and calibration error of logits (N,) against labels (N,) of 0 and 1."""
    nll = F.binary_cross_entropy_with_logits(logits, labels.double()).item()
    return nll, calibration_error(logits.abs().sigmoid(), (logits > 0).long() == labels) if len(logits) else 0.0


def _average_precision(logits: Tensor, labels: Tensor) -> float:
    """scikit-learn's; it ranks by logits, which have the order of the probabilities without their rounding."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels.numpy(), logits.numpy()))


def _f1(guess: Tensor, labels: Tensor) -> float:
    hits = (guess * labels).sum().item()
    return float(2 * hits / (guess.sum().item() + labels.sum().item()))


def evaluate_multilabel(
    network: nn.Module, data: Data, split: str = "test", *, temperature: float | None = None
) -> MultiLabelMetrics:
    """Measure a network on a split of `data`, `train` without augmentation.

    Raises:
        InputError: for a split that is unknown or empty.
    """
    if split not in ("train", "val", "test"):
        raise InputError(f"split must be train, val or test, got {split!r}")
    if not len(getattr(data, split)):
        raise InputError(f"the {split} split of {data.name} is empty; measure another, or hold some samples out")
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    part: Split = getattr(data, split)
    loader = Loader(data, part, batch_size=batch_to_measure(part, device), training=False, device=device)
    return measure(*predict_logits(network, loader), data.classes, temperature=temperature)
