"""Text of other people, made safe to print."""

import re
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


def printable_lines(text: object) -> str:
    """`printable`, but for line feeds and tabs of drkd's own."""
    return re.sub(r"[^\n\t]+", lambda line: printable(line.group()), str(text))


def spreadsheet_cell(text: str) -> str:
    """`text` as a cell that a spreadsheet takes for text: a quotation mark in front of what it would compute.

    Example:
        >>> spreadsheet_cell("=cmd|' /C calc'!A0"), spreadsheet_cell("cat")
        ("'=cmd|' /C calc'!A0", 'cat')
    """
    shown = printable(text)
    return f"'{shown}" if text.lstrip()[:1] in ("=", "+", "-", "@") or text[:1] in ("\t", "\r") else shown


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) not in UNSAFE or letter in JOINERS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
