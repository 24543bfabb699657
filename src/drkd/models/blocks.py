"""What several networks share: a normalised convolution, the classifier at the end, the smallest image."""

from torch import nn

from drkd.utils.errors import InputError


def conv_norm(
    inner: int,
    outer: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    bias: bool = False,
) -> list[nn.Module]:
    """A convolution and its batch norm, to be unpacked into an `nn.Sequential` by the caller.

    Args:
        inner: channels that come in.
        outer: channels that go out.
        kernel: side length of the kernel.
        stride: 2 halves the image.
        padding: pixels added on each side; by default as many as keep the size at stride 1 (`kernel // 2`).
        groups: the channels are convolved in that many groups.
        bias: whether the convolution has a bias of its own. The batch norm makes it superfluous, but the papers' public
            code has it in some networks.

    Example:
        >>> [type(layer).__name__ for layer in conv_norm(3, 16, 3)]
        ['Conv2d', 'BatchNorm2d']
    """
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(inner, outer, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
    return [convolution, nn.BatchNorm2d(outer)]


def classifier(inner: int, num_classes: int) -> nn.Sequential:
    """The mean over all pixels, whatever their number, and one linear layer: (B, inner, H, W) to (B, num_classes)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, num_classes))


def need_size(network: str, image_size: int, smallest: int) -> None:
    """Refuse images of which nothing would be left after the network's halvings.

    Raises:
        InputError: if `image_size` is below `smallest`.

    Example:
        >>> need_size("vgg19_bn", 8, 32)
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: vgg19_bn needs images of 32x32 or more, got 8x8; scale them up with \
image_size=32 (--image-size 32), or choose another network
    """
    if image_size < smallest:
        raise InputError(
            f"{network} needs images of {smallest}x{smallest} or more, got {image_size}x{image_size}; "
            f"scale them up with image_size={smallest} (--image-size {smallest}), or choose another network"
        )
