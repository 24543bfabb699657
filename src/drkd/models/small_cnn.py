"""A small convolutional network for quick trials on real images."""

from torch import nn

WIDTH = 16


def small_cnn(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """Three 3x3 convolutions with batch norm (16, 32, 64 channels), two halvings, global pooling, classes.

    Takes any image of 4 pixels a side or more; `image_size` is not needed.

    Example:
        >>> sum(p.numel() for p in small_cnn(10, 32).parameters())
        24346
    """
    del image_size  # every network is made from the same three arguments
    layers: list[nn.Module] = []
    for inner, outer in ((channels, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 4 * WIDTH)):
        layers += [nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(), nn.MaxPool2d(2)]
    layers[-1] = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * WIDTH, num_classes))
