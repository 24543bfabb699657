"""The images of a classifier's surest mistakes, kept beside what was trained: later the data may be elsewhere."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from drkd.data.datasets import Split
from drkd.data.thumbnails import thumbnail
from drkd.training.mistakes import Mistake
from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_checked_json

FILE = "mistakes.json"


@dataclass(frozen=True)
class GalleryImage:
    """An image of a gallery.

    Attributes:
        image: a data URI.
        file: its path below the data's folder; empty where it is no file.
        index: its position in the split.
        label, predicted, probability: what is written about it.
    """

    image: str
    file: str
    index: int
    label: str
    predicted: str
    probability: float


def write_gallery(mistakes: Sequence[Mistake], split: Split, out: Path) -> None:
    """Write `mistakes.json` into the run directory `out`; nothing where no mistake was made, or inputs are no images.

    Args:
        mistakes: the surest first.
        split: whose samples they are.
        out: a run directory.
    """
    inputs = split.inputs
    if not mistakes or len(inputs.shape) != 4 or inputs.shape[1] not in (1, 3):
        return
    images = inputs[torch.tensor([each["index"] for each in mistakes])]
    if images.dtype != torch.uint8:
        return
    names = split.names or [""] * len(split)
    gallery = [
        GalleryImage(thumbnail(image), str(names[each["index"]]), **each)
        for image, each in zip(images, mistakes, strict=True)
    ]
    write_checked_json(out / FILE, {"mistakes": [asdict(each) for each in gallery]})


def read_gallery(run: Path) -> list[GalleryImage]:
    """What `write_gallery` wrote; a file that is damaged is warned of and left out."""
    if not (run / FILE).is_file():
        return []
    try:
        found = [GalleryImage(**each) for each in read_json(run / FILE, needs=["mistakes"])["mistakes"]]
        if not all(each.image.startswith("data:image/") for each in found):
            raise InputError("one of its images is a link")
        return found
    except (InputError, AttributeError, TypeError) as reason:
        warnings.warn(f"{run / FILE} is damaged and left out: {reason}", stacklevel=2)
        return []
