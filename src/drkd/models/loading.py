"""Networks from the files that drkd writes: a model file says itself how to build the network and how to feed it."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from drkd.models import create_model
from drkd.utils.errors import InputError
from drkd.utils.files import read_tensors
from drkd.utils.hashing import content_hash

KINDS = {"model": str, "classes": list, "image_size": int, "channels": int}
"""What a network is built from."""


def model_file(source: str | Path) -> Path:
    """The model file of a run directory, or the file itself."""
    path = Path(source)
    return path / "model.safetensors" if path.is_dir() else path


def load_model(source: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run directory or of its `model.safetensors`, and what the file says about it.

    Args:
        source: a run directory, or a file that drkd wrote.

    Returns:
        The network in eval mode, and `{"model", "classes", "image_size", "channels", "mean", "std"}`; of a detector
        also `"task": "detection"`.

    Raises:
        InputError: if there is no such file, or it was not written by drkd.
    """
    if (Path(source) / "trainings").is_dir():
        raise InputError(f"{source} is a comparison; give one of its trainings: {source}/trainings/PANEL/seed-S/METHOD")
    path = model_file(source)
    tensors = read_tensors(path)
    about = _about(path)
    written = about.pop("sha256", None)
    if written is None:
        raise InputError(f"{path} has no checksum: it was written by an older drkd; train again")
    if content_hash(tensors, about) != written:
        raise InputError(f"{path} is damaged: its content is not what was written; copy it anew, or train again")
    sizes = {"num_classes": len(about["classes"]), "image_size": about["image_size"]}
    if about.get("task") == "detection":
        from drkd.tasks.detection.networks import create_detector

        model = create_detector(about["model"], **sizes)
    else:
        model = create_model(about["model"], **sizes, channels=about["channels"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as reason:
        raise InputError(f"{path} does not fit its own network {about['model']}: {reason}") from reason
    return model.eval(), about


def _about(path: Path) -> dict[str, Any]:
    """What a model file says of itself."""
    about: Any = {}
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            try:
                about = json.loads((file.metadata() or {}).get("drkd", "{}"))
            except ValueError as reason:
                raise InputError(f"{path} is damaged where it says which network it is: {reason}") from reason
    if not isinstance(about, dict) or "model" not in about:
        raise InputError(f"{path} does not say which network it is; give a run directory or its model.safetensors")
    for name, kind in KINDS.items():
        if not isinstance(about.get(name), kind):
            raise InputError(
                f"{path} needs to say its {name} as {kind.__name__}, got {about.get(name)!r}; give a file of drkd's own"
            )
    return about


def load_classifier(source: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """`load_model` where only a network that names whole images will do.

    Raises:
        InputError: as `load_model`, and for a detector.
    """
    model, about = load_model(source)
    if about.get("task") == "detection":
        raise InputError(
            f"{source} is a detector, and this is for networks that name whole images; use drkd.tasks.detection.detect in "
            "Python"
        )
    return model, about


def statistics(about: dict[str, Any], source: str | Path) -> list[tuple[float, ...]]:
    """Mean and deviation per channel, as the network's file in `source` says.

    Raises:
        InputError: if it does not say them.
    """
    found = []
    for name in ("mean", "std"):
        value = about.get(name)
        if not isinstance(value, list) or [type(part) for part in value] != [float] * about["channels"]:
            raise InputError(
                f"{source} needs to say the {name} of its {about['channels']} channels as fractions, got {value!r}; "
                "give a file of drkd's own"
            )
        found.append(tuple(value))
    return found
