"""Predictions of a deployed segmenter, as rows of `drkd predict`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drkd.tasks.answers import Asked, FoundMask, ReadImage, refuse_own_folder, refuse_same_names
from drkd.tasks.segmentation.masks import original_mask
from drkd.tasks.segmentation.overlay import draw_mask, mask_path, write_mask
from drkd.utils.errors import InputError


def check_masks_asked(asked: Asked, files: Sequence[Path]) -> None:
    """Refuse folders that do not fit `files`.

    Raises:
        InputError: for one that an image comes from, one for both, or files that could not be told apart.
    """
    draw, masks = asked.boxes.draw, asked.boxes.masks
    if draw is not None:
        refuse_same_names("--draw", files, lambda file: file.name)
        refuse_own_folder("--draw", draw, files)
    if masks is not None:
        refuse_same_names("--masks", files, lambda file: mask_path(file, masks).name)
        refuse_own_folder("--masks", masks, files)
    if draw is not None and masks is not None and draw.resolve() == masks.resolve():
        raise InputError(f"--draw and --masks would both write {draw}/NAME.png; give two folders")


def find_masks(
    masks: NDArray[np.uint8], images: Sequence[ReadImage], classes: Sequence[str], asked: Asked
) -> Iterator[FoundMask]:
    """The classes of every image in its own size, from those (B, S, S) of padded squares; drawn and written as asked.

    Example:
        >>> image = ReadImage(Path("a.png"), np.zeros((3, 2, 2), np.uint8), (4, 2))
        >>> (found,) = find_masks(np.array([[[0, 1], [9, 9]]], np.uint8), [image], ["ground", "disc"], Asked())
        >>> found.mask.tolist(), found.fractions
        ([[0, 0, 1, 1], [0, 0, 1, 1]], {'ground': 0.5, 'disc': 0.5})
    """
    for mask, image in zip(masks, images, strict=True):
        found = FoundMask(str(image.file), tuple(classes), original_mask(mask, image.size))
        if asked.boxes.masks is not None:
            write_mask(found.mask, mask_path(image.file, asked.boxes.masks))
        if asked.boxes.draw is not None:
            draw_mask(image.file, found.mask, classes, asked.boxes.draw)
        yield found
