"""Splits by the names of files: which split a file belongs to does not depend on the other files.

Adding or removing files moves no other file, so an image that was trained on never becomes a test image.
"""

import hashlib
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from drkd.data.problems import NAMED
from drkd.utils.errors import InputError

TEST_FRACTION = 0.2
"""Of the images, drawn one by one by a hash of the path, where the folder has neither a test nor a validation split."""


class Named(Protocol):
    """A split whose images have names."""

    @property
    def names(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...
    def select(self, index: Tensor, /) -> Self: ...


NamedT = TypeVar("NamedT", bound=Named)


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


def divided_by_name(own: Mapping[str, NamedT], validation: float, seed: int) -> dict[str, NamedT]:
    """Training, validation and test splits from those that a folder has, image by image.

    Args:
        own: what the folder has: `train`, and perhaps `val` and `test`.
        validation: fraction held out for validation where the folder has no split for it; 0 for none.
        seed: of the validation split.

    Raises:
        InputError: if too few images are there for a test split.
    """
    splits = dict(own)
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
    if "test" not in splits:
        rest, taken = draw_by_name(splits["train"].names, TEST_FRACTION, "test")
        if not len(rest) or not len(taken):
            raise InputError(
                f"{len(splits['train'])} images are too few to be divided: {TEST_FRACTION:.0%} of them are drawn for "
                f"testing by a hash of each name, which takes {len(taken)} here; add images, or give a test split"
            )
        splits["train"], splits["test"] = splits["train"].select(rest), splits["train"].select(taken)
    if validation == 0:
        splits["val"] = splits["train"].select(torch.arange(0))
    elif "val" not in splits:
        rest, taken = draw_by_name(splits["train"].names, validation, f"validation {seed}")
        if not len(taken) or not len(rest):
            warn_without_validation(seed, validation, len(splits["train"]))
            rest, taken = torch.arange(len(splits["train"])), torch.arange(0)
        splits["train"], splits["val"] = splits["train"].select(rest), splits["train"].select(taken)
    return {name: splits[name] for name in ("train", "val", "test")}


def limited_by_name(split: NamedT, most: int, draw: str, what: str) -> NamedT:
    """The `most` images of a split with the lowest hash, in their order; `what` names the split in the message.

    Raises:
        InputError: if there are fewer.
    """
    if most > len(split):
        raise InputError(f"the limit of {most} {what} images exceeds the {len(split)} there are; lower it")
    by_hash = sorted(range(len(split)), key=lambda row: fraction_of(split.names[row], draw))
    return split.select(torch.tensor(sorted(by_hash[:most])))
