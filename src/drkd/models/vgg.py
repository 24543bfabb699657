"""VGG (arXiv 1409.1556) with batch norm, for small images."""

from collections import OrderedDict

from torch import nn

from drkd.models.blocks import classifier, conv_norm, need_size

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions: the paper's configuration E
SMALLEST = 32  # five halvings


def vgg19_bn(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """VGG-19 with batch norm (arXiv 1409.1556) for 32x32 images and up: 20,086,692 parameters at 100 classes.

    Input (B, channels, H, W) of 32x32 or more, output (B, num_classes). 398.2M multiply-adds at 32x32.

    The architecture paper's configuration E: sixteen 3x3 convolutions with biases, here each with a batch norm; then
    global pooling and one linear layer instead of three.

    Raises:
        InputError: if the images are smaller than 32x32.
    """
    need_size("vgg19_bn", image_size, SMALLEST)
    layers: list[nn.Module] = []
    inner = channels
    for outer, count in STAGES:
        for _ in range(count):
            layers += [*conv_norm(inner, outer, 3, bias=True), nn.ReLU(inplace=True)]
            inner = outer
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=classifier(inner, num_classes)))
