"""Kinds of options that are more than a number or a word."""

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field


def _split(value: Any) -> Any:
    """`a,b,c` as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int | float) else value


def _once(values: list[Any]) -> list[Any]:
    """Each value once, in the order of first appearance."""
    return list(dict.fromkeys(values))


Names = Annotated[list[str], BeforeValidator(_split), AfterValidator(_once), Field(min_length=1)]
Trackers = Annotated[list[Literal["tensorboard", "mlflow", "wandb"]], BeforeValidator(_split), AfterValidator(_once)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Stages = Annotated[
    list[Literal["lr", "average", "augment", "method"]],
    BeforeValidator(_split),
    AfterValidator(_once),
    Field(min_length=1),
]
"""What a search may search."""
Epochs = Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(_split), AfterValidator(_once)]
Fractions = Annotated[list[Fraction], BeforeValidator(_split), AfterValidator(_once), Field(min_length=1)]


def _weights(value: Any) -> Any:
    """`balanced`, or `1,2,5` as a list of numbers."""
    if value == "balanced":
        return value
    try:
        return [float(part) for part in _split(value)]
    except (TypeError, ValueError):
        raise ValueError("balanced, or one number per class such as 1,1,5") from None


Weights = Annotated[list[Annotated[float, Field(ge=0)]] | Literal["balanced"], BeforeValidator(_weights)]


def as_bytes(size: str) -> int:
    """A size such as 500MB as a number of bytes.

    Example:
        >>> as_bytes("1.5GB"), as_bytes("20 MB"), as_bytes("0")
        (1500000000, 20000000, 0)
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([KMGT]?)B?", size.strip().upper())
    if match is None:
        raise ValueError("a size such as 500MB or 2GB, or 0")
    return int(float(match[1]) * 1000.0 ** " KMGT".index(match[2] or " "))


def _size(value: Any) -> str:
    as_bytes(str(value))
    return str(value)


Size = Annotated[str, BeforeValidator(_size)]


def _part(value: Any) -> Any:
    if value == "backbone" or (re.fullmatch(r"[1-9]\d*", str(value)) and not isinstance(value, float)):
        return value if value == "backbone" else int(value)
    raise ValueError("backbone, or a number of blocks from 1 on")


Part = Annotated[Literal["backbone"] | int, BeforeValidator(_part)]
"""Which part of a network is meant: its backbone, or a number of blocks."""


def _whole(value: str) -> str:
    if "\0" in value:
        raise ValueError("should be text without a null character")
    return value


Text = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, PurePath | int) else value),
    AfterValidator(_whole),
]
"""Text, or what Python callers give in its place: a path, or a number of steps."""


def as_pairs(text: str) -> dict[str, str | int]:
    """Options of other programs by name; whole numbers as such.

    Example:
        >>> as_pairs("partition=gpu,timeout_min=90")
        {'partition': 'gpu', 'timeout_min': 90}
    """
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(re.fullmatch(r"\w+", name) and value for name, _, value in pairs):
        raise ValueError("NAME=VALUE with commas, such as partition=gpu,timeout_min=90")
    return {name: int(value) if re.fullmatch(r"\d{1,9}", value) else value for name, _, value in pairs}


def _pairs(value: str) -> str:
    as_pairs(value)
    return value


Pairs = Annotated[str, AfterValidator(_pairs)]
"""Options of another program, as `as_pairs` reads them."""


def as_average(text: str) -> tuple[Literal["ema", "swa"], float | None]:
    """Which average of the weights, with its number: a decay of `ema`, where `swa` begins; None where not given.

    Example:
        >>> as_average("ema"), as_average("ema:0.99"), as_average("swa:0.5")
        (('ema', None), ('ema', 0.99), ('swa', 0.5))
    """
    match = re.fullmatch(r"(ema|swa)(?::(\d+(?:\.\d*)?|\.\d+))?", text)
    kind, number = (match[1], match[2]) if match else ("", None)
    value = None if number is None else float(number)
    if kind == "ema" and (value is None or 0 < value <= 1):
        return "ema", value
    if kind == "swa" and (value is None or value < 1):
        return "swa", value
    raise ValueError("ema, ema:DECAY (above 0, at most 1), swa or swa:FROM (a fraction of the training, below 1)")


def _average(value: str) -> str:
    as_average(value)
    return value


Average = Annotated[str, AfterValidator(_average)]
"""How weights are averaged, as `as_average` reads it."""


def as_rectifier(text: str) -> tuple[str, float | None]:
    """Which rectifier, and the number of `bayes`; None where not given.

    Example:
        >>> as_rectifier("swap"), as_rectifier("bayes"), as_rectifier("bayes:0.1")
        (('swap', None), ('bayes', None), ('bayes', 0.1))
    """
    match = re.fullmatch(r"(swap|smooth|drop)|(bayes)(?::(\d+(?:\.\d*)?|\.\d+))?", text)
    number = float(match[3]) if match and match[3] else None
    if match is None or (number is not None and not 0 < number < 1):
        raise ValueError("swap, bayes, bayes:WRONG (between 0 and 1), smooth or drop")
    return match[1] or match[2], number


def _rectify(value: str) -> str:
    as_rectifier(value)
    return value


Rectify = Annotated[str, AfterValidator(_rectify)]
"""What corrects a teacher, as `as_rectifier` reads it."""


def _teach(value: str) -> str:
    """Refuse what says no positions."""
    if value in ("all", "foreground"):
        return value
    try:
        good = 0 < float(value) < 1
    except ValueError:
        good = False
    if not good:
        raise ValueError("should be all, foreground, or a score between 0 and 1 such as 0.05")
    return value


Teach = Annotated[str, BeforeValidator(str), AfterValidator(_teach)]
"""Which positions of a detector are taught."""


def as_fold(text: str) -> tuple[int, int, int, bool]:
    """A fold, how many there are, which draw of them, and whether they divide the training images alone.

    Example:
        >>> as_fold("2/5"), as_fold("0/3:1"), as_fold("1/2:train")
        ((2, 5, 0, False), (0, 3, 1, False), (1, 2, 0, True))
    """
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})(?::(?:(\d{1,4})|train))?", text)
    fold, folds, draw = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if folds < 2 or fold > folds:
        raise ValueError("a fold such as 2/5: the second of five, from 0/5, which holds out none, to 5/5")
    return fold, folds, draw, text.endswith("train")


def _fold(value: Any) -> str:
    as_fold(str(value))
    return str(value)


Fold = Annotated[str, BeforeValidator(_fold)]
"""A part of the training images, as `as_fold` reads it."""
