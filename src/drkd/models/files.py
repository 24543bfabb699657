"""Model files: weights, and in the same file all that it takes to build the network and to feed it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from drkd.data.preprocessing import Preprocessing
from drkd.utils.errors import InputError
from drkd.utils.files import JsonObject, read_about, read_tensors, write_tensors

KINDS = {"model": str, "classes": list, "image_size": int, "channels": int}
"""What a network is built from, and what it is in the file."""
INTERPOLATIONS = ("bilinear", "bicubic")
"""How images may be scaled."""

UNSAID = {"task": "classification", "margin": 1.0, "interpolation": "bilinear", "temperature": 1.0}
"""What goes without saying in a file."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model file records about its network.

    Attributes:
        model: the network by name.
        classes: names in the order of the logits.
        image_size: side length of its images.
        channels: 1 for grey, 3 for colour.
        mean, std: per channel, as fractions of full brightness.
        task: what the network was trained for.
        margin: images are scaled until their shorter side is `margin * image_size` long, and cropped about the centre.
        interpolation: by which images are scaled, `bilinear` or `bicubic`, with antialiasing.
        temperature: divides the logits before the softmax; 1 if not calibrated.
    """

    model: str
    classes: tuple[str, ...]
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task: str = "classification"
    margin: float = 1.0
    interpolation: str = "bilinear"
    temperature: float = 1.0

    @property
    def preprocessing(self) -> Preprocessing:
        """How it wants its images."""
        return Preprocessing(self.image_size, self.mean, self.std, self.margin, self.interpolation)

    def to_json(self) -> JsonObject:
        """As it is kept in a file.

        Example:
            >>> ModelInfo("mlp", ("a", "b"), 8, 1, (0.5,), (0.25,)).to_json()["classes"]
            ['a', 'b']
        """
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {name: value for name, value in values.items() if value != UNSAID.get(name)}

    @classmethod
    def from_json(cls, content: JsonObject, path: Path) -> "ModelInfo":
        """What the file `path` says.

        Raises:
            InputError: if something is missing or of another type.
        """
        if "model" not in content:
            raise InputError(f"{path} does not say which network it is; give a run directory or its model.safetensors")
        for name, kind in KINDS.items():
            if not isinstance(content.get(name), kind):
                raise InputError(
                    f"{path} needs to say its {name} as {kind.__name__}, got {content.get(name)!r}; give a file that "
                    "drkd wrote"
                )
        for name in ("mean", "std"):
            value = content.get(name)
            if not isinstance(value, list) or [type(each) for each in value] != [float] * content["channels"]:
                raise InputError(
                    f"{path} needs to say the {name} of its {content['channels']} channels as fractions, got "
                    f"{value!r}; give a file that drkd wrote"
                )
        if content.get("interpolation", "bilinear") not in INTERPOLATIONS:
            raise InputError(
                f"{path} expects its images scaled by {content['interpolation']!r}, this drkd knows "
                f"{' and '.join(INTERPOLATIONS)}; update drkd"
            )
        temperature = content.get("temperature", 1.0)
        if not isinstance(temperature, float) or not 0 < temperature < math.inf:
            raise InputError(
                f"{path} must give its temperature as a positive number, got {temperature!r}; give a file that drkd "
                "wrote"
            )
        known: JsonObject = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        known["model"] = untagged(content["model"])  # the first drkd wrote tags of timm, which say nothing here
        known |= {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
        return cls(**known)


def untagged(model: str) -> str:
    """The architecture alone.

    Example:
        >>> untagged("timm:resnet18.a1_in1k"), untagged("resnet18")
        ('timm:resnet18', 'resnet18')
    """
    return model.partition(".")[0] if model.startswith("timm:") else model


def model_file(source: str | Path) -> Path:
    """The model file of a run directory, or the file itself."""
    path = Path(source)
    return path / "model.safetensors" if path.is_dir() else path


def refuse_comparison(source: str | Path) -> None:
    """Refuse a folder of many runs where one is wanted."""
    if (Path(source) / "trainings").is_dir():
        raise InputError(f"{source} is a comparison; give one of its trainings: {source}/trainings/PANEL/seed-S/METHOD")


def write_model(path: Path, tensors: Mapping[str, Tensor], info: ModelInfo) -> None:
    """Replace `path` by a network's weights and what is to be known of it, with a checksum of both."""
    write_tensors(path, tensors, about=info.to_json())


def read_model(source: str | Path) -> tuple[dict[str, Tensor], ModelInfo]:
    """The weights in a run directory or in its `model.safetensors`, and what the file records about them.

    Raises:
        InputError: if there is no such file, drkd did not write it, or it is damaged.
    """
    refuse_comparison(source)
    path = model_file(source)
    if not path.exists() and (path.parent / "config.yaml").exists():
        raise InputError(
            f"{path.parent} holds an unfinished run; to finish it, run its command again with --out {path.parent}"
        )
    tensors, content = read_tensors(path), read_about(path)
    content.pop("sha256", None)
    return tensors, ModelInfo.from_json(content, path)
