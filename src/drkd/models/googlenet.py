"""GoogLeNet (arXiv 1409.4842) in the papers' variant for small images: batch norm, one convolution as the stem."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from drkd.models.blocks import conv_norm

STAGES = (  # the columns #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5 and pool proj of the paper's Table 1
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def _conv(inner: int, outer: int, kernel: int) -> list[nn.Module]:
    return [*conv_norm(inner, outer, kernel, bias=True), nn.ReLU(inplace=True)]


class Inception(nn.Module):
    """Four ways side by side: 1x1, 3x3, 5x5 and pooling; two 3x3 convolutions see what a 5x5 one does."""

    def __init__(self, inner: int, ones: int, reduce3: int, threes: int, reduce5: int, fives: int, pooled: int) -> None:
        super().__init__()
        self.way1 = nn.Sequential(*_conv(inner, ones, 1))
        self.way3 = nn.Sequential(*_conv(inner, reduce3, 1), *_conv(reduce3, threes, 3))
        self.way5 = nn.Sequential(*_conv(inner, reduce5, 1), *_conv(reduce5, fives, 3), *_conv(fives, fives, 3))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *_conv(inner, pooled, 1))
        self.channels = ones + threes + fives + pooled

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat((self.way1(inputs), self.way3(inputs), self.way5(inputs), self.pool(inputs)), dim=1)


def googlenet(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """GoogLeNet (arXiv 1409.4842) for 32x32 images and up: 6,258,500 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 1,521.8M multiply-adds at 32x32.

    As in the Tf-KD paper's public code, where its count comes from: one 3x3 convolution of 192 channels is the stem,
    every convolution has a bias and a batch norm, two 3x3 convolutions replace a 5x5 one (arXiv 1512.00567), and
    there are no auxiliary classifiers. That code passes a channel count as the epsilon of a batch norm, the first after
    a 5x5 reduction, so that it divides by much more than the standard deviation. Here every epsilon is the usual 1e-5.
    As in the architecture paper, a ReLU follows every convolution, and 40% dropout comes before the linear layer.

    Example:
        >>> sum(p.numel() for p in googlenet(100, 32).parameters())
        6258500
    """
    del image_size  # global pooling takes any size
    layers: list[nn.Module] = _conv(channels, 192, 3)
    inner = 192
    for stage, blocks in enumerate(STAGES):
        if stage > 0:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        for widths in blocks:
            block = Inception(inner, *widths)
            layers.append(block)
            inner = block.channels
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(inner, num_classes))
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head))
