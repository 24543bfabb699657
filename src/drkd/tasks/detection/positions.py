"""Where a training step scores classes, and a network that gives its own scores for the very same places.

A self-teacher must say what it thinks of what the student is trained on. In Faster R-CNN these are the proposals that
the student's step sampled, looked at with the teacher's own features; in the one-stage detectors they are anchors,
which both share. `Positions` is what an objective gets as `inputs`, and `AtPositions` turns a detector into a teacher
that understands it: `Frozen`, `Ema` and all methods then work as they do for classifiers.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from drkd.utils.errors import InputError

Family = Literal["two_stage", "ssd", "retina"]


@dataclass(frozen=True)
class Positions:
    """The places that one step scores.

    Attributes:
        images: the step's images as the student's own transform gives them (a torchvision `ImageList`).
        proposals: two-stage: the sampled boxes (n, 4) of each image, in the pixels of `images`; else None.
        anchors: one-stage: (2, M) int64, of each row its image in the batch and its anchor; else None.
    """

    images: Any
    proposals: list[Tensor] | None = None
    anchors: Tensor | None = None


class AtPositions(nn.Module):
    """A detector as a teacher: from `Positions` to class logits, a row per position.

    Give it to any method that takes a teacher, or to `Ema` as the student to be averaged. For heads that are a softmax
    over background and classes a row has K + 1 logits; for sigmoid heads a row has two, see `as_pairs`, and there is
    one for every class of an anchor.

    Args:
        detector: torchvision's Faster R-CNN (or another with its `roi_heads`), SSD or RetinaNet. It is not copied.

    Example:
        >>> from drkd import dr_kd
        >>> from drkd.tasks.detection.networks import create_detector
        >>> self_teacher = create_detector("ssdlite320_mobilenet_v3", num_classes=2, image_size=64)
        >>> objective = dr_kd(AtPositions(self_teacher))
        >>> sorted(objective.needs)
        ['inputs']
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, positions: Positions) -> Tensor:
        if not isinstance(positions, Positions):
            raise InputError(f"a detector that teaches needs Positions, got {type(positions).__name__}; see detection")
        detector: Any = self.detector
        features = detector.backbone(positions.images.tensors)
        features = {"0": features} if isinstance(features, Tensor) else features
        if positions.proposals is not None:
            heads = detector.roi_heads
            pooled = heads.box_roi_pool(features, positions.proposals, positions.images.image_sizes)
            logits: Tensor = heads.box_predictor(heads.box_head(pooled))[0]
            return logits
        if positions.anchors is None:
            raise InputError("Positions need proposals or anchors, got neither")
        image, anchor = positions.anchors
        logits = detector.head.classification_head(list(features.values()))[image, anchor]
        return as_pairs(logits) if family_of(detector) == "retina" else logits


def as_pairs(logits: Tensor) -> Tensor:
    """Logits (M, K) of independent sigmoids as M * K softmaxes over "not this class" and "this class".

    `sigmoid(z)` is the second entry of `softmax([0, z])`, so that everything said of rows of classes holds per class.

    Example:
        >>> as_pairs(torch.tensor([[2.0, -1.0]]))
        tensor([[ 0.,  2.],
                [ 0., -1.]])
    """
    flat = logits.flatten()
    return torch.stack([torch.zeros_like(flat), flat], dim=1)


def family_of(detector: nn.Module) -> Family:
    """Which kind of torchvision's detectors it is.

    Raises:
        InputError: for any other network.
    """
    from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
    from torchvision.models.detection.retinanet import RetinaNet
    from torchvision.models.detection.ssd import SSD

    kinds: tuple[tuple[type, Family], ...] = ((GeneralizedRCNN, "two_stage"), (SSD, "ssd"), (RetinaNet, "retina"))
    for kind, family in kinds:
        if isinstance(detector, kind):
            return family
    raise InputError(f"a detector must be torchvision's Faster R-CNN, SSD or RetinaNet, got {type(detector).__name__}")
