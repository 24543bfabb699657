r"""An objective inside a detector: torchvision's own training step, with another loss for the classes.

The detector is not forked, copied or changed for good: while `distilled` lasts, hooks see which positions its step
scores and put the objective's loss where torchvision's stood. Boxes, matching, sampling and hard negatives stay
torchvision's, and so does every random number.

    two-stage   mean over the sampled proposals of l(z, y)
    SSD         sum over positives and mined negatives of l(z, y), divided by the number of positives; mined with the
                plain cross-entropy
    RetinaNet   sum over valid anchors and classes of m l([0, z_k], t_k), divided by the image's positives, mean over
                images; m = alpha_t (1 - p_t)^2 is the focal weight, whose gradient flows as in torchvision

Here l is the objective's loss of a row, y counts background as 0, and t_k says whether the anchor shows class k. With
plain cross-entropy for l each of them is torchvision's own loss, to the bit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drkd.objective.losses import hard_cross_entropy, to_float32
from drkd.objective.objective import Objective, Reduction
from drkd.targets import Ema, Frozen
from drkd.tasks.detection.positions import AtPositions, Positions, as_pairs, family_of
from drkd.utils.errors import InputError

Losses = dict[str, Tensor]
Call = Callable[..., Any]


def detector_losses(
    detector: nn.Module,
    images: Sequence[Tensor],
    targets: Sequence[dict[str, Tensor]],
    objective: Objective,
    *,
    index: Tensor | None = None,
) -> tuple[Losses, Losses]:
    """The losses of one training step, the class loss by `objective`.

    Args:
        detector: torchvision's Faster R-CNN, SSD or RetinaNet, in training mode.
        images: B images (3, H, W), floats in [0, 1].
        targets: `boxes` (n, 4) as x1, y1, x2, y2 in pixels and `labels` (n,) int64 of each, as torchvision has them: 0
            is background, which no box shows.
        objective: any method without `pairs` or `replay`; its teacher is an `AtPositions`.
        index: (B,) which image it is, and which view of it, for methods that remember positions.

    Returns:
        torchvision's losses, to be added up, and the objective's parts, detached: each term's share of the class loss,
        and `rectified`, the part of the scored positions whose target was changed.

    Raises:
        InputError: for a network of another kind, or a method that cannot work on it.

    Example:
        >>> from drkd import label_smoothing
        >>> from drkd.tasks.detection.networks import create_detector
        >>> detector = create_detector("ssdlite320_mobilenet_v3", num_classes=2, image_size=64)
        >>> box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> losses, parts = detector_losses(detector, torch.rand(2, 3, 64, 64), [box, box], label_smoothing(0.1))
        >>> sorted(losses), sorted(parts)
        (['bbox_regression', 'classification'], ['ce', 'smoothing', 'smoothing_kl'])
    """
    if not detector.training:
        raise InputError("detector_losses needs a detector in training mode; call its train() first")
    with distilled(detector, objective, index=index) as parts:
        losses: Losses = detector(list(images), [dict(target) for target in targets])
    return losses, dict(parts)


@contextmanager
def distilled(detector: nn.Module, objective: Objective, *, index: Tensor | None = None) -> Iterator[Losses]:
    """While this lasts, `detector(images, targets)` in training mode has the objective's class loss.

    Args:
        detector, objective, index: see `detector_losses`.

    Yields:
        A dictionary that receives the objective's parts at each call.

    Example:
        >>> from drkd import cross_entropy
        >>> from drkd.tasks.detection.networks import create_detector
        >>> detector = create_detector("small_ssd", num_classes=2, image_size=64)
        >>> box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> with distilled(detector, cross_entropy()) as parts:
        ...     losses = detector([torch.rand(3, 64, 64)] * 2, [box, box])
        >>> bool(losses["classification"].isclose(parts["ce"]))
        True
    """
    with watched(detector, objective, index=index) as step:
        yield step.parts


@contextmanager
def watched(
    detector: nn.Module, objective: Objective, *, index: Tensor | None = None, teach: str = "all"
) -> Iterator["Step"]:
    """`distilled`, which says more of the step.

    With `teach` the objective counts in some positions only, and plain cross-entropy in the others: in those with an
    object for `foreground`, and for a number also in those that the student takes for an object by that probability.
    """
    family = family_of(detector)
    _refuse(objective, family)
    step = Step(objective, index, teach)
    with ExitStack() as stack:
        network: Any = detector
        stack.callback(network.transform.register_forward_hook(step.see_images).remove)
        if family == "two_stage":
            heads = network.roi_heads
            stack.enter_context(_wrapped(heads, "select_training_samples", step.see_samples))
            stack.callback(heads.box_predictor.register_forward_hook(step.see_logits).remove)
            stack.callback(heads.register_forward_hook(step.replace_two_stage).remove)
        elif family == "ssd":
            stack.enter_context(_wrapped(network, "compute_loss", partial(step.ssd, network.neg_to_pos_ratio)))
        else:
            head = network.head.classification_head
            stack.enter_context(_wrapped(head, "compute_loss", partial(step.retina, head.BETWEEN_THRESHOLDS)))
        yield step


class Step:
    """What is seen of a step, and what is put in the place of its class loss.

    Attributes:
        parts: the objective's.
        divisor: what torchvision's losses are divided by, where it is a number of anchors and not of images; else None.
        positions: how many were scored.
    """

    def __init__(self, objective: Objective, index: Tensor | None, teach: str = "all") -> None:
        self.teach = teach
        self.objective = objective
        self.index = index
        self.parts: Losses = {}
        self.divisor: Tensor | None = None
        self.positions = 0
        self.images: Any = None
        self.proposals: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.logits: Tensor

    def see_images(self, module: nn.Module, given: Any, made: Any) -> None:
        self.images = made[0]

    def see_samples(self, own: Call, *given: Any) -> Any:
        self.proposals, _, self.labels, _ = samples = own(*given)
        return samples

    def see_logits(self, module: nn.Module, given: Any, made: Any) -> None:
        self.logits = made[0]

    def replace_two_stage(self, module: nn.Module, given: Any, made: Any) -> Any:
        """The mean over the sampled proposals."""
        detections, losses = made
        if "loss_classifier" not in losses:  # it is not training
            return made
        positions = Positions(self.images, proposals=self.proposals)
        found = self.ask("batchmean", self.logits, torch.cat(self.labels), positions, None)
        self.parts.update({name: value for name, value in found.items() if name != "loss"})
        return detections, {**losses, "loss_classifier": found["loss"]}

    def ssd(self, ratio: float, own: Call, targets: Any, outputs: Any, anchors: Any, matched: Any) -> Losses:
        """The sum over positives and mined negatives, divided by the number of positives."""
        losses: Losses = own(targets, outputs, anchors, matched)
        logits = outputs["cls_logits"]
        labels = _labels(targets, matched, offset=0)
        positive, negative = _mined(logits.detach(), labels, ratio)
        self.divisor = positive.sum()
        positions_of = torch.cat([positive.nonzero(), negative.nonzero()]).T
        if positions_of.shape[1] == 0:  # no box in the whole batch: torchvision scores nothing
            return losses
        index = None if self.index is None else self.index[positions_of[0]] * logits.shape[1] + positions_of[1]
        positions = Positions(self.images, anchors=positions_of)
        rows = self.ask("none", logits[*positions_of], labels[*positions_of], positions, index)
        loss, count = rows["loss"], max(1, first := int(positive.sum()))
        self.take_parts(rows, torch.full_like(loss, 1 / count))
        return {**losses, "classification": (loss[:first].sum() + loss[first:].sum()) / count}

    def retina(self, between: int, own: Call, targets: Any, outputs: Any, matched: Any) -> Tensor:
        """Per class, the focal loss with the objective's loss in the place of the cross-entropy."""
        plain: Tensor = own(targets, outputs, matched)
        logits = outputs["cls_logits"]
        classes = logits.shape[-1]
        labels = _labels(targets, matched, offset=1)  # 0 where there is no class
        positions_of = torch.stack([row != between for row in matched]).nonzero().T
        shown = F.one_hot(labels[*positions_of], classes + 1)[:, 1:].flatten()
        pairs = as_pairs(logits[*positions_of])
        rows = self.ask("none", pairs, shown, Positions(self.images, anchors=positions_of), None)
        positives = (labels > 0).sum(dim=1).clamp(min=1)
        share = (1 / (positives * len(labels)))[positions_of[0]].repeat_interleave(classes)
        weight = share * _focal_weight(pairs, shown)
        self.take_parts(rows, weight.detach())
        instead = rows["loss"] - hard_cross_entropy(pairs, shown)  # exactly 0 for plain cross-entropy
        return plain + (weight * instead).sum()

    def ask(self, how: Reduction, logits: Tensor, labels: Tensor, positions: Positions, index: Tensor | None) -> Losses:
        """The objective's losses, reduced as this detector needs them."""
        self.positions = len(labels)
        if self.teach == "all":
            found: Losses = self.objective(logits, labels, inputs=positions, index=index, reduction=how)
            return found
        rows: Losses = self.objective(logits, labels, inputs=positions, index=index, reduction="none")
        logits = to_float32(logits)
        taught = labels > 0
        if self.teach != "foreground":
            taught |= logits.detach().softmax(dim=1)[:, 0] <= 1 - float(self.teach)
        plain = hard_cross_entropy(logits, labels)
        instead = {"loss": plain, "ce": plain.detach()}
        rows = {name: values.where(taught, instead.get(name, torch.zeros(()))) for name, values in rows.items()}
        return rows if how == "none" else {name: values.mean() for name, values in rows.items()}

    def take_parts(self, rows: Losses, weight: Tensor) -> None:
        """Contributions to the loss are weighted as it is; the rest are means over the rows."""
        for name, values in rows.items():
            if name != "loss":
                mean = name == "rectified" or name.endswith("_kl")
                self.parts[name] = values.mean() if mean else (values * weight).sum()


