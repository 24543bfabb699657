"""What an exported file says of itself, in the file or beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drkd.utils.errors import InputError

INPUT = "uint8 (B, C, H, W), 0 to 255"
"""What every exported file takes; the rest, scaling and normalisation, is in it."""

KEYS = ("model", "classes", "image_size", "channels", "mean", "std", "sha256", "quantize", "input")
"""`model`, `image_size`, `channels`: as of the run. `classes`: names in the order of the logits. `mean`, `std`: per
channel, as fractions; they are applied inside. `sha256`: of the network that was exported. `quantize`: null or int8."""

Manifest = dict[str, Any]


def make_manifest(about: Mapping[str, Any], *, sha256: str, quantize: str | None) -> Manifest:
    """What is written into an export of a network whose file says `about`.

    Example:
        >>> about = dict(model="mlp", classes=["a", "b"], image_size=8, channels=1, mean=[0.5], std=[0.5])
        >>> make_manifest(about, sha256="0" * 64, quantize=None)["input"]
        'uint8 (B, C, H, W), 0 to 255'
    """
    own = {"sha256": sha256, "quantize": quantize, "input": INPUT}
    return {name: own[name] if name in own else about[name] for name in KEYS}


def as_properties(manifest: Manifest) -> dict[str, str]:
    """Each value as JSON text, for formats that hold texts by name.

    Example:
        >>> as_properties({"classes": ["cat", "dog"], "image_size": 32})
        {'classes': '["cat", "dog"]', 'image_size': '32'}
    """
    return {name: json.dumps(value) for name, value in manifest.items()}


def from_properties(properties: Mapping[str, str], path: Path) -> Manifest:
    """The manifest that `as_properties` made.

    Raises:
        InputError: if `path` was not written by drkd, or is damaged where it says what it is.
    """
    try:
        return _checked({name: json.loads(properties[name]) for name in KEYS if name in properties}, path)
    except json.JSONDecodeError as reason:
        raise _damaged(path, reason) from reason


def from_text(text: str, path: Path) -> Manifest:
    """The manifest of a format that holds it as one JSON text; empty if it holds none.

    Raises:
        InputError: as for `from_properties`.
    """
    try:
        return _checked(json.loads(text or "{}"), path)
    except json.JSONDecodeError as reason:
        raise _damaged(path, reason) from reason


def _checked(manifest: Manifest, path: Path) -> Manifest:
    missing = [name for name in KEYS if name not in manifest]
    if missing:
        raise InputError(
            f"{path} does not say what it takes and answers (no {', '.join(missing)}); give a file of `drkd export`"
        )
    if manifest["input"] != INPUT:
        raise InputError(f"{path} takes {manifest['input']}, this drkd feeds {INPUT}; export it anew")
    return manifest


def _damaged(path: Path, reason: json.JSONDecodeError) -> InputError:
    return InputError(f"{path} is damaged where it says what it is: {reason}; export it anew")


def record_of(path: Path) -> Path:
    """Where what is known of an exported file stands: beside it.

    Example:
        >>> record_of(Path("exports/model.onnx")).name
        'model.onnx.json'
    """
    return path.with_name(f"{path.name}.json")
