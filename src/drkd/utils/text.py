"""Text of other people, made safe to print; numbers and times in words."""

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


def counted(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "training"), counted(1200, "epoch")
        ('1 training', '1,200 epochs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time that nobody knows exactly, in words.

    Example:
        >>> duration(0.2), duration(44), duration(700), duration(9000), duration(1e6)
        ('1 second', '44 seconds', '12 minutes', '2.5 hours', '11.6 days')
    """
    if seconds < 90:
        return counted(max(1, round(seconds)), "second")
    if seconds < 90 * 60:
        return counted(round(seconds / 60), "minute")
    hours = seconds / 3600
    number, noun = (hours, "hours") if hours < 48 else (hours / 24, "days")
    return f"{number:.1f} {noun}".replace(".0 ", " ")


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) not in UNSAFE or letter in JOINERS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
