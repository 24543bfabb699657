"""A trained network at work: measured on a data set, or asked about pictures."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from drkd.config import TrainConfig, resolve
from drkd.data import Data, load_data
from drkd.data.images import decode_all
from drkd.data.listing import PICTURES
from drkd.edge.runtimes import NetworkSession, Session, is_exported, open_session
from drkd.errors import InputError
from drkd.making import choose_device
from drkd.models.loading import load_model, statistics
from drkd.run import measured

if TYPE_CHECKING:
    from drkd.detection.splits import DetectionData


BATCH = 256


def evaluate_run(place: Path, *, data: str | None, split: str, device: str = "auto") -> dict[str, Any]:
    """Metrics of the network in `place` on a split of `data`, by default the very data of its run.

    Raises:
        InputError: if the data's classes are not the network's, or no data is known.
    """
    model, about = load_model(place)
    loaded = data_of(place, about, data)
    values = measured(model.to(choose_device(device)), loaded, split)
    return {"data": loaded.name, "split": split, "samples": len(getattr(loaded, split)), **values}


def data_of(place: Path, about: dict[str, Any], data: str | None = None) -> "Data | DetectionData":
    """The data of the run in `place`, or other data, split and limited as the run's and normalised for its network.

    Args:
        place: a run directory, or its model file.
        about: what the model file says of itself.
        data: a data set or folder in place of the run's.

    Raises:
        InputError: if the data's classes are not the network's, or no data is known.
    """
    record = (place if place.is_dir() else place.parent) / "config.yaml"
    wanted: dict[str, Any] = {"image_size": about["image_size"] if data else None}
    if record.is_file():
        config, _ = resolve(TrainConfig, {}, record)
        same = data is None or data == config.data
        of_data = ("validation", "limit_train", "limit_test", "label_noise", "image_size", "skip_bad_images")
        keys = ("seed", *of_data) if same else ("seed",)
        wanted |= {key: getattr(config, key) for key in keys}
        data = data or config.data
    if data is None:
        raise InputError(f"{place} does not say which data it was trained on; give --data")
    loaded: Data | DetectionData
    if about.get("task") == "detection":
        from drkd.detection.data import load_detection

        loaded = load_detection(data, **{key: value for key, value in wanted.items() if key != "label_noise"})
    else:
        loaded = load_data(data, **wanted)
    for what, has, needs in (
        ("classes", list(loaded.classes), about["classes"]),
        ("colour channels", loaded.channels, about["channels"]),
    ):
        if has != needs:
            raise InputError(f"{data} has other {what} than the network in {place}: {has} instead of {needs}")
    if isinstance(loaded, Data):
        mean, std = statistics(about, place)
        loaded = replace(loaded, mean=mean, std=std)
    return loaded


def predict_files(place: Path, images: list[Path], *, device: str = "auto") -> list[dict[str, Any]]:
    """The most probable class of each picture, `{"file", "label", "probability"}`; folders stand for their pictures.

    Args:
        place: a run directory, its model file, or a file of `drkd export`, which runs in its own runtime.
        images: pictures, or folders of them.
        device: of a run's network; exported files run on the processor.

    Raises:
        InputError: for a missing or unreadable picture.
    """
    if is_exported(place):
        if device not in ("auto", "cpu"):
            raise InputError(f"an exported file runs on the processor, got --device {device}; leave it out")
        session: Session = open_session(place)
    else:
        session = NetworkSession(place, device=choose_device(device))
    files = [file for path in images for file in _pictures(path)]
    rows = []
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        pixels = decode_all(part, session.about["image_size"], session.about["channels"])
        probs = torch.softmax(torch.from_numpy(session(pixels.numpy())), dim=1)
        for file, probability, label in zip(part, *(t.tolist() for t in probs.max(dim=1)), strict=True):
            rows.append({"file": str(file), "label": session.about["classes"][label], "probability": probability})
    return rows


def _pictures(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES)
        if not found:
            raise InputError(f"the folder {path} holds no pictures ({', '.join(sorted(PICTURES))})")
        return found
    if not path.is_file():
        raise InputError(f"there is no picture {path}")
    return [path]
