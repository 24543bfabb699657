"""Everything that is wrong with a folder of images with boxes, at once."""

from pathlib import Path

from drkd.data.checking import Findings, Progress, decode_each
from drkd.data.problems import Problem
from drkd.data.shapes import CLASSES, COUNTS, is_shapes
from drkd.tasks.detection.reading import read_annotations


def check_boxes(name: str | Path, *, progress: Progress | None = None) -> Findings:
    """Look a folder over as `drkd.data.checking.check_data` does; every image is decoded, none is kept.

    Args:
        name: the folder, in Pascal VOC or COCO layout.
        progress: called with the number of images looked at, and of all.

    Raises:
        InputError: if there is no such folder, or no layout that is known.
    """
    if is_shapes(name):
        return Findings(str(name), COUNTS, CLASSES[1:], ())
    problems: list[Problem] = []
    found = read_annotations(Path(name), problems.append)
    files = [one.image for part in found.splits.values() for one in part]
    counts = {split: len(part) + found.skipped[split] for split, part in found.splits.items()}
    return Findings(str(name), counts, found.classes, decode_each(files, problems, progress))
