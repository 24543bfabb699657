"""Everything that is wrong with a folder of images with several labels, at once."""

from pathlib import Path

from drkd.data.checking import Findings, Progress, decode_each
from drkd.data.problems import Problem
from drkd.tasks.multilabel.reading import list_labels


def check_labels(name: str | Path, *, progress: Progress | None = None) -> Findings:
    """Look a folder over as `drkd.data.checking.check_data` does; every image is decoded, none is kept.

    Args:
        name: the folder.
        progress: called with the number of images looked at, and of all.

    Raises:
        InputError: if there is no such folder, or no layout that is known.
    """
    problems: list[Problem] = []
    found = list_labels(Path(name), problems.append)
    sources = [source for part in found.splits.values() for source in part.sources]
    counts = {split: len(part) for split, part in found.splits.items()}
    return Findings(str(name), counts, found.classes, decode_each(sources, problems, progress))
