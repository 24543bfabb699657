"""AlexNet in the papers' variant for small images."""

from collections import OrderedDict

from torch import nn

from drkd.models.blocks import classifier, need_size

SMALLEST = 32


def alexnet(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """AlexNet (arXiv 1404.5997) for 32x32 images and up: 2,495,396 parameters at 100 classes.

    Input (B, channels, H, W) of 32x32 or more, output (B, num_classes). 15.0M multiply-adds at 32x32.

    The Tf-KD paper's public code: torchvision's five convolutions with another padding for the first, pooling windows
    of 2x2, and one linear layer instead of three.

    Raises:
        InputError: if the images are smaller than 32x32.

    Example:
        >>> sum(p.numel() for p in alexnet(100, 32).parameters())
        2495396
    """
    need_size("alexnet", image_size, SMALLEST)
    features = nn.Sequential(
        nn.Conv2d(channels, 64, 11, stride=4, padding=5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
    return nn.Sequential(OrderedDict(features=features, head=classifier(256, num_classes)))
