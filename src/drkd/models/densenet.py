"""DenseNet-BC (arXiv 1608.06993) in the papers' variant for small images: one 3x3 convolution, no pooling."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from drkd.models.blocks import classifier, conv_norm, need_size

GROWTH = 32
LAYERS = (6, 12, 24, 16)
SMALLEST = 8  # three halvings


class DenseLayer(nn.Module):
    """Batch norm, ReLU and convolution, 1x1 to four times the growth, then 3x3: the result joins what came in."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            *conv_norm(inner, 4 * GROWTH, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat((inputs, self.body(inputs)), dim=1)


def _transition(inner: int) -> nn.Sequential:
    """Half the channels, half the size."""
    return nn.Sequential(
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, inner // 2, 1, bias=False),
        nn.AvgPool2d(2),
    )


def densenet121(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """DenseNet-121 (arXiv 1608.06993) for 32x32 images and up: 7,048,548 parameters at 100 classes.

    Input (B, channels, H, W) of 8x8 or more, output (B, num_classes). 888.4M multiply-adds at 32x32.

    Batch norm and ReLU come before every convolution but the stem, as the architecture paper's Table 1 has it. The
    Tf-KD paper's public code leaves the ReLU out between the blocks.

    Raises:
        InputError: if the images are smaller than 8x8.

    Example:
        >>> sum(p.numel() for p in densenet121(100, 32).parameters())
        7048548
    """
    need_size("densenet121", image_size, SMALLEST)
    inner = 2 * GROWTH
    layers: list[nn.Module] = [nn.Conv2d(channels, inner, 3, padding=1, bias=False)]
    for block, count in enumerate(LAYERS):
        if block > 0:
            layers.append(_transition(inner))
            inner //= 2
        layers += [DenseLayer(inner + i * GROWTH) for i in range(count)]
        inner += count * GROWTH
    layers += [nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=classifier(inner, num_classes)))
