"""ResNet (arXiv 1512.03385) with the papers' stem for small pictures: one 3x3 convolution, no pooling."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(inplace=True),
            nn.Conv2d(outer, outer, 3, padding=1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.body(inputs) + self.shortcut(inputs))


class ResNet(nn.Module):
    """Four stages of 64, 128, 256 and 512 channels, halving between them; global pooling takes any picture size."""

    def __init__(self, blocks: Sequence[int], num_classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        stages: list[nn.Module] = []
        inner = 64
        for stage, count in enumerate(blocks):
            outer = 64 * 2**stage
            strides = [1 if stage == 0 else 2] + [1] * (count - 1)
            stages.append(
                nn.Sequential(*(BasicBlock(inner if i == 0 else outer, outer, s) for i, s in enumerate(strides)))
            )
            inner = outer
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stages(self.stem(inputs)))
        return logits


def resnet18(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """ResNet-18 for 32x32 pictures and up: 11,220,132 parameters at 100 classes."""
    del image_size  # every network is made from the same three arguments
    return ResNet((2, 2, 2, 2), num_classes, channels)
