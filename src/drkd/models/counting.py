"""How much a network computes."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-adds of the convolutions and linear layers in one forward pass, which is what papers count.

    Biases, normalisation, activations, pooling, and products outside such layers, as in attention, are not counted.
    Nothing is computed: the pass runs on shapes alone.

    Args:
        model: any network; it is left as it is.
        input_shape: of one image, (channels, height, width).

    Returns:
        The multiply-adds for one image.

    Example:
        >>> convolution = nn.Conv2d(3, 16, 3, padding=1)
        >>> count_macs(convolution, (3, 32, 32)) == 32 * 32 * 16 * (3 * 3 * 3)
        True
    """
    macs = 0

    def add(layer: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal macs
        weight = layer.get_parameter("weight")  # (outputs, what each of them sums over)
        macs += output.numel() * weight[0].numel()

    shapes = copy.deepcopy(model).to("meta").eval()
    for layer in shapes.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            layer.register_forward_hook(add)
    with torch.no_grad():
        shapes(torch.empty(1, *input_shape, device="meta"))
    return macs
