"""Wide ResNet (arXiv 1605.07146), the paper's own networks for CIFAR, without dropout."""

from collections import OrderedDict

from torch import Tensor, nn

from drkd.models.blocks import classifier, conv_norm


class WideBlock(nn.Module):
    """Batch norm and ReLU come before each of the two 3x3 convolutions.

    Where the shape changes, the shortcut is a 1x1 convolution of what the first ReLU gave.
    """

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            *conv_norm(inner, outer, 3, stride=stride),
            nn.ReLU(inplace=True),
            nn.Conv2d(outer, outer, 3, padding=1, bias=False),
        )
        same = stride == 1 and inner == outer
        self.shortcut = None if same else nn.Conv2d(inner, outer, 1, stride=stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        active = self.first(inputs)
        outputs: Tensor = self.body(active) + (inputs if self.shortcut is None else self.shortcut(active))
        return outputs


def _wide_resnet(depth: int, widening: int, num_classes: int, channels: int) -> nn.Module:
    """Three stages of (depth - 4) / 6 blocks, with 16, 32 and 64 channels times `widening`."""
    stages: list[nn.Module] = []
    inner = 16
    for stage in range(3):
        outer = 16 * widening * 2**stage
        first = WideBlock(inner, outer, stride=1 if stage == 0 else 2)
        stages.append(nn.Sequential(first, *(WideBlock(outer, outer, stride=1) for _ in range((depth - 4) // 6 - 1))))
        inner = outer
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            stages=nn.Sequential(*stages),
            last=nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
            head=classifier(inner, num_classes),
        )
    )


def wrn16_2(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """Wide ResNet-16-2 (arXiv 1605.07146) for 32x32 images and up: 703,284 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 101.1M multiply-adds at 32x32.

    Example:
        >>> sum(p.numel() for p in wrn16_2(100, 32).parameters())
        703284
    """
    del image_size  # global pooling takes any size
    return _wide_resnet(16, 2, num_classes, channels)


def wrn40_2(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """Wide ResNet-40-2 (arXiv 1605.07146) for 32x32 images and up: 2,255,156 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 327.6M multiply-adds at 32x32.

    Example:
        >>> sum(p.numel() for p in wrn40_2(100, 32).parameters())
        2255156
    """
    del image_size  # global pooling takes any size
    return _wide_resnet(40, 2, num_classes, channels)


def wrn28_10(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """Wide ResNet-28-10 (arXiv 1605.07146) for 32x32 images and up: 36,536,884 parameters at 100 classes.

    Input (B, channels, H, W) of any size, output (B, num_classes). 5,243.4M multiply-adds at 32x32.
    """
    del image_size  # global pooling takes any size
    return _wide_resnet(28, 10, num_classes, channels)
