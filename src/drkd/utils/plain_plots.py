"""Plots that show names of other people as they are."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from drkd.utils.text import printable

P = ParamSpec("P")
R = TypeVar("R")


def plain_text(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw without TeX, which `$` in a name would begin, and without a word on letters that the font lacks."""

    @wraps(draw)
    def plain(*arguments: P.args, **options: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return draw(*arguments, **options)

    return plain


def shorten(name: str, most: int = 40) -> str:
    """A name that has room in a plot.

    Example:
        >>> shorten("n" * 300, most=5)
        'nnnn…'
    """
    text = printable(name)
    return text if len(text) <= most else f"{text[: most - 1]}…"
