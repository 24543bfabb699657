"""Predictions of a trained network, or of a file exported from it: classes, boxes or masks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from drkd.data.files import IMAGE_SUFFIXES, files_below, is_image
from drkd.data.images import in_threads
from drkd.data.problems import BadImageError, OnProblem, Problem, refuse
from drkd.export.runtimes import NetworkSession, Session, is_exported, open_session
from drkd.tasks import get_task
from drkd.tasks.answers import Asked, BoxOptions, ReadImage, Row
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_count
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError

Progress = Callable[[int, int], None]
"""Takes the number of images done, and of all."""


def predict_files(
    source: str | Path | Session,
    images: str | Path | Sequence[str | Path],
    *,
    top: int | None = None,
    probabilities: bool = False,
    boxes: BoxOptions | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    allow_code: bool = False,
    on_problem: OnProblem = refuse,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """The classes of images, the boxes on them, or the classes of their pixels, one after the other.

    Threads decode the next images while the network runs. Memory holds two batches, however many images there are.

    Args:
        source: a run directory, its model file, or a file of `drkd export`, which runs in its own runtime; or what
            `open_source` gave.
        images: an image, or a folder that stands for all images below it; or several of them.
        top: predictions to give for each image, the most probable class first (default: the most probable class;
            of several labels at once, those of a probability of 0.5 or more).
        probabilities: give every prediction the probabilities of all classes.
        boxes: of a detector: which ones, and whether to draw them; of a segmenter: what to draw and write.
        batch_size: images per call of the network (default: 64, of segmenters 8); detectors take one.
        device: of a run's network; exported files run on the processor.
        allow_code: see `open_session`.
        on_problem: takes in the images that cannot be read, which get no prediction; by default they are an error.
        progress: called before the first batch and after each, with the number of images done, and of all.

    Returns:
        An iterator over the predictions, in the order of the images: a `Prediction` or more for each, or of detectors
        a `FoundBox` for each box, or of segmenters a `FoundMask` for each image.

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
    for name, count in (("batch_size", batch_size), ("top", top)):
        if count is not None:
            check_count(name, count)
    session = source if isinstance(source, Session) else open_source(source, device=device, allow_code=allow_code)
    given = [images] if isinstance(images, str | Path) else images
    files = [file for each in given for file in images_in(Path(each), on_problem)]
    task, asked = get_task(session.info.task), Asked(top, probabilities, boxes or BoxOptions())
    task.check_asked(asked, files)
    wanted = batch_size or task.batch
    most = min(wanted, task.most_images or wanted)
    return _rows(session, files, asked, most, on_problem, progress or (lambda *_: None))


def open_source(source: str | Path, *, device: str = "auto", allow_code: bool = False) -> Session:
    """A run's network or an exported file, to ask `predict_files` about images several times.

    Raises:
        InputError: if it cannot be loaded, or for a device that exported files do not run on.
    """
    path = Path(source)
    if not is_exported(path):
        return NetworkSession(path, device=str(choose_device(device)))
    if device not in ("auto", "cpu"):
        raise InputError(f"an exported file runs on the processor, got --device {device}; leave it out")
    return open_session(path, allow_code=allow_code)


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


def _rows(
    session: Session,
    files: Sequence[Path],
    asked: Asked,
    batch_size: int,
    on_problem: OnProblem,
    progress: Progress,
) -> Iterator[Row]:
    task, done = get_task(session.info.task), 0

    def decoded(file: Path) -> ReadImage | Problem:
        try:
            return task.read_image(file, session.info)
        except BadImageError as bad:
            return bad.problem

    progress(done, len(files))
    with closing(in_threads(decoded, files, ahead=2 * batch_size)) as outcomes:
        while batch := list(islice(outcomes, batch_size)):
            good = [outcome for outcome in batch if isinstance(outcome, ReadImage)]
            for outcome in batch:
                if isinstance(outcome, Problem):
                    on_problem(outcome)
            if good:
                outputs = session.run(np.stack([image.pixels for image in good]))
                yield from task.answer(outputs, good, session.info, asked)
            done += len(batch)
            progress(done, len(files))