def _labels(targets: Any, matched: Sequence[Tensor], *, offset: int) -> Tensor:
    """The class of each anchor, (B, A): its box's label and `offset`, 0 where it has none."""
    found = []
    for target, match in zip(targets, matched, strict=True):
        labels = torch.zeros_like(match)
        labels[match >= 0] = target["labels"][match[match >= 0]] + offset
        found.append(labels)
    return torch.stack(found)


def _mined(logits: Tensor, labels: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Which anchors count, (B, A): those with a class, and `ratio` times as many others, by falling cross-entropy."""
    positive = labels > 0
    rows = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.flatten(), reduction="none").view_as(labels)
    positions_of = rows.masked_fill(positive, -torch.inf).sort(dim=1, descending=True)[1].sort(dim=1)[1]
    return positive, positions_of < ratio * positive.sum(dim=1, keepdim=True)


def _focal_weight(pairs: Tensor, shown: Tensor) -> Tensor:
    """alpha_t (1 - p_t)^2 of the focal loss (arXiv 1708.02002, Eq. 5), with torchvision's alpha of 0.25."""
    right = pairs.softmax(dim=1).gather(1, shown[:, None]).squeeze(1)
    return (0.75 - 0.5 * shown) * (1 - right) ** 2


@contextmanager
def _wrapped(owner: nn.Module, name: str, instead: Call) -> Iterator[None]:
    """While this lasts, the method `name` of this one object is `instead`, which gets the method itself first."""
    before = vars(owner).get(name)  # some put a method of their own on the object
    setattr(owner, name, partial(instead, getattr(owner, name)))
    try:
        yield
    finally:
        delattr(owner, name)
        if before is not None:
            setattr(owner, name, before)


def _refuse(objective: Objective, family: str) -> None:
    """Refuse what cannot work on a detector, before anything is computed."""
    if strange := objective.needs - {"inputs", "index"}:
        raise InputError(
            f"`{objective.name}` needs batches with {', '.join(sorted(strange))}, which detection does not have; "
            "choose another"
        )
    if "index" in objective.needs and family != "ssd":
        raise InputError(
            f"`{objective.name}` remembers positions, which change from step to step in this detector; use an SSD, or "
            'online_dr_kd with source="ema"'
        )
    for target in objective.targets:
        network = target.network if isinstance(target, Frozen) else target.student if isinstance(target, Ema) else None
        if isinstance(network, nn.Module) and not isinstance(network, AtPositions) and hasattr(network, "backbone"):
            raise InputError(f"`{objective.name}` got a whole detector as its teacher; give AtPositions(detector)")
