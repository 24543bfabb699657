"""The classes of images, by a trained network or a file exported from it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from drkd.data.images import decode_all
from drkd.data.listing import IMAGE_SUFFIXES
from drkd.export.runtimes import NetworkSession, Session, is_exported, open_session
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError

BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """The most probable class of an image."""

    file: str
    label: str
    probability: float


def predict_files(
    source: Path, images: list[Path], *, device: str = "auto", allow_code: bool = False
) -> list[Prediction]:
    """The most probable class of each image; folders stand for their images.

    Args:
        source: a run directory, its model file, or a file of `drkd export`, which runs in its own runtime.
        images: images, or folders of them.
        device: of a run's network; exported files run on the processor.
        allow_code: see `open_session`.

    Raises:
        InputError: for a missing or unreadable image.
    """
    if is_exported(source):
        if device not in ("auto", "cpu"):
            raise InputError(f"an exported file runs on the processor, got --device {device}; leave it out")
        session: Session = open_session(source, allow_code=allow_code)
    else:
        session = NetworkSession(source, device=str(choose_device(device)))
    files = [file for path in images for file in _images(path)]
    found: list[Prediction] = []
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        pixels = decode_all(batch, session.info.image_size, session.info.channels)
        probs = torch.softmax(torch.from_numpy(session(pixels.numpy())), dim=1)
        for file, probability, label in zip(batch, *(t.tolist() for t in probs.max(dim=1)), strict=True):
            found.append(Prediction(str(file), session.info.classes[label], probability))
    return found


def _images(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InputError(f"the folder {path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return found
    if not path.is_file():
        raise InputError(f"there is no image {path}")
    return [path]
