"""Augmentations as `--augment` names them: parts joined by `+`, in any order.

    cifar                              an augmentation of the papers, see `AUGMENTATIONS`
    imagenet+trivial+erasing:0.25      the same, and more
    flip+resized_crop:0.35+jitter:0.2  without one of those names

Each part is a word, some with numbers after a colon.
"""

import difflib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from drkd.data.augment import AUGMENTATIONS, Augmentation
from drkd.data.operations import BINS
from drkd.utils.errors import InputError

PARTS = "flip, resized_crop[:AREA], trivial, randaugment[:N,M], jitter[:B,C,S,H] and erasing[:P]"
"""What can be added, for messages."""

Changes = dict[str, Any]
"""Fields of `Augmentation`."""


def parse_augmentation(text: str) -> Augmentation:
    """The augmentation that `text` names.

    Args:
        text: one name of `AUGMENTATIONS`, parts, or both, joined by `+`. The parts are `flip`; `resized_crop[:AREA]`,
            from this fraction of the image on (0.08); `trivial`; `randaugment[:N,M]`, N operations of magnitude M from
            0 to 30 (2, 9); `jitter[:B,C,S,H]`, changes of brightness, contrast, saturation and hue, or one number for
            the first three (0.4); `erasing[:P]`, with this probability (0.5).

    Raises:
        InputError: for an unknown part, numbers out of range, or two parts that do the same.

    Example:
        >>> both = parse_augmentation("cifar+trivial")
        >>> both.pad, both.policy
        (4, 'trivial')
    """
    changes: Changes = {}
    for part in text.split("+"):
        made = _changes(part.strip(), text)
        if twice := sorted(set(changes) & set(made)):
            raise InputError(f"--augment {text}: two parts set {twice[0]}; leave one of them out")
        changes |= made
    if "none" in [part.strip() for part in text.split("+")] and changes:
        raise InputError(f"--augment {text}: none cannot be joined with others; leave it out")
    return replace(Augmentation(), **changes)


def _changes(part: str, text: str) -> Changes:
    word, colon, after = part.partition(":")
    if word in AUGMENTATIONS and not colon:
        named = AUGMENTATIONS[word]
        default = Augmentation()
        values = {each.name: getattr(named, each.name) for each in fields(named)}
        return {name: value for name, value in values.items() if value != getattr(default, name)}
    if word not in _MAKERS or (colon and word in ("flip", "trivial")):
        known = [*AUGMENTATIONS, *_MAKERS]
        close = [] if word in known else difflib.get_close_matches(word.lower().replace("-", "_"), known, n=1)
        more = (
            f"did you mean {close[0]}?" if close else f"choose from {', '.join(AUGMENTATIONS)}, and add {PARTS} with +"
        )
        what = f"{word} takes no numbers, got {part!r}" if word in known else f"unknown augmentation {part!r}"
        raise InputError(f"{what}; {more}" if word not in known else what)
    try:
        numbers = [float(number) for number in after.split(",")] if colon else []
        return _MAKERS[word](numbers)
    except ValueError as reason:
        raise InputError(f"--augment {text}: expected {reason}, got {part!r}") from reason


def _resized_crop(numbers: list[float]) -> Changes:
    smallest = numbers or [Augmentation.smallest_area]
    if len(smallest) != 1 or not 0 < smallest[0] <= 1:
        raise ValueError("resized_crop:AREA with a fraction above 0, such as resized_crop:0.35")
    return {"resized_crop": True, "smallest_area": smallest[0]}


def _randaugment(numbers: list[float]) -> Changes:
    given = numbers or [float(Augmentation.operations), float(Augmentation.magnitude)]
    whole = all(number == int(number) for number in given if abs(number) < BINS)
    if len(given) != 2 or not whole or not (1 <= given[0] <= 14 and 0 <= given[1] < BINS):
        raise ValueError(
            f"randaugment:N,M with 1 to 14 operations of magnitude 0 to {BINS - 1}, such as randaugment:2,9"
        )
    return {"policy": "randaugment", "operations": int(given[0]), "magnitude": int(given[1])}


def _jitter(numbers: list[float]) -> Changes:
    given = numbers or [0.4]
    four = (*given * 3, 0.0) if len(given) == 1 else tuple(given)
    if len(four) != 4 or not all(0 <= most <= 1 for most in four) or four[3] > 0.5 or not any(four):
        raise ValueError("jitter:X or jitter:B,C,S,H with numbers from 0 to 1, the hue's up to 0.5, such as jitter:0.4")
    return {"jitter": four}


def _erasing(numbers: list[float]) -> Changes:
    given = numbers or [0.5]
    if len(given) != 1 or not 0 < given[0] <= 1:
        raise ValueError("erasing:P with a probability above 0, such as erasing:0.25")
    return {"erasing": given[0]}


_MAKERS: dict[str, Callable[[list[float]], Changes]] = {
    "flip": lambda _: {"flip": True},
    "resized_crop": _resized_crop,
    "trivial": lambda _: {"policy": "trivial"},
    "randaugment": _randaugment,
    "jitter": _jitter,
    "erasing": _erasing,
}
