"""Everything that is wrong with a folder of images with masks, at once."""

from pathlib import Path

from drkd.data.checking import ORDER, Findings, Progress
from drkd.data.images import in_threads
from drkd.data.problems import Problem
from drkd.data.shapes import CLASSES, COUNTS, is_shapes
from drkd.tasks.segmentation.judging import Looked, judge_masks, name_classes, values_of
from drkd.tasks.segmentation.reading import list_pairs


def check_masks(name: str | Path, *, progress: Progress | None = None) -> Findings:
    """Look a folder over as `drkd.data.checking.check_data` does; every image and mask is decoded, none is kept.

    Args:
        name: the folder.
        progress: called with the number of images looked at, and of all.

    Raises:
        InputError: if there is no such folder, or no layout that is known.
    """
    if is_shapes(name):
        return Findings(str(name), COUNTS, CLASSES, ())
    problems: list[Problem] = []
    listed = list_pairs(Path(name), problems.append)
    total = sum(map(len, listed.splits.values()))
    looked: dict[str, list[Looked]] = {split: [] for split in listed.splits}
    where = [split for split, part in listed.splits.items() for _ in part]
    pairs = [pair for part in listed.splits.values() for pair in part]
    for done, (split, found) in enumerate(zip(where, in_threads(values_of, pairs), strict=True), start=1):
        looked[split].append(found)
        if progress is not None:
            progress(done, total)
    classes = name_classes(listed.classes, looked["train"])
    for split, part in listed.splits.items():
        judge_masks(part, looked[split], classes, problems.append)
    problems.sort(key=lambda problem: ORDER.index(problem.severity))
    counts = {split: len(part) + listed.skipped.get(split, 0) for split, part in listed.splits.items()}
    return Findings(str(name), counts, classes, tuple(problems))
