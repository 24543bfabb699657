"""A run's network as Hugging Face's mixin loads and saves it."""

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from drkd.models.files import ModelInfo, read_model, untagged, write_model
from drkd.tasks import get_task
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError


class HubModel(nn.Module, PyTorchModelHubMixin, library_name="drkd"):
    """A network with its preprocessing, from a folder of `drkd push` or from the Hub.

    `HubModel.from_pretrained(FOLDER_OR_REPO)` builds the network that `config.json` describes and loads
    `model.safetensors`, in eval mode. It takes uint8 pixels (B, C, H, W), 0 to 255. A classifier gives logits (B, K); a
    detector takes one image and gives boxes (n, 4), labels and scores (n,); a segmenter gives masks, uint8 (B, H, W).

    Args:
        model: network by name.
        classes: names in the order of the logits.
        image_size: side length of the images.
        channels: 1 for grey, 3 for colour.
        mean, std: per channel, as fractions of full brightness.
        margin, interpolation: how its images are scaled before they are cropped, see `drkd.ModelInfo`.
        temperature: by which its logits are divided before they become probabilities.
        task: what it was trained for, such as `detection`.

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
        task: str = "classification",
    ) -> None:
        check_arguments(HubModel.__init__, locals())
        super().__init__()
        model = untagged(model)
        self.info = ModelInfo(
            model,
            tuple(classes),
            image_size,
            channels,
            tuple(mean),
            tuple(std),
            task=task,
            margin=margin,
            interpolation=interpolation,
            temperature=temperature,
        )
        self._whole = [get_task(task).build(self.info)]  # in a list: what is deployed of it is registered
        self._deploy()

    def _deploy(self) -> None:
        """Make of the network as it is now what takes pixels."""
        self.deployed = get_task(self.info.task).deploy(self._whole[0], self.info).requires_grad_(True)

    def forward(self, pixels: Tensor) -> Any:
        return self.deployed(pixels)

    def _save_pretrained(self, save_directory: Path) -> None:
        """The file that a run writes: weights under the network's own names, and what they are."""
        write_model(save_directory / "model.safetensors", self._whole[0].state_dict(), self.info)

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
        model._whole[0].load_state_dict(tensors, strict=strict)
        model._deploy()
        return model.to(map_location).eval()


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
