"""ResNeXt-29 (arXiv 1611.05431), the paper's own network for CIFAR."""

from collections import OrderedDict

from torch import nn

from drkd.models.blocks import classifier, conv_norm
from drkd.models.resnet import Bottleneck

GROUPS, WIDTH = 8, 64  # "8x64d": the 3x3 convolutions of the first stage have 8 groups of 64 channels


def resnext29_8x64d(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """ResNeXt-29, 8x64d (arXiv 1611.05431) for 32x32 images and up: 34,518,948 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 5,387.4M multiply-adds at 32x32. Its blocks are
    ResNet's with eight groups in the 3x3 convolution.
    """
    del image_size  # global pooling takes any size
    stages: list[nn.Module] = []
    inner = 64
    for stage in range(3):
        width, outer = GROUPS * WIDTH * 2**stage, 256 * 2**stage
        strides = (1 if stage == 0 else 2, 1, 1)
        inners = (inner, outer, outer)
        blocks = [Bottleneck(i, width, s, outer=outer, groups=GROUPS) for i, s in zip(inners, strides, strict=True)]
        stages.append(nn.Sequential(*blocks))
        inner = outer
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(*conv_norm(channels, 64, 3), nn.ReLU(inplace=True)),
            stages=nn.Sequential(*stages),
            head=classifier(inner, num_classes),
        )
    )
