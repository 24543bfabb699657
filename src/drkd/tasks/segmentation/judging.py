"""What a whole look at images and masks shows that their names do not."""

from collections.abc import Sequence

from drkd.data.problems import BadImageError, OnProblem, Problem, problem_at, shown
from drkd.tasks.segmentation.masks import IGNORE, Pair, look_at

Looked = tuple[int, ...] | Problem
"""The values in a mask, or why the image cannot be used."""


def values_of(pair: Pair) -> Looked:
    """Decode an image and its mask, and keep nothing but the values."""
    try:
        return look_at(pair, 1)[2]
    except BadImageError as bad:
        return bad.problem


def judge_masks(
    pairs: Sequence[Pair], looked: Sequence[Looked], classes: tuple[str, ...], on_problem: OnProblem
) -> list[int]:
    """The rows of a split that can be used; the others are reported, and so are masks that teach little.

    Args:
        pairs: of the split.
        looked: what a look at each of them gave.
        classes: names, in the order of the values.
        on_problem: what is wrong goes there.
    """
    rows = []
    for row, (pair, found) in enumerate(zip(pairs, looked, strict=True)):
        if isinstance(found, Problem):
            on_problem(found)
            continue
        beyond = [value for value in found if len(classes) <= value < IGNORE]
        if beyond:
            known = f"the {len(classes)} classes have 0 to {len(classes) - 1}, ignored pixels {IGNORE}"
            reason = f"has the value {beyond[0]} in the mask of {shown(pair.image.name)}; {known}"
            on_problem(problem_at(pair.location, f"{reason}; fix it, or name the class", "value out of range"))
            continue
        rows.append(row)
        if found == (IGNORE,):
            reason = f"has no pixel that counts in the mask of {shown(pair.image.name)}: all of them are ignored"
            on_problem(problem_at(pair.location, reason, "empty mask", "warning"))
        elif found in ((0,), (0, IGNORE)):
            reason = f"has nothing but class 0 ({classes[0]}) in the mask of {shown(pair.image.name)}"
            on_problem(problem_at(pair.location, reason, "empty mask", "warning"))
    if rows and all(looked[row] == (IGNORE,) for row in rows):
        reason = f"has {len(rows)} masks of a split, and all pixels are ignored: there is nothing to measure; fix them"
        on_problem(problem_at(pairs[rows[0]].location.parent, reason, "empty split"))
    return rows


def name_classes(named: tuple[str, ...], looked: Sequence[Looked]) -> tuple[str, ...]:
    """The classes: as they are named, or else the numbers up to the highest in the training masks.

    Example:
        >>> name_classes((), [(0, 2), (0, 255)])
        ('0', '1', '2')
    """
    if named:
        return named
    highest = max((v for found in looked if not isinstance(found, Problem) for v in found if v != IGNORE), default=-1)
    return tuple(str(value) for value in range(highest + 1))
