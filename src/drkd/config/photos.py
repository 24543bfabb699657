"""Defaults for pretrained starts, and for folders of photos; how they were chosen is in docs/defaults.md."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NETWORK = "timm:efficientnet_lite0"
REPOSITORY = "timm/efficientnet_lite0.ra_in1k"
"""The network that photos are learned with where its weights are on this machine: small, and made for int8."""

PHOTO = 96
"""Images whose shorter side has fewer pixels are no photos."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
LOOKED_AT = 5

FINE_TUNING: dict[str, Any] = {
    "epochs": 15,
    "batch_size": 32,
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup_epochs": 1.0,
    "no_norm_decay": True,
    "augment": "imagenet",
}
"""For networks that start from trained weights."""

FROZEN: dict[str, Any] = {
    "epochs": 60,
    "batch_size": 128,
    "optimizer": "adamw",
    "lr": 0.003,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "augment": "none",
}
"""For a classifier alone, on features of a frozen backbone."""

SCRATCH: dict[str, Any] = {"batch_size": 32, "schedule": "cosine", "warmup_epochs": 1.0}
"""For photos that the default network learns from random weights: more steps, and a smooth end."""


def photo_defaults(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Defaults of a start from trained weights or for photos, and what they are called; nothing for others.

    Args:
        values: the options that were given.
    """
    trained = values.get("weights") is not None or values.get("pretrained")
    chosen: dict[str, Any] = {}
    names_network = "model" in values or values.get("networks") is not None
    if not trained and not names_network and holds_photos(Path(str(values["data"]))):
        if not weights_are_here():
            return "default for photos", SCRATCH
        chosen = {"model": NETWORK, "pretrained": True}
    elif not trained:
        return "default", {}
    called = "default for photos" if chosen else "default for pretrained weights"
    return called, chosen | (FROZEN if values.get("freeze") == "backbone" else FINE_TUNING)


def describe_start(data: str, model: str, origins: Mapping[str, str]) -> str:
    """What a training on photos starts from where nobody said it, and what would be better; empty elsewhere.

    Args:
        data: the option.
        model: the option.
        origins: where each option came from, see `resolve`.
    """
    if origins["model"] == "default for photos":
        return f"Photos: {model} starts from pretrained weights on this machine."
    chosen = {origins[name] for name in ("model", "weights", "pretrained") if name in origins}
    if chosen == {"default"} and origins.get("task", "default") == "default" and holds_photos(Path(data)):
        return (
            f"Photos: {model} starts from random weights; pretrained ones learn photos far better: --model {NETWORK} "
            "--pretrained (fetched with --download)"
        )
    return ""


def weights_are_here() -> bool:
    """Whether the weights of `NETWORK` are in the cache of the Hugging Face Hub on this machine."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(REPOSITORY, "model.safetensors"), str)


def holds_photos(folder: Path) -> bool:
    """Whether the first images below a folder are larger than icons are; they are opened, not decoded."""
    from PIL import Image

    sizes = []
    for file, _ in zip(_images(folder), range(LOOKED_AT), strict=False):
        try:
            with Image.open(file) as image:
                sizes.append(min(image.size))
        except Exception:  # whoever reads the data says what is wrong with it
            return False
    return bool(sizes) and min(sizes) >= PHOTO


def _images(folder: Path) -> Iterator[Path]:
    for location, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(location, name) for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES)
