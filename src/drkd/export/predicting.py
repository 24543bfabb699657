"""The classes of images, by a trained network or a file exported from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from drkd.data.files import IMAGE_SUFFIXES, files_below, is_image
from drkd.data.images import decode_all
from drkd.data.problems import OnProblem, Problem, refuse
from drkd.export.runtimes import NetworkSession, Session, is_exported, open_session
from drkd.tasks import get_task
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError

BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """The most probable class of an image; of several labels at once, one that is more probable than not."""

    file: str
    label: str
    probability: float


def predict_files(
    source: Path,
    images: Sequence[Path],
    *,
    device: str = "auto",
    allow_code: bool = False,
    on_problem: OnProblem = refuse,
) -> Iterator[Prediction]:
    """The most probable class of each image, batch by batch; folders stand for their images.

    Args:
        source: a run directory, its model file, or a file of `drkd export`, which runs in its own runtime.
        images: images, or folders of them.
        device: of a run's network; exported files run on the processor.
        allow_code: see `open_session`.
        on_problem: takes in the images that cannot be read, which get no prediction; by default they are an error.

    Raises:
        InputError: at once for a missing file and for a folder without images; for an unreadable image when its turn
            comes, unless `on_problem` takes it in.
    """
    if is_exported(source):
        if device not in ("auto", "cpu"):
            raise InputError(f"an exported file runs on the processor, got --device {device}; leave it out")
        session: Session = open_session(source, allow_code=allow_code)
    else:
        session = NetworkSession(source, device=str(choose_device(device)))
    files = [file for path in images for file in images_in(path, on_problem)]
    return (
        prediction
        for start in range(0, len(files), BATCH)
        for prediction in _predict(session, files[start : start + BATCH], on_problem)
    )


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


def _predict(session: Session, files: Sequence[Path], on_problem: OnProblem) -> Iterator[Prediction]:
    failed: dict[int, Problem] = {}
    info = session.info
    pixels = decode_all(
        files, info.image_size, info.channels, margin=info.margin, interpolation=info.interpolation, failed=failed
    )
    for problem in failed.values():
        on_problem(problem)
    rows = [row for row in range(len(files)) if row not in failed]
    if not rows:
        return
    task = get_task(info.task)
    probabilities = task.probabilities(torch.from_numpy(session(pixels[rows].numpy())), info.temperature)
    for row, found in zip(rows, task.name_classes(probabilities, info.classes), strict=True):
        for label, probability in found:
            yield Prediction(str(files[row]), label, probability)
