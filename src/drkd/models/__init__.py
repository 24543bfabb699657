"""Networks by name: a family of the papers per file, everything else from timm."""

import difflib
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from drkd.models.alexnet import alexnet
from drkd.models.cnn import cnn
from drkd.models.densenet import densenet121
from drkd.models.googlenet import googlenet
from drkd.models.mlp import mlp
from drkd.models.mobilenetv2 import mobilenetv2
from drkd.models.resnet import resnet18, resnet34, resnet50, resnet101
from drkd.models.resnext import resnext29_8x64d
from drkd.models.shufflenetv2 import shufflenetv2
from drkd.models.small_cnn import small_cnn
from drkd.models.vgg import vgg19_bn
from drkd.models.wide_resnet import wrn16_2, wrn28_10, wrn40_2
from drkd.utils.errors import InputError
from drkd.utils.files import read_tensors, warn_unchecked

__all__ = ["MODELS", "create_model"]

MODELS = {
    "mlp": mlp,
    "small_cnn": small_cnn,
    "mobilenetv2": mobilenetv2,
    "shufflenetv2": shufflenetv2,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "googlenet": googlenet,
    "densenet121": densenet121,
    "resnext29_8x64d": resnext29_8x64d,
    "alexnet": alexnet,
    "vgg19_bn": vgg19_bn,
    "wrn16_2": wrn16_2,
    "wrn40_2": wrn40_2,
    "wrn28_10": wrn28_10,
    "cnn": cnn,
}
"""Our own networks; each takes (num_classes, image_size, channels)."""

CONTIGUOUS = ("alexnet", "vgg19_bn")
"""Networks that convolve and yet are slower with channels last (benchmarks/speed.py)."""


def create_model(
    name: str, *, num_classes: int, image_size: int, channels: int = 3, weights: str | Path | None = None
) -> nn.Module:
    """A network by name, with random weights drawn from torch's global generator, or with local ones.

    Args:
        name: one of `MODELS`, or `timm:NAME` for any network of timm.
        num_classes: size of the output.
        image_size: side length of the images.
        channels: 1 for grey, 3 for colour.
        weights: a safetensors file, or a `.pt` file of tensors only; a classifier for another number of classes in
            it is left out, anything else that does not fit is an error.

    Raises:
        InputError: for an unknown name or weights that do not fit.

    Example:
        >>> model = create_model("resnet18", num_classes=100, image_size=32)
        >>> sum(p.numel() for p in model.parameters())
        11220132
    """
    if name.startswith("timm:"):
        model = _from_timm(name.removeprefix("timm:"), num_classes, image_size, channels)
    elif name in MODELS:
        model = MODELS[name](num_classes, image_size, channels)
    else:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `drkd list models`"
        raise InputError(f"unknown model {name!r}; {hint} Every network of timm is timm:NAME")
    if weights is not None:
        _load_weights(model, Path(weights))
    return model


def _from_timm(name: str, num_classes: int, image_size: int, channels: int) -> nn.Module:
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean timm:{close[0]}?" if close else ""
        raise InputError(f"timm has no network {name!r}{hint}")
    make = partial(timm.create_model, name, pretrained=False, num_classes=num_classes, in_chans=channels)
    try:
        model: nn.Module = make(img_size=image_size)
    except TypeError:  # networks of convolutions take any size and no such argument
        model = make()
    return model


def _load_weights(model: nn.Module, path: Path) -> None:
    own, saved = model.state_dict(), read_tensors(path)
    misfits = [name for name in saved if name in own and saved[name].shape != own[name].shape]
    reshaped = [name for name in misfits if saved[name].shape[1:] != own[name].shape[1:]]  # not only other classes
    classifiers = {name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    kept: dict[str, Tensor] = {name: value for name, value in saved.items() if name not in misfits}
    replaced = {name.rpartition(".")[0] for name in misfits}
    missing = [name for name in own if name not in kept and name.rpartition(".")[0] not in replaced]
    unknown = [name for name in kept if name not in own]
    if missing or unknown or reshaped or len(replaced) > 1 or not replaced <= classifiers:
        examples = ", ".join([*misfits, *missing, *unknown][:3])
        raise InputError(
            f"the weights in {path} do not fit the model: {len(misfits)} of another shape, {len(missing)} missing, "
            f"{len(unknown)} unknown ({examples}); name the model that they were saved from"
        )
    model.load_state_dict(kept, strict=False)
    warn_unchecked(path)
