"""Segmenters as they are deployed: pixels in, the class of every pixel out."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from drkd.models.deployed import Deployed
from drkd.tasks.segmentation.losses import MainOutput


class DeployedSegmenter(nn.Module):
    """A segmenter with its preprocessing and without its auxiliary head.

    It takes uint8 pixels (B, 3, S, S), 0 to 255, and gives `mask`, uint8 (B, S, S): the class with the largest logit at
    each pixel, as its position among the network's classes.

    Args:
        network: returns logits or torchvision's dictionary; used as it is, not copied.
        mean, std: per channel, as fractions of full brightness.

    Example:
        >>> network = nn.Conv2d(3, 2, 1, bias=False)  # class 1 where an image is bright
        >>> network.weight.data = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).repeat(1, 3, 1, 1)
        >>> deployed = DeployedSegmenter(network, mean=[0.5] * 3, std=[0.5] * 3)
        >>> deployed(torch.tensor([[20, 200], [250, 0]], dtype=torch.uint8).expand(1, 3, 2, 2))
        tensor([[[0, 1],
                 [1, 0]]], dtype=torch.uint8)
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.deployed = Deployed(MainOutput(without_aux(network)), mean, std)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.deployed(pixels)
        return logits.argmax(dim=1).to(torch.uint8)


def deploy_segmenter(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """`DeployedSegmenter`, in eval mode and without gradients."""
    return DeployedSegmenter(network.eval().requires_grad_(False), mean, std).eval()


def without_aux(network: nn.Module) -> nn.Module:
    """A network that shares everything with `network` but its auxiliary head, which only training needs."""
    if getattr(network, "aux_classifier", None) is None:
        return network
    shared = copy.copy(network)
    shared._modules = {**network._modules, "aux_classifier": None}
    return shared
