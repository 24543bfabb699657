"""What can be wrong with a data set: one kind of finding for those who train and for those who look everything over.

Readers give what they find to an `OnProblem`. A training's refuses the first problem that stops it; `drkd check`
collects all.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drkd.utils.errors import InputError
from drkd.utils.text import counted, printable

Severity = Literal["error", "warning", "note"]

NAMED = 3
"""The most bad images named in one message; the others are counted."""


@dataclass(frozen=True)
class Problem:
    """One finding about a data set.

    Attributes:
        severity: `error` stops a training, `warning` makes its figures doubtful, `note` says how drkd reads it.
        location: file, folder or row.
        reason: what is the matter, as a sentence that begins with its verb: place and reason together are a message.
        kind: what findings are counted by.

    Example:
        >>> str(Problem("error", "cat/1.png", "cannot be read as an image: the file is empty", "unreadable image"))
        'cat/1.png cannot be read as an image: the file is empty'
    """

    severity: Severity
    location: str
    reason: str
    kind: str

    def __str__(self) -> str:
        return f"{self.location} {self.reason}"


OnProblem = Callable[[Problem], None]


class BadImageError(InputError):
    """An image that cannot be read; `problem` says which and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(describe_problems([problem]))
        self.problem = problem


def refuse(problem: Problem) -> None:
    """What a training does with a finding: it does not start, it warns, or it starts.

    Raises:
        InputError: for an error.
    """
    if problem.severity == "error":
        raise InputError(str(problem))
    if problem.severity == "warning":
        warnings.warn(str(problem), stacklevel=3)


def describe_problems(bad: Sequence[Problem], advice: str = "remove or replace {}") -> str:
    """Bad images in one line: the first few by name, the rest by number, then `advice` with "it" or "them"."""
    if len(bad) == 1:
        return f"{bad[0]}; {advice.replace('{}', 'it')}"
    return f"{len(bad)} images cannot be read: {named(bad)}; {advice.replace('{}', 'them')}"


def named(bad: Sequence[Problem]) -> str:
    """The first few with their reasons, and how many more there are."""
    rest = f", and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return ", ".join(f"{problem.location} ({problem.reason.split(': ', 1)[-1]})" for problem in bad[:NAMED]) + rest


def describe_errors(problems: Iterable[Problem], most: int = 20) -> str:
    """Every error with its file, in one message; of very many the first ones."""
    errors = [found for found in problems if found.severity == "error"]
    rest = f"; and {len(errors) - most} more, `drkd check` lists them" if len(errors) > most else ""
    count = "" if len(errors) == 1 else f"{len(errors)} problems: "
    return f"{count}{'; '.join(map(str, errors[:most]))}{rest}"


def problem_at(location: Path, reason: str, kind: str, severity: Severity = "error") -> Problem:
    """A finding about a file or folder."""
    return Problem(severity, shown(location), reason, kind)


def refuse_twice(root: Path, splits: Mapping[str, Sequence[str]], on_problem: OnProblem) -> None:
    """Report images that a split lists twice, and those in two splits: what was trained on would be measured.

    Args:
        root: the folder.
        splits: the names of the images of each.
        on_problem: what is wrong goes there.

    Example:
        >>> refuse_twice(Path("cells"), {"train": ["1.png", "2.png"], "val": ["2.png"]}, lambda found: print(found))
        cells lists 1 image in two splits: 2.png; keep one entry of each
    """
    first: dict[str, str] = {}
    shared = {name for split, names in splits.items() for name in names if first.setdefault(name, split) != split}
    again = {name for names in splits.values() for name, times in Counter(names).items() if times > 1}
    for found, what in ((again, "twice in a split"), (shared, "in two splits")):
        if found:
            reason = f"lists {counted(len(found), 'image')} {what}: {some(sorted(found))}; keep one entry of each"
            on_problem(problem_at(root, reason, "duplicate"))


def some(names: Sequence[object]) -> str:
    """The first few names, with dots where there are more."""
    return ", ".join(map(printable, names[:NAMED])) + (", ..." if len(names) > NAMED else "")


def shown(path: Path | str) -> str:
    """A path as text that can be printed and written: bytes that are no UTF-8 and control characters become escapes.

    Example:
        >>> shown(Path("caf\\udce9.png"))
        'caf\\\\xe9.png'
    """
    return printable("".join(f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in str(path)))
