"""The losses of a class for every pixel: logits (B, K, H, W) and labels (B, H, W).

Objectives take dense logits as they are. What torchvision's LR-ASPP, DeepLabV3 and FCN need besides is here: they
return dictionaries, some with an auxiliary head, and pixels with an ignored label (255 by custom) do not count.

    teacher = MainOutput(trained_copy)
    objective = drkd.dr_kd(teacher, ignore_index=255)
    losses = segmentation_losses(network, images, labels, objective)
    losses["loss"].backward()
"""

from typing import Any

from torch import Tensor, nn

from drkd.objective.losses import hard_cross_entropy
from drkd.objective.objective import Objective
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError

AUX_WEIGHT = 0.5
"""Weight of the auxiliary head, as torchvision's networks were trained with."""


class MainOutput(nn.Module):
    """A segmentation network as one that returns logits (B, K, H, W): what teachers, `Ema` and `mean_iou` want.

    Args:
        network: returns a dictionary with `out`, or logits. It is not copied.

    Example:
        >>> import torch
        >>> dense = nn.Conv2d(3, 4, 1)
        >>> MainOutput(dense)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4, 8, 8])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return outputs_of(self.network(images))["out"]


def segmentation_losses(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    index: Tensor | None = None,
    aux_weight: float = AUX_WEIGHT,
) -> dict[str, Tensor]:
    """The losses of one training step.

    The main output is trained by `objective`, an auxiliary head by plain cross-entropy: it is thrown away later, and a
    self-teacher has no answer for it. With `drkd.cross_entropy` the loss is the one of torchvision's own training.

    Args:
        network: from images to a dictionary with `out` and perhaps `aux`, or to logits.
        images: (B, 3, H, W).
        labels: (B, H, W) integers of any type; pixels with the objective's `ignore_index` do not count.
        objective: any method without `pairs` or `replay`; a network that teaches is a `MainOutput`.
        index: (B,) positions of the samples, for methods that remember them; keep images unaltered then.
        aux_weight: of the auxiliary head.

    Returns:
        What the objective returns, `aux` being added to `loss` where there is such a head.

    Raises:
        InputError: for labels or outputs that do not fit.

    Example:
        >>> import torch
        >>> from drkd import label_smoothing
        >>> labels = torch.randint(4, (2, 8, 8)).index_fill(1, torch.tensor([0]), 255)
        >>> losses = segmentation_losses(
        ...     nn.Conv2d(3, 4, 1), torch.rand(2, 3, 8, 8), labels, label_smoothing(0.1, ignore_index=255)
        ... )
        >>> sorted(losses)
        ['ce', 'loss', 'smoothing', 'smoothing_kl']
    """
    check_arguments(
        segmentation_losses, {"network": network, "images": images, "labels": labels, "aux_weight": aux_weight}
    )
    return losses_of(outputs_of(network(images)), images, labels, objective, index=index, aux_weight=aux_weight)


def losses_of(
    outputs: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    index: Tensor | None = None,
    aux_weight: float = AUX_WEIGHT,
) -> dict[str, Tensor]:
    """`segmentation_losses` of outputs that are there already; see it for the arguments."""
    losses = objective(outputs["out"], labels, inputs=images, index=index)
    if "aux" not in outputs:
        return dict(losses)
    labels, ignored = labels.long(), objective.ignore_index
    counted = (labels != ignored).sum().clamp(min=1)  # a batch whose pixels are all ignored has loss 0
    aux = aux_weight * hard_cross_entropy(outputs["aux"], labels, ignore_index=ignored, reduction="sum") / counted
    return {**losses, "loss": losses["loss"] + aux, "aux": aux.detach()}


def outputs_of(made: Any) -> dict[str, Tensor]:
    """The outputs by name, whichever way a network returns them."""
    if isinstance(made, Tensor):
        return {"out": made}
    if not isinstance(made, dict) or "out" not in made:
        raise InputError(
            f"a segmentation network must return logits or a dictionary with `out`, got {type(made).__name__}"
        )
    return made
