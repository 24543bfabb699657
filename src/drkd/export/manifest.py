"""What an exported file records about itself. Loads no torch, unlike its source, `drkd.models.files.ModelInfo`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drkd.tasks import TASKS, Task, get_task
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from drkd.models.files import ModelInfo
    from drkd.utils.files import JsonObject


@dataclass(frozen=True)
class Manifest:
    """What is written into an exported file.

    Attributes:
        model, classes, image_size, channels, mean, std, margin, interpolation, task, temperature: see
            `drkd.models.files.ModelInfo`; what the file answers are logits, not yet divided by the temperature.
        sha256: of the network that was exported.
        quantize: None or `int8`.
        input: what the file takes, see `drkd.tasks.Task.input`; it contains the rest, scaling and normalisation.
    """

    model: str
    classes: tuple[str, ...]
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    quantize: str | None
    input: str = Task.input
    margin: float = 1.0
    task: str = "classification"
    interpolation: str = "bilinear"
    temperature: float = 1.0

    @classmethod
    def of(cls, info: "ModelInfo", *, sha256: str, quantize: str | None) -> "Manifest":
        """What is written into an export of the network that `info` describes.

        Example:
            >>> from drkd.models.files import ModelInfo
            >>> info = ModelInfo("mlp", ("a", "b"), image_size=8, channels=1, mean=(0.5,), std=(0.5,))
            >>> Manifest.of(info, sha256="0" * 64, quantize=None).input
            'uint8 (B, C, H, W), 0 to 255'
        """
        own = (info.model, info.classes, info.image_size, info.channels, info.mean, info.std)
        made = cls(*own, sha256=sha256, quantize=quantize, input=get_task(info.task).input)
        how = {name: getattr(info, name) for name in ("margin", "interpolation", "task", "temperature")}
        return replace(made, **how)

    def to_json(self) -> "JsonObject":
        """As it is kept in a file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, content: "JsonObject", path: Path) -> "Manifest":
        """What `to_json` gave.

        Raises:
            InputError: if the file `path` was not written by drkd, or by one whose files take something else.
        """
        missing = [name for name in KEYS if name not in content and name not in SINCE]
        if missing:
            raise InputError(
                f"{path} does not describe its input and output (no {', '.join(missing)}); give a file of `drkd export`"
            )
        task = TASKS.get(content.get("task", cls.task))
        if task is None or content["input"] != task.input:
            fed = "no such task" if task is None else task.input
            raise InputError(f"{path} takes {content['input']}, but this drkd feeds {fed}; export it again")
        lists = {name: tuple(content[name]) for name in ("classes", "mean", "std")}
        return cls(**{**{name: content[name] for name in KEYS if name in content}, **lists})


KEYS, SINCE = tuple(field.name for field in fields(Manifest)), ("interpolation", "task", "temperature")
"""What every file says; what those of older drkds do not say, where it was bilinear, classification and 1."""


def as_text(manifest: Manifest) -> str:
    """One JSON text, for formats that hold one."""
    return json.dumps(manifest.to_json())


def as_properties(manifest: Manifest) -> dict[str, str]:
    """Each value as JSON text, for formats that hold texts by name.

    Example:
        >>> as_properties(Manifest("mlp", ("cat", "dog"), 32, 1, (0.5,), (0.5,), "", None))["classes"]
        '["cat", "dog"]'
    """
    return {name: json.dumps(value) for name, value in manifest.to_json().items()}


def from_text(text: str, path: Path) -> Manifest:
    """What `as_text` gave; a file without a manifest has an empty text.

    Raises:
        InputError: if `path` was not written by drkd, or is damaged where it says what it is.
    """
    return Manifest.from_json(_loaded(text or "{}", path), path)


def from_properties(properties: Mapping[str, str], path: Path) -> Manifest:
    """What `as_properties` gave.

    Raises:
        InputError: as for `from_text`.
    """
    return Manifest.from_json({name: _loaded(properties[name], path) for name in KEYS if name in properties}, path)


def _loaded(text: str, path: Path) -> "JsonObject":
    try:
        content: JsonObject = json.loads(text)
    except json.JSONDecodeError as reason:
        raise InputError(f"{path} has a damaged description: {reason}; export it again") from reason
    return content
