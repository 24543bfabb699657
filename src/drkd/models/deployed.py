"""The network as it is deployed: pixels in, logits out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Deployed(nn.Module):
    """A network with its preprocessing: uint8 pixels (B, C, H, W), 0 to 255, to logits (B, K).

    The arithmetic is the training loader's, in its order.

    Args:
        network: takes normalised float images (B, C, H, W); used as it is, not copied.
        mean, std: per channel, as fractions of full brightness.

    Example:
        >>> deployed = Deployed(nn.Flatten(), mean=[0.5], std=[0.5])
        >>> deployed(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2))
        tensor([[-1.,  1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network((pixels.float() / 255 - self.mean) / self.std)
        return logits
