"""A trained network at work: measured on a data set, or asked about images."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from drkd.config import TrainConfig, resolve
from drkd.data import Data, load_data
from drkd.data.images import decode_all
from drkd.data.listing import IMAGE_SUFFIXES
from drkd.export.runtimes import NetworkSession, Session, is_exported, open_session
from drkd.models.loading import load_model, statistics
from drkd.runs.building import choose_device
from drkd.runs.training import measured
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.tasks.detection.splits import DetectionData


BATCH = 256


def evaluate_run(source: Path, *, data: str | None, split: str, device: str = "auto") -> dict[str, Any]:
    """Metrics of the network in `source` on a split of `data`, by default the very data of its run.

    Raises:
        InputError: if the data's classes are not the network's, or no data is known.
    """
    model, about = load_model(source)
    loaded = data_of(source, about, data)
    values = measured(model.to(choose_device(device)), loaded, split)
    return {"data": loaded.name, "split": split, "samples": len(getattr(loaded, split)), **values}


def data_of(source: Path, about: dict[str, Any], data: str | None = None) -> "Data | DetectionData":
    """The data of the run in `source`, or other data, split and limited as the run's and normalised for its network.

    Args:
        source: a run directory, or its model file.
        about: what the model file says of itself.
        data: a data set or folder in place of the run's.

    Raises:
        InputError: if the data's classes are not the network's, or no data is known.
    """
    record = (source if source.is_dir() else source.parent) / "config.yaml"
    wanted: dict[str, Any] = {"image_size": about["image_size"] if data else None}
    if record.is_file():
        config, _ = resolve(TrainConfig, {}, record)
        same = data is None or data == config.data
        of_data = ("validation", "limit_train", "limit_test", "label_noise", "image_size", "skip_bad_images")
        keys = ("seed", *of_data) if same else ("seed",)
        wanted |= {key: getattr(config, key) for key in keys}
        data = data or config.data
    if data is None:
        raise InputError(f"{source} does not say which data it was trained on; give --data")
    loaded: Data | DetectionData
    if about.get("task") == "detection":
        from drkd.tasks.detection.data import load_detection

        loaded = load_detection(data, **{key: value for key, value in wanted.items() if key != "label_noise"})
    else:
        loaded = load_data(data, **wanted)
    for what, has, needs in (
        ("classes", list(loaded.classes), about["classes"]),
        ("colour channels", loaded.channels, about["channels"]),
    ):
        if has != needs:
            raise InputError(f"{data} has other {what} than the network in {source}: {has} instead of {needs}")
    if isinstance(loaded, Data):
        mean, std = statistics(about, source)
        loaded = replace(loaded, mean=mean, std=std)
    return loaded


def predict_files(source: Path, images: list[Path], *, device: str = "auto") -> list[dict[str, Any]]:
    """The most probable class of each image, `{"file", "label", "probability"}`; folders stand for their images.

    Args:
        source: a run directory, its model file, or a file of `drkd export`, which runs in its own runtime.
        images: images, or folders of them.
        device: of a run's network; exported files run on the processor.

    Raises:
        InputError: for a missing or unreadable image.
    """
    if is_exported(source):
        if device not in ("auto", "cpu"):
            raise InputError(f"an exported file runs on the processor, got --device {device}; leave it out")
        session: Session = open_session(source)
    else:
        session = NetworkSession(source, device=choose_device(device))
    files = [file for path in images for file in _images(path)]
    rows = []
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        pixels = decode_all(part, session.about["image_size"], session.about["channels"])
        probs = torch.softmax(torch.from_numpy(session(pixels.numpy())), dim=1)
        for file, probability, label in zip(part, *(t.tolist() for t in probs.max(dim=1)), strict=True):
            rows.append({"file": str(file), "label": session.about["classes"][label], "probability": probability})
    return rows


def _images(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InputError(f"the folder {path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return found
    if not path.is_file():
        raise InputError(f"there is no image {path}")
    return [path]
