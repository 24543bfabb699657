"""How networks learn several labels at once: a softmax over "no" and "yes" for each class."""

import torch
from torch import Tensor, nn

from drkd.config import FitSettings
from drkd.data.datasets import Data
from drkd.data.loader import Batch
from drkd.objective.objective import Objective
from drkd.targets import ClassMean
from drkd.tasks.multilabel.metrics import evaluate_multilabel
from drkd.training.classifier import ClassifierLearner
from drkd.utils.distributed import from_rank_0
from drkd.utils.errors import InputError


class PerClass(nn.Module):
    """A network as a teacher of several labels: from images to logits (B, 2, K) of "no" and "yes".

    Args:
        network: from images to logits (B, K) of independent sigmoids. It is not copied.

    Example:
        >>> PerClass(nn.Identity())(torch.tensor([[2.0, -1.0]]))
        tensor([[[ 0.,  0.],
                 [ 2., -1.]]])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return no_or_yes(self.network(images))


def no_or_yes(logits: Tensor) -> Tensor:
    """Logits (B, K) of sigmoids as logits (B, 2, K): `sigmoid(z)` is the second entry of `softmax([0, z])`."""
    return torch.stack([torch.zeros_like(logits), logits], dim=1)


class MultiLabelLearner(ClassifierLearner):
    """A network from images to a logit per class; see `Learner`.

    Example:
        >>> import drkd
        >>> from drkd.tasks.multilabel import MultiLabelData
        >>> images, labels = torch.randn(20, 4), torch.randint(2, (20, 3))
        >>> data = MultiLabelData.of((images[:10], labels[:10]), (images[10:], labels[10:]), classes=("a", "b", "c"))
        >>> result = drkd.fit(nn.Linear(4, 3), drkd.label_smoothing(0.1), data, epochs=1, batch_size=5)
        >>> list(result.history[0])
        ['epoch', 'lr', 'loss', 'ce', 'smoothing', 'smoothing_kl', 'train_accuracy']
    """

    def __init__(
        self, data: Data, student: nn.Module, objective: Objective, settings: FitSettings, device: torch.device
    ) -> None:
        refuse_by_class(objective, settings)
        super().__init__(data, student, objective, settings, device)
        self.data = data
        if self.metric is not None:
            self.metric = "val_mean_ap"

    def _forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = no_or_yes(self.model(batch.inputs))
        return logits, self.objective(logits, batch.labels, inputs=batch.inputs, index=batch.index)

    def validate(self) -> dict[str, float]:
        if not len(self.data.val):
            return {}
        found = evaluate_multilabel(self.student, self.data, "val")
        return from_rank_0({"val_mean_ap": found.mean_ap, "val_accuracy": found.accuracy, "val_nll": found.nll})


def refuse_by_class(objective: Objective, settings: FitSettings) -> None:
    """Refuse what needs one class of an image: methods that pair or average images of a class, sampling, mixing.

    Raises:
        InputError: for such a method or setting.
    """
    for wrong, option in (
        (settings.mixup > 0 or settings.cutmix > 0, "--mixup and --cutmix"),
        (settings.sampler != "shuffled", f"--sampler {settings.sampler}"),
    ):
        if wrong:
            raise InputError(f"{option} cannot be used here: an image may have several classes; leave it out")
    if "pairs" in objective.needs or any(isinstance(target, ClassMean) for target in objective.targets):
        raise InputError(
            f"`{objective.name}` needs one class per image, and here an image may have several; choose another method"
        )
