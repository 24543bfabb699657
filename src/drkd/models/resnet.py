"""ResNet (arXiv 1512.03385) with the papers' stem for small images: one 3x3 convolution, no pooling."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from drkd.models.blocks import classifier, conv_norm


def _shortcut(inner: int, outer: int, stride: int) -> nn.Module:
    """Nothing, or a 1x1 convolution where the shape changes."""
    if stride == 1 and inner == outer:
        return nn.Identity()
    return nn.Sequential(*conv_norm(inner, outer, 1, stride=stride))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(inner, width, 3, stride=stride),
            nn.ReLU(inplace=True),
            *conv_norm(width, width, 3),
        )
        self.shortcut = _shortcut(inner, width, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.body(inputs) + self.shortcut(inputs))


class Bottleneck(nn.Module):
    """A 1x1 convolution to `width`, a 3x3 one, which has the stride, and a 1x1 one out, beside a shortcut.

    `outer` is four times `width` unless it is given. ResNeXt's block is this one with `groups`.
    """

    expansion = 4

    def __init__(self, inner: int, width: int, stride: int, *, outer: int | None = None, groups: int = 1) -> None:
        super().__init__()
        outer = self.expansion * width if outer is None else outer
        self.body = nn.Sequential(
            *conv_norm(inner, width, 1),
            nn.ReLU(inplace=True),
            *conv_norm(width, width, 3, stride=stride, groups=groups),
            nn.ReLU(inplace=True),
            *conv_norm(width, outer, 1),
        )
        self.shortcut = _shortcut(inner, outer, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.body(inputs) + self.shortcut(inputs))


class ResNet(nn.Module):
    """Four stages of 64, 128, 256 and 512 channels, halving between them; global pooling takes any image size."""

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], blocks: Sequence[int], num_classes: int, channels: int
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(channels, 64, 3), nn.ReLU(inplace=True))
        stages: list[nn.Module] = []
        inner = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            outer = block.expansion * width
            first = block(inner, width, stride=1 if stage == 0 else 2)
            stages.append(nn.Sequential(first, *(block(outer, width, stride=1) for _ in range(count - 1))))
            inner = outer
        self.stages = nn.Sequential(*stages)
        self.head = classifier(inner, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stages(self.stem(inputs)))
        return logits


def resnet18(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """ResNet-18 (arXiv 1512.03385) for 32x32 images and up: 11,220,132 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 555.5M multiply-adds at 32x32.

    Example:
        >>> sum(p.numel() for p in resnet18(100, 32).parameters())
        11220132
    """
    del image_size  # global pooling takes any size
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, channels)


def resnet34(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """ResNet-34 (arXiv 1512.03385) for 32x32 images and up: 21,328,292 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 1,159.4M multiply-adds at 32x32.
    """
    del image_size  # global pooling takes any size
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, channels)


def resnet50(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """ResNet-50 (arXiv 1512.03385) for 32x32 images and up: 23,705,252 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 1,298.0M multiply-adds at 32x32.

    The 3x3 convolution of a block has its stride, as in the Tf-KD paper's public code and in torchvision; in the
    architecture paper it is the 1x1 convolution before it.
    """
    del image_size  # global pooling takes any size
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, channels)


def resnet101(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """ResNet-101 (arXiv 1512.03385) for 32x32 images and up: 42,697,380 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 2,510.2M multiply-adds at 32x32. Strides as in
    `resnet50`.
    """
    del image_size  # global pooling takes any size
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, channels)
