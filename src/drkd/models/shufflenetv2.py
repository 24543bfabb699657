"""ShuffleNetV2 (arXiv 1807.11164) in the papers' variant for small images."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from drkd.models.blocks import classifier, conv_norm

STAGES = ((116, 4), (232, 8), (464, 4))  # channels and units: the paper's Table 5 at width x1
LAST = 1024


def shuffle(one: Tensor, other: Tensor) -> Tensor:
    """Two halves put together with their channels in turn, which is what concatenation and shuffling come to.

    Example:
        >>> shuffle(torch.tensor([[[[0]], [[1]]]]), torch.tensor([[[[10]], [[11]]]])).flatten().tolist()
        [0, 10, 1, 11]
    """
    return torch.stack((one, other), dim=2).flatten(1, 2)


def _transform(inner: int, outer: int, stride: int) -> nn.Sequential:
    """A 1x1 convolution, a 3x3 one per channel with no ReLU after it, and another 1x1 one."""
    return nn.Sequential(
        *conv_norm(inner, inner, 1, bias=True),
        nn.ReLU(inplace=True),
        *conv_norm(inner, inner, 3, stride=stride, groups=inner, bias=True),
        *conv_norm(inner, outer, 1, bias=True),
        nn.ReLU(inplace=True),
    )


class Unit(nn.Module):
    """One half of the channels passes untouched beside the other; then they are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = _transform(channels // 2, channels // 2, stride=1)

    def forward(self, inputs: Tensor) -> Tensor:
        untouched, half = inputs.chunk(2, dim=1)
        return shuffle(untouched, self.body(half))


class DownUnit(nn.Module):
    """Both ways start from all channels and halve the image; together they have `outer` channels."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.body = _transform(inner, outer // 2, stride=2)
        self.shortcut = nn.Sequential(
            *conv_norm(inner, inner, 3, stride=2, groups=inner, bias=True),
            *conv_norm(inner, outer // 2, 1, bias=True),
            nn.ReLU(inplace=True),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return shuffle(self.shortcut(inputs), self.body(inputs))


def shufflenetv2(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """ShuffleNetV2 x1 (arXiv 1807.11164) for 32x32 images and up: 1,360,896 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 43.7M multiply-adds at 32x32.

    As in the Tf-KD paper's public code, where its count comes from: every convolution has a bias, and the stem is one
    3x3 convolution with neither stride nor pooling. That code leaves out the stem's ReLU, which is here.

    Example:
        >>> sum(p.numel() for p in shufflenetv2(100, 32).parameters())
        1360896
    """
    del image_size  # global pooling takes any size
    units: list[nn.Module] = []
    inner = 24
    for outer, count in STAGES:
        units += [DownUnit(inner, outer), *(Unit(outer) for _ in range(count - 1))]
        inner = outer
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(*conv_norm(channels, 24, 3, bias=True), nn.ReLU(inplace=True)),
            units=nn.Sequential(*units),
            last=nn.Sequential(*conv_norm(inner, LAST, 1, bias=True), nn.ReLU(inplace=True)),
            head=classifier(LAST, num_classes),
        )
    )
