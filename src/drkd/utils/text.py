"""Text of other people, made safe to print."""

import unicodedata

UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that a terminal obeys or cannot show: controls, directions, surrogates, line separators."""

JOINERS = "\u200c\u200d"
"""Format characters that words of some languages need."""


def printable(text: object) -> str:
    r"""`text` in one line, with escapes for what would steer a terminal or cannot be encoded.

    Example:
        >>> print(printable("a\x1b[31m\nb caf\udce9 \u732b"))
        a\x1b[31m\nb caf\udce9 猫
    """
    return "".join(_escaped(letter) for letter in str(text))


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) not in UNSAFE or letter in JOINERS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
