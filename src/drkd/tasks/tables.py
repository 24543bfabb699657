"""Metrics of classes as lines of text."""

from collections.abc import Mapping

from drkd.utils.text import printable

MOST_CLASSES = 30
"""Of more classes the worst are shown."""


def lines_by_class(rows: Mapping[str, Mapping[str, float]], count: str, columns: Mapping[str, str]) -> list[str]:
    """A table of classes: how many there are of each, and fractions in percent; of many classes, the worst.

    Args:
        rows: of each class by name.
        count: key and heading of the count.
        columns: headings of the fractions, by key; the last one says which classes are the worst.

    Example:
        >>> lines_by_class({"cat": {"images": 7, "ap": 0.5}}, "images", {"ap": "AP %"})
        ['class  images    AP %', 'cat         7   50.00']
    """
    last = list(columns)[-1]
    shown = sorted(rows, key=lambda name: rows[name][last])[:MOST_CLASSES] if len(rows) > MOST_CLASSES else rows
    if not shown:
        return []
    width = max(5, *(len(printable(name)) for name in shown))
    headings = {key: f"{heading:>6}" for key, heading in columns.items()}
    lines = [f"{'class':{width}}  {count}" + "".join(f"  {heading}" for heading in headings.values())]
    for name in shown:
        fractions = (f"  {100 * rows[name][key]:{len(heading)}.2f}" for key, heading in headings.items())
        lines.append(f"{printable(name):{width}}  {rows[name][count]:{len(count)}}" + "".join(fractions))
    more = len(rows) - len(shown)
    if more:
        better = columns[last].removesuffix(" %")
        lines.append(f"{more} classes with a higher {better} are not shown; --json and summary.json have all")
    return lines
