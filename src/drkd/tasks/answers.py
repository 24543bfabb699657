"""What is asked of a network about images, and what it answers: the rows of `drkd predict`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from drkd.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from drkd.tasks.kinds import Described


@dataclass(frozen=True)
class BoxOptions:
    """How what is found on images is chosen and shown: boxes by a detector, masks by a segmenter.

    Attributes:
        threshold: smallest score of a box that is given (default: 0.25, and for `coco` everything the network finds).
        nms: of boxes of one class that overlap by more than this IoU only the most certain one is given. The network's
            own suppression comes before it, so that only smaller values have an effect.
        draw: folder to draw the images with their boxes into, or with their classes in colours.
        masks: folder for the masks of a segmenter, a PNG per image with a class as value of each pixel.
        coco: give what COCO's evaluation wants, see `drkd.tasks.detection.answering.coco_result`.
    """

    threshold: float | None = None
    nms: float | None = None
    draw: Path | None = None
    masks: Path | None = None
    coco: bool = False


@dataclass(frozen=True)
class Asked:
    """What `predict_files` was asked for; a task refuses what has no effect there.

    Attributes:
        top: how many of the most probable classes.
        probabilities: those of all classes too.
        boxes: of a detector, and what a segmenter writes.
    """

    top: int | None = None
    probabilities: bool = False
    boxes: BoxOptions = field(default_factory=BoxOptions)


@dataclass(frozen=True)
class ReadImage:
    """An image as a network takes it.

    Attributes:
        file: where it is from.
        pixels: uint8 (C, H, W).
        size: width and height of the upright image in the file.
    """

    file: Path
    pixels: "NDArray[np.uint8]"
    size: tuple[int, int]


@dataclass(frozen=True)
class Prediction:
    """A class of an image, with its calibrated probability.

    Attributes:
        file: the image.
        label: its most probable class, or with `top` one of the most probable ones; of several labels at once, one that
            is more probable than not, or an empty name where none is.
        probability: of the label, from 0 to 1.
        probabilities: of every class by name, where they were asked for.
    """

    file: str
    label: str
    probability: float
    probabilities: dict[str, float] | None = None

    def rows(self) -> list[dict[str, str]]:
        """As a row of a table."""
        every = {name: f"{value:.6f}" for name, value in (self.probabilities or {}).items()}
        return [{"file": self.file, "label": self.label, "probability": f"{self.probability:.6f}", **every}]


@dataclass(frozen=True)
class FoundBox:
    """An object that a detector found on an image.

    Attributes:
        file: the image.
        label: its class.
        score: how certain it is, from 0 to 1.
        x1, y1, x2, y2: its left, top, right and bottom, in pixels of the upright image in the file.
    """

    file: str
    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float

    def rows(self) -> list[dict[str, str]]:
        """As a row of a table."""
        sides = {name: f"{getattr(self, name):.2f}" for name in ("x1", "y1", "x2", "y2")}
        return [{"file": self.file, "label": self.label, "score": f"{self.score:.6f}", **sides}]


@dataclass(frozen=True, eq=False)
class FoundMask:
    """The class that a segmenter gives each pixel of an image.

    Attributes:
        file: the image.
        classes: their names.
        mask: uint8 (H, W), in the size of the upright image in the file; values are positions in `classes`.
    """

    file: str
    classes: tuple[str, ...]
    mask: "NDArray[np.uint8]"

    @property
    def counts(self) -> list[int]:
        """The number of pixels of each class."""
        import numpy as np

        counts: list[int] = np.bincount(self.mask.ravel(), minlength=len(self.classes)).tolist()
        return counts

    @property
    def fractions(self) -> dict[str, float]:
        """The fraction of the pixels that each class has.

        Example:
            >>> import numpy as np
            >>> FoundMask("a.png", ("ground", "disc"), np.array([[0, 1], [0, 0]], np.uint8)).fractions
            {'ground': 0.75, 'disc': 0.25}
        """
        return {name: count / self.mask.size for name, count in zip(self.classes, self.counts, strict=True)}

    def rows(self) -> list[dict[str, str]]:
        """As rows of a table, one per class."""
        return [
            {"file": self.file, "label": name, "fraction": f"{count / self.mask.size:.6f}", "pixels": str(count)}
            for name, count in zip(self.classes, self.counts, strict=True)
        ]


Row = Prediction | FoundBox | FoundMask


def refuse_same_names(what: str, files: Sequence[Path], name: Callable[[Path], str]) -> None:
    """Refuse files that could not be told apart by their `name`.

    Raises:
        InputError: that says `what` goes by it.
    """
    seen: dict[str, Path] = {}
    for file in files:
        first = seen.setdefault(name(file), file)
        if first is not file:
            advice = "rename one" if first.parent == file.parent else "give one folder at a time"
            raise InputError(f"{what} uses file names, and {first} and {file} would both be {name(file)}; {advice}")


def refuse_own_folder(option: str, folder: Path, files: Sequence[Path]) -> None:
    """Refuse to write into a folder that an image comes from.

    Raises:
        InputError: that names the first such image.
    """
    for file in files:
        if file.parent.resolve() == folder.resolve():
            raise InputError(f"{option} would replace {file}; give another folder")


class NamesImages(Protocol):
    """A task whose networks give a logit for each class of a whole image."""

    def probabilities(self, logits: "Tensor", temperature: float = 1.0) -> "Tensor": ...
    def name_classes(self, probabilities: "Tensor", classes: Sequence[str]) -> list[list[tuple[str, float]]]: ...


def name_images(
    task: NamesImages, logits: "NDArray[Any]", images: Sequence[ReadImage], info: "Described", asked: Asked
) -> Iterator[Prediction]:
    """The classes of images, from their logits (B, K)."""
    import torch

    table = task.probabilities(torch.from_numpy(logits), info.temperature)
    if asked.top is None:
        named = task.name_classes(table, info.classes)
    else:
        highest, order = table.sort(dim=1, descending=True, stable=True)
        shown = zip(order[:, : asked.top].tolist(), highest[:, : asked.top].tolist(), strict=True)
        named = [[(info.classes[k], p) for k, p in zip(*row, strict=True)] for row in shown]
    for image, found, row in zip(images, named, table, strict=True):
        every = dict(zip(info.classes, row.tolist(), strict=True)) if asked.probabilities else None
        for label, probability in found:
            yield Prediction(str(image.file), label, probability, every)
