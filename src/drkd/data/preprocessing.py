"""How a network wants its images: what travels with its weights."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a network. None leaves a value to the data.

    Attributes:
        image_size: side length.
        mean, std: per channel, as fractions of full brightness.
        margin: images are scaled until their shorter side is `margin * image_size` long, and cropped about the centre.
        interpolation: `bilinear` or `bicubic`, with antialiasing.
    """

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    margin: float | None = None
    interpolation: str | None = None

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation for images of `channels` channels; None where they come from the data.

        Grey images get the mean over the colours, colour images the grey value three times.

        Example:
            >>> Preprocessing(mean=(0.25, 0.5, 0.75), std=(0.5, 0.5, 0.5)).statistics(1)
            ((0.5,), (0.5,))
        """
        if self.mean is None or self.std is None:
            return None
        return _with_channels(self.mean, channels), _with_channels(self.std, channels)


def _with_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def scaled(images: Tensor, wanted: Preprocessing) -> Tensor:
    """Square images in memory (N, C, H, W) at the size that is wanted, by default their own.

    Example:
        >>> import torch
        >>> scaled(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), Preprocessing(16, margin=1.25)).shape
        torch.Size([5, 1, 16, 16])
    """
    size = wanted.image_size or images.shape[-1]
    side = max(size, round(size * (wanted.margin or 1.0)))
    if side == size == images.shape[-1]:
        return images  # and torchvision is not imported

    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    if side != images.shape[-1]:
        images = resize(images, [side, side], InterpolationMode(wanted.interpolation or "bilinear"))
    start = (side - size) // 2  # as for images in files, where torchvision's centre may be a pixel further
    return images if side == size else images[:, :, start : start + size, start : start + size].contiguous()
