"""Colours of classes: Pascal VOC's, which all differ."""

import numpy as np
from numpy.typing import NDArray


def voc_colours() -> NDArray[np.uint8]:
    """The colour of each of 256 values, (256, 3): 0 is black, 255 nearly white.

    The bits of a value go to red, green and blue in turns, the lowest ones to the highest bits of a colour.

    Example:
        >>> voc_colours()[[0, 1, 2, 15, 255]].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    values = np.arange(256)[:, None]
    channels = np.arange(3)
    colours = sum(((values >> (3 * place + channels)) & 1) << (7 - place) for place in range(3))
    return np.asarray(colours, dtype=np.uint8)


COLOURS = voc_colours()
