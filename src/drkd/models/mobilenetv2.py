"""MobileNetV2 (arXiv 1801.04381) in the papers' variant for small images."""

from collections import OrderedDict

from torch import Tensor, nn

from drkd.models.blocks import conv_norm

STAGES = (  # expansion, channels, blocks, stride of the first block: the paper's Table 2 but for two strides
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 1),  # 2 in the paper, as is the stem's: so small an image is halved three times, not five
    (6, 320, 1, 1),
)
LAST = 1280


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a 3x3 one per channel, and a linear 1x1 one that narrows: no ReLU after it."""

    def __init__(self, inner: int, outer: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * inner
        self.body = nn.Sequential(
            *conv_norm(inner, wide, 1, bias=True),
            nn.ReLU6(inplace=True),
            *conv_norm(wide, wide, 3, stride=stride, groups=wide, bias=True),
            nn.ReLU6(inplace=True),
            *conv_norm(wide, outer, 1, bias=True),
        )
        self.residual = stride == 1 and inner == outer

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.body(inputs)
        return inputs + outputs if self.residual else outputs


def mobilenetv2(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """MobileNetV2 (arXiv 1801.04381) for 32x32 images and up: 2,369,380 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 64.9M multiply-adds at 32x32.

    As in the Tf-KD paper's public code, where its count comes from: every convolution has a bias, the stem is a 1x1
    convolution with a padding of 1 and no stride, the first block has a widening convolution although it widens
    nothing, the stage of 160 channels does not halve, and a 1x1 convolution classifies. As in the architecture paper,
    the narrowing convolutions are linear and all others are followed by ReLU6.

    Example:
        >>> sum(p.numel() for p in mobilenetv2(100, 32).parameters())
        2369380
    """
    del image_size  # global pooling takes any size
    blocks: list[nn.Module] = []
    inner = 32
    for expansion, outer, count, stride in STAGES:
        for block in range(count):
            blocks.append(InvertedResidual(inner, outer, stride if block == 0 else 1, expansion))
            inner = outer
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(*conv_norm(channels, 32, 1, padding=1, bias=True), nn.ReLU6(inplace=True)),
            blocks=nn.Sequential(*blocks),
            last=nn.Sequential(*conv_norm(inner, LAST, 1, bias=True), nn.ReLU6(inplace=True)),
            head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(LAST, num_classes, 1), nn.Flatten()),
        )
    )
