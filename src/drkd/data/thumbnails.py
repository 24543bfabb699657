"""Images of a split, small enough for a page."""

import base64
import io

from PIL import Image
from torch import Tensor

SIDE = 96
"""Longest side in pixels; smaller images stay as they are."""

FEW_PIXELS = 32
"""Images up to this side are kept exactly: there every pixel is seen."""


def thumbnail(image: Tensor) -> str:
    """An image as the `src` of a page: a data URI with a JPEG, or with a PNG where there are few pixels.

    Args:
        image: uint8 (C, H, W), grey or colour.

    Example:
        >>> import torch
        >>> thumbnail(torch.zeros(1, 8, 8, dtype=torch.uint8))[:22]
        'data:image/png;base64,'
    """
    pixels = image.cpu().numpy()
    small = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    small.thumbnail((SIDE, SIDE))
    kind = "png" if max(small.size) <= FEW_PIXELS else "jpeg"
    file = io.BytesIO()
    small.save(file, kind, **({} if kind == "png" else {"quality": 80}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
