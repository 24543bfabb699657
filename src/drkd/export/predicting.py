"""The classes of images, by a trained network or a file exported from it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from drkd.data.decoding import decode
from drkd.data.files import IMAGE_SUFFIXES, files_below, is_image
from drkd.data.images import in_threads
from drkd.data.problems import BadImageError, OnProblem, Problem, refuse
from drkd.export.runtimes import NetworkSession, Session, is_exported, open_session
from drkd.tasks import get_task
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_count
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError

BATCH = 64
"""Images per call of the network."""

Progress = Callable[[int, int], None]
"""Takes the number of images done, and of all."""


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


def predict_files(
    source: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    top: int | None = None,
    probabilities: bool = False,
    batch_size: int = BATCH,
    device: str = "auto",
    allow_code: bool = False,
    on_problem: OnProblem = refuse,
    progress: Progress | None = None,
) -> Iterator[Prediction]:
    """The classes of images, one after the other; threads decode the next images while the network runs.

    Memory holds two batches, however many images there are.

    Args:
        source: a run directory, its model file, or a file of `drkd export`, which runs in its own runtime.
        images: an image, or a folder that stands for all images below it; or several of them.
        top: give so many predictions for each image, the most probable class first (default: the most probable class;
            of several labels at once, those of a probability of 0.5 or more).
        probabilities: give every prediction the probabilities of all classes.
        batch_size: images per call of the network.
        device: of a run's network; exported files run on the processor.
        allow_code: see `open_session`.
        on_problem: takes in the images that cannot be read, which get no prediction; by default they are an error.
        progress: called before the first batch and after each, with the number of images done, and of all.

    Returns:
        An iterator over the predictions, in the order of the images.

    Raises:
        InputError: at once for a missing file, a folder without images and arguments that do not fit; for an unreadable
            image when its turn comes, unless `on_problem` takes it in.

    Example:
        >>> from drkd.config import TrainConfig, resolve
        >>> from drkd.runs.training import train
        >>> from PIL import Image
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     options = {"method": "cross_entropy", "model": "mlp", "epochs": 1, "limit_train": 100}
        ...     _ = train(*resolve(TrainConfig, options), Path(folder) / "run")
        ...     Image.new("L", (8, 8)).save(f"{folder}/black.png")
        ...     found = list(predict_files(f"{folder}/run", f"{folder}/black.png", top=3))
        >>> len(found), found[0].probability >= found[1].probability
        (3, True)
    """
    check_arguments(predict_files, locals())
    check_count("batch_size", batch_size)
    if top is not None:
        check_count("top", top)
    path = Path(source)
    if is_exported(path):
        if device not in ("auto", "cpu"):
            raise InputError(f"an exported file runs on the processor, got --device {device}; leave it out")
        session: Session = open_session(path, allow_code=allow_code)
    else:
        session = NetworkSession(path, device=str(choose_device(device)))
    given = [images] if isinstance(images, str | Path) else images
    files = [file for each in given for file in images_in(Path(each), on_problem)]
    named = _Answers(session, top, probabilities)
    return _predictions(named, files, batch_size, on_problem, progress or (lambda *_: None))


def images_in(path: Path, on_problem: OnProblem = refuse) -> list[Path]:
    """The images below a folder, by the rules of a data set's; or the one image that `path` is.

    Raises:
        InputError: if there is none.
    """
    if path.is_dir():
        found = [file for file in files_below(path, on_problem) if is_image(file)]
        if not found:
            raise InputError(f"the folder {path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return found
    if not path.exists() and not path.is_symlink():
        raise InputError(f"there is no image {path}")
    return [path]


@dataclass(frozen=True)
class _Answers:
    """What a network says of pixels, as `predict_files` was asked for it."""

    session: Session
    top: int | None
    with_all: bool

    def of(self, files: Sequence[Path], pixels: NDArray[np.uint8]) -> Iterator[Prediction]:
        """Predictions for images (B, C, H, W)."""
        info = self.session.info
        task = get_task(info.task)
        table = task.probabilities(torch.from_numpy(self.session(pixels)), info.temperature)
        if self.top is None:
            named = task.name_classes(table, info.classes)
        else:
            highest, order = table.sort(dim=1, descending=True, stable=True)
            shown = zip(order[:, : self.top].tolist(), highest[:, : self.top].tolist(), strict=True)
            named = [[(info.classes[k], p) for k, p in zip(*row, strict=True)] for row in shown]
        for file, found, row in zip(files, named, table, strict=True):
            every = dict(zip(info.classes, row.tolist(), strict=True)) if self.with_all else None
            for label, probability in found:
                yield Prediction(str(file), label, probability, every)


def _predictions(
    answers: _Answers, files: Sequence[Path], batch_size: int, on_problem: OnProblem, progress: Progress
) -> Iterator[Prediction]:
    info, done = answers.session.info, 0

    def decoded(file: Path) -> NDArray[np.uint8] | Problem:
        try:
            return decode(file, info.image_size, info.channels, info.margin, interpolation=info.interpolation)
        except BadImageError as bad:
            return bad.problem

    progress(done, len(files))
    with closing(in_threads(decoded, files, ahead=2 * batch_size)) as outcomes:
        while batch := list(islice(outcomes, batch_size)):
            good: list[tuple[Path, NDArray[np.uint8]]] = []
            for file, outcome in zip(files[done : done + len(batch)], batch, strict=True):
                if isinstance(outcome, Problem):
                    on_problem(outcome)
                else:
                    good.append((file, outcome))
            if good:
                yield from answers.of([file for file, _ in good], np.stack([pixels for _, pixels in good]))
            done += len(batch)
            progress(done, len(files))
