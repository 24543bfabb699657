"""A network behind the preprocessing of another one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drkd.models.files import ModelInfo


class Adapted(nn.Module):
    """A network that is given images as another one sees them: it resizes and normalises them for itself.

    A teacher and its student may differ in the size of their images, or in mean and deviation.

    Args:
        network: takes images as `own` says; used as it is, not copied.
        own: how the network wants its images.
        given: how the images are that it gets.

    Example:
        >>> grey = {"model": "mlp", "classes": ("a", "b"), "channels": 1}
        >>> own = ModelInfo(**grey, image_size=2, mean=(0.5,), std=(0.25,))
        >>> given = ModelInfo(**grey, image_size=4, mean=(0.0,), std=(1.0,))
        >>> Adapted(nn.Flatten(), own, given)(torch.full((1, 1, 4, 4), 0.75))
        tensor([[1., 1., 1., 1.]])
    """

    mean: Tensor
    std: Tensor
    mean_given: Tensor
    std_given: Tensor

    def __init__(self, network: nn.Module, own: ModelInfo, given: ModelInfo) -> None:
        super().__init__()
        self.network = network
        self.size, self.interpolation = own.image_size, own.interpolation
        statistics = {"mean": own.mean, "std": own.std, "mean_given": given.mean, "std_given": given.std}
        for name, values in statistics.items():
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        images = inputs * self.std_given + self.mean_given
        if images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode=self.interpolation, antialias=True)
            images = images.clamp(0, 1) if self.interpolation == "bicubic" else images  # as pixels are, beside edges
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def differences(own: ModelInfo, given: ModelInfo) -> list[str]:
    """In what two networks want their images differently, as far as `Adapted` makes up for it.

    Example:
        >>> one = ModelInfo("mlp", ("a", "b"), 8, 1, (0.5,), (0.25,))
        >>> differences(one, ModelInfo("mlp", ("a", "b"), 16, 1, (0.5,), (0.3,)))
        ['size 8 for 16', 'deviation (0.25,) for (0.3,)']
    """
    pairs = {
        "size": (own.image_size, given.image_size),
        "mean": (own.mean, given.mean),
        "deviation": (own.std, given.std),
    }
    return [f"{name} {ours} for {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]


def scaling_differences(own: ModelInfo, given: ModelInfo) -> list[str]:
    """In what the images of two networks were scaled differently, which no network can make up for.

    Example:
        >>> one = ModelInfo("mlp", ("a", "b"), 8, 1, (0.5,), (0.25,))
        >>> scaling_differences(one, ModelInfo("mlp", ("a", "b"), 16, 1, (0.5,), (0.25,), interpolation="bicubic"))
        ['interpolation bilinear for bicubic']
    """
    pairs = {"margin": (own.margin, given.margin), "interpolation": (own.interpolation, given.interpolation)}
    return [f"{name} {ours} for {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]
