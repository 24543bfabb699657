"""Arguments of other types than a public function says: refused by name, before anything trips over them."""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from drkd.utils.errors import InputError

IN_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Path: "a path",
    PathLike: "a path",
    type(None): "None",
    Mapping: "a dictionary",
    "Module": "a network",
    "Tensor": "a tensor",
}
"""How messages name a type, torch's by name, which is not loaded here; others are called by their own names."""

SEQUENCES = (list, tuple, Sequence, Collection, Iterable)


def check_arguments(function: Callable[..., Any], values: Mapping[str, object]) -> None:
    """Refuse arguments that are not of the types that `function` is annotated with.

    Numbers of numpy count as numbers, and a whole number as a number; a text is no sequence of texts. What an
    annotation leaves open is not checked, and neither are the values.

    Args:
        function: whose annotations say what is expected.
        values: the arguments by name; others are ignored, so a function can give its `locals()`.

    Raises:
        InputError: for the first argument of another type.

    Example:
        >>> def scaled(image: list[float], times: int | None = None) -> None: ...
        >>> check_arguments(scaled, {"image": [1, 2.5], "times": None})
        >>> check_arguments(scaled, {"image": [1], "times": "x"})
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: `scaled` needs times as a whole number or None, got str
    """
    for name, annotation in _annotations(function).items():
        if name in values and not _fits(values[name], annotation):
            caller = function.__qualname__.removesuffix(".__init__")
            wanted = " or ".join(dict.fromkeys(_in_words(annotation)))
            raise InputError(f"`{caller}` needs {name} as {wanted}, got {_described(values[name])}")


@cache
def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What parameters are annotated with, without the result and keywords of any name."""
    hints = typing.get_type_hints(function)
    named = [each.name for each in inspect.signature(function).parameters.values() if each.kind is not each.VAR_KEYWORD]
    return {name: hints[name] for name in named if name in hints}


def _fits(value: object, annotation: Any) -> bool:
    """Whether a value is of an annotated type, as far as the annotation says."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return any(isinstance(value, type(choice)) for choice in inner)
    if Callable in (origin, annotation):
        return callable(value)
    if origin in SEQUENCES:
        return _is_sequence(value, inner) and (origin in (list, tuple) or isinstance(value, origin))
    if annotation in (int, float):
        return isinstance(value, Integral if annotation is int else Real) and not isinstance(value, bool)
    wanted = origin or annotation
    return not isinstance(wanted, type) or getattr(wanted, "_is_protocol", False) or isinstance(value, wanted)


def _is_sequence(value: object, inner: tuple[Any, ...]) -> bool:
    """Whether it is several values of the right types; one that comes bit by bit is not looked into."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return False
    if not isinstance(value, Sequence):
        return True
    kinds = [inner[0]] * len(value) if len(inner) < 2 or inner[-1] is Ellipsis else [*inner]
    return len(kinds) == len(value) and all(map(_fits, value, kinds))


def _in_words(annotation: Any) -> list[str]:
    """What is expected, each kind once."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return [word for part in inner for word in _in_words(part)]
    if origin is Literal:
        return [repr(choice) for choice in inner]
    if Callable in (origin, annotation):
        return ["a function"]
    if origin in SEQUENCES:
        many = len(inner) < 2 or inner[-1] is Ellipsis
        return [f"a list of {' or '.join(_in_words(inner[0]))}" if many else f"a tuple of {len(inner)}"]
    kind = origin or annotation
    name = getattr(kind, "__name__", str(annotation))
    return [IN_WORDS.get(kind, IN_WORDS.get(name, name))]


def _described(value: object) -> str:
    """What came, by its type."""
    inner = ", ".join(type(each).__name__ for each in value[:3]) if isinstance(value, list | tuple) else ""
    return f"{type(value).__name__} of {inner}" if inner else type(value).__name__
