"""Networks by name: a family of the papers per file, everything else from timm."""

import difflib
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from drkd.models.alexnet import alexnet
from drkd.models.cnn import cnn
from drkd.models.densenet import densenet121
from drkd.models.given import make_given
from drkd.models.googlenet import googlenet
from drkd.models.mlp import mlp
from drkd.models.mobilenetv2 import mobilenetv2
from drkd.models.resnet import resnet18, resnet34, resnet50, resnet101
from drkd.models.resnext import resnext29_8x64d
from drkd.models.shufflenetv2 import shufflenetv2
from drkd.models.small_cnn import small_cnn
from drkd.models.starts import find_start, known_to_timm
from drkd.models.vgg import vgg19_bn
from drkd.models.weights import load_pretrained, load_weights
from drkd.models.wide_resnet import wrn16_2, wrn28_10, wrn40_2
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_count
from drkd.utils.errors import InputError
from drkd.utils.objects import PREFIX

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
    name: str,
    *,
    num_classes: int,
    image_size: int,
    channels: int = 3,
    weights: str | Path | None = None,
    pretrained: bool = False,
    download: bool = False,
) -> nn.Module:
    """A network by name, with random weights drawn from torch's global generator, or with trained ones.

    Warns of how many tensors were taken from trained weights, and which are new.

    Args:
        name: one of `MODELS`, or `timm:NAME` for any network of timm; `timm:NAME.TAG` for one of its pretrained ones.
        num_classes: size of the output.
        image_size: side length of the images.
        channels: 1 for grey, 3 for colour.
        weights: a safetensors file, a `.pt` file that can run no code, a run directory, or `hf_hub:OWNER/NAME`. A
            classifier for other classes is left out; so is what wrappers put before names.
        pretrained: take timm's own weights of that name.
        download: fetch weights that are not on this machine.

    Raises:
        InputError: for an unknown name, or weights that are not there or do not fit.

    Example:
        >>> model = create_model("resnet18", num_classes=100, image_size=32)
        >>> sum(p.numel() for p in model.parameters())
        11220132
    """
    check_arguments(create_model, locals())
    for what, value in (("num_classes", num_classes), ("image_size", image_size), ("channels", channels)):
        check_count(what, value)
    start = find_start(name, weights=weights, pretrained=pretrained, download=download)
    if name.startswith(PREFIX):
        make = partial(make_given, name, num_classes, image_size, channels)
    elif not name.startswith("timm:") and name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {close[0]}?" if close else "see `drkd list models`"
        raise InputError(f"unknown model {name!r}; {hint} Every network of timm is timm:NAME")
    elif name.startswith("timm:"):
        make = partial(_from_timm, known_to_timm(name.removeprefix("timm:")), num_classes, image_size, channels)
    else:
        make = partial(MODELS[name], num_classes, image_size, channels)
    if start is not None and start.config is not None:
        return load_pretrained(make, start, num_classes)
    model = make()
    if start is not None:
        load_weights(model, start, num_classes)
    return model


def _from_timm(name: str, num_classes: int, image_size: int, channels: int, **options: Any) -> nn.Module:
    import timm

    make = partial(timm.create_model, name, num_classes=num_classes, in_chans=channels, **options)
    try:
        model: nn.Module = make(img_size=image_size)
    except TypeError:  # networks of convolutions take any size and no such argument
        model = make()
    return model
