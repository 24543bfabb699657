"""The plain convolutional network that the papers teach and learn from beside the named architectures."""

from torch import nn

from drkd.models.blocks import conv_norm, need_size

WIDTHS = (32, 64, 128)
HIDDEN = 128
SMALLEST = 8  # three halvings


def cnn(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """Plain CNN of the Tf-KD paper (arXiv 1909.11723) for 32x32 images and up: 369,124 parameters at 100 classes.

    Input (B, channels, H, W) of 8x8 or more, output (B, num_classes). 10.6M multiply-adds at 32x32.

    Three 3x3 convolutions with batch norm, each halving the image; a mean that brings every size to 4x4, which leaves
    a 32x32 image as it is by then; a hidden layer with batch norm and 50% dropout; the classes.

    Raises:
        InputError: if the images are smaller than 8x8.

    Example:
        >>> sum(p.numel() for p in cnn(100, 32).parameters())
        369124
    """
    need_size("cnn", image_size, SMALLEST)
    layers: list[nn.Module] = []
    for inner, outer in zip((channels, *WIDTHS), WIDTHS, strict=False):
        layers += [*conv_norm(inner, outer, 3, bias=True), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(WIDTHS[-1] * 4 * 4, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(HIDDEN, num_classes),
    )
