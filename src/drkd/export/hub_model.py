"""A run's network as Hugging Face's mixin loads and saves it."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from drkd.models import create_model
from drkd.models.deployed import Deployed
from drkd.models.files import ModelInfo, read_model, untagged, write_model
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError


class HubModel(nn.Module, PyTorchModelHubMixin, library_name="drkd"):
    """A network with its preprocessing, from a folder of `drkd push` or from the Hub.

    `HubModel.from_pretrained(FOLDER_OR_REPO)` builds the network that `config.json` describes and loads
    `model.safetensors`, in eval mode. It takes uint8 pixels (B, C, H, W), 0 to 255, and gives logits (B, K).

    Args:
        model: network by name.
        classes: names in the order of the logits.
        image_size: side length of the images.
        channels: 1 for grey, 3 for colour.
        mean, std: per channel, as fractions of full brightness.
        margin, interpolation: how its images are scaled before they are cropped, see `drkd.ModelInfo`.
        temperature: by which its logits are divided before they become probabilities.

    Attributes:
        info: all of that.

    Example:
        >>> import torch
        >>> small = {"model": "mlp", "classes": ["cat", "dog"], "image_size": 4, "channels": 1}
        >>> HubModel(**small, mean=[0.5], std=[0.5])(torch.zeros(3, 1, 4, 4, dtype=torch.uint8)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        model: str,
        classes: list[str],
        image_size: int,
        channels: int,
        mean: list[float],
        std: list[float],
        margin: float = 1.0,
        interpolation: str = "bilinear",
        temperature: float = 1.0,
    ) -> None:
        check_arguments(HubModel.__init__, locals())
        super().__init__()
        model = untagged(model)
        network = create_model(model, num_classes=len(classes), image_size=image_size, channels=channels)
        self.deployed = Deployed(network, mean, std)
        self.info = ModelInfo(
            model,
            tuple(classes),
            image_size,
            channels,
            tuple(mean),
            tuple(std),
            margin=margin,
            interpolation=interpolation,
            temperature=temperature,
        )

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.deployed(pixels)
        return logits

    def _save_pretrained(self, save_directory: Path) -> None:
        """The file that a run writes: weights under the network's own names, and what they are."""
        write_model(save_directory / "model.safetensors", self.deployed.network.state_dict(), self.info)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "HubModel":
        """The network in a folder, or on the Hub; `options` as Hugging Face's mixin takes them.

        Raises:
            InputError: if the folder's `config.json` is damaged, or says something else than the model file.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except InputError:
            raise
        except (
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as reason:  # other content than it takes
            why = " ".join(str(reason).split())
            raise InputError(
                f"{pretrained_model_name_or_path} is not a folder of `drkd push`, or its config.json is damaged: "
                f"{why}; copy it again"
            ) from reason

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        tensors, info = read_model(model_file)  # checked
        for name, theirs in vars(info).items():
            ours = getattr(model.info, name)
            if ours != theirs:
                raise InputError(
                    f"config.json says {name} {_shown(ours)}, {model_file} says {_shown(theirs)}: one of them was "
                    "changed; copy both again"
                )
        model.deployed.network.load_state_dict(tensors, strict=strict)
        return model.to(map_location).eval()


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
