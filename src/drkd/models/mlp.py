"""A plain multi-layer perceptron for images the size of a digit."""

from torch import nn

WIDTH = 128


def mlp(num_classes: int, image_size: int, channels: int = 3) -> nn.Module:
    """Pixels, two hidden layers of 128 with ReLU, classes: the quickest network to try methods on.

    Input (B, channels, image_size, image_size), output (B, num_classes).

    Example:
        >>> sum(p.numel() for p in mlp(10, 8, 1).parameters())
        26122
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * image_size * image_size, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, num_classes),
    )
