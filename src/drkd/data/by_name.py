"""Splits by the names of files: which split a file belongs to does not depend on the other files.

Adding or removing files moves no other file, so an image that was trained on never becomes a test image.
"""

import hashlib
import unicodedata
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from drkd.data.problems import NAMED
from drkd.utils.errors import InputError


def same_name(name: str) -> str:
    """A name as every system writes it: Unicode's composed form, which macOS takes apart.

    Example:
        >>> same_name("cafe\\u0301.png") == "caf\\u00e9.png"
        True
    """
    return unicodedata.normalize("NFC", name)


def fraction_of(name: str, draw: str) -> float:
    """A number from 0 to below 1 that looks random but is fixed by the name of a file and the name of the draw.

    Example:
        >>> round(fraction_of("cafe\\u0301.png", "test"), 6) == round(fraction_of("caf\\u00e9.png", "test"), 6)
        True
    """
    digest = hashlib.sha256(f"{draw}/{same_name(name)}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def draw_by_name(names: Sequence[str], fraction: float, draw: str) -> tuple[Tensor, Tensor]:
    """Positions that remain and positions that are taken, about `fraction` of them, both sorted.

    Example:
        >>> rest, taken = draw_by_name([f"{number}.png" for number in range(10)], 0.2, "test")
        >>> fewer, still = draw_by_name([f"{number}.png" for number in range(9)], 0.2, "test")
        >>> len(rest) + len(taken), [row for row in taken.tolist() if row < 9] == still.tolist()
        (10, True)
    """
    is_taken = torch.tensor([fraction_of(name, draw) < fraction for name in names], dtype=torch.bool)
    return (~is_taken).nonzero().flatten(), is_taken.nonzero().flatten()


def draw_test(names: Sequence[str], fraction: float, labels: Tensor, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    """`draw_by_name` for the test split.

    Raises:
        InputError: if there is no image for testing, or none of a class for training.
    """
    rest, taken = draw_by_name(names, fraction, "test")
    how = f"The test split is {fraction:.0%} of the images, drawn by a hash of each file's name"
    advice = "add images, or make folders train/CLASS and test/CLASS (--validation does not change it)"
    if not len(taken):
        raise InputError(f"none of the {len(labels)} images is drawn for testing. {how}: {advice}")
    there = set(labels.tolist())
    untrained, untested = (sorted(there - set(labels[rows].tolist())) for rows in (rest, taken))
    if untrained:
        raise InputError(f"all images of {_some(untrained, classes)} are drawn for testing. {how}: {advice}")
    if untested:
        warnings.warn(f"the test split has no image of {_some(untested, classes)}. {how}: {advice}", stacklevel=4)
    return rest, taken


def draw_validation(
    names: Sequence[str], fraction: float, labels: Tensor, classes: Sequence[str], *, seed: int
) -> tuple[Tensor, Tensor]:
    """`draw_by_name` for the validation split of a seed; a class that would lose all its training images keeps them.

    The class is a part of the name here: where images are numbered in every class, few numbers would decide.
    """
    full = [f"{classes[label]}/{name}" for name, label in zip(names, labels.tolist(), strict=True)]
    rest, taken = draw_by_name(full, fraction, f"validation {seed}")
    lost = set(labels.tolist()) - set(labels[rest].tolist())
    if lost:
        stays = torch.isin(labels[taken], torch.tensor(sorted(lost)))
        rest, taken = torch.cat([rest, taken[stays]]).sort().values, taken[~stays]
    if not len(taken):
        warn_without_validation(seed, fraction, len(names))
    return rest, taken


def warn_without_validation(seed: int, fraction: float, images: int) -> None:
    """Say that the draw of a seed leaves no image to choose the epoch on."""
    warnings.warn(
        f"no image is drawn for validation with seed {seed} (--validation {fraction:g} of {images} images), so the "
        "last epoch is taken; add images, or make a validation split",
        stacklevel=5,
    )


def _some(labels: Sequence[int], classes: Sequence[str]) -> str:
    return ", ".join(classes[label] for label in labels[:NAMED]) + (", ..." if len(labels) > NAMED else "")
