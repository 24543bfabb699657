"""Where a detector starts from: weights of a whole detector, or of a backbone that was trained on ImageNet."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from drkd.models import starts
from drkd.models.renaming import is_counter
from drkd.models.starts import Start
from drkd.models.weights import Fit, Tensors, abbreviated, without_wrapper
from drkd.utils.errors import InputError
from drkd.utils.files import read_checkpoint, warn_unchecked

PUBLISHED = {
    "ssdlite320_mobilenet_v3": "SSDLite320_MobileNet_V3_Large_Weights.COCO_V1",
    "fasterrcnn_mobilenet_v3_320": "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1",
    "fasterrcnn_mobilenet_v3": "FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1",
    "fasterrcnn_resnet50": "FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
    "retinanet_mobilenet_v3": "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
    "retinanet_resnet50": "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
}
"""torchvision's weights for each detector; of one without a published detector those of its backbone."""

OF_TIMM = {"ssd_efficientnet_lite0": "timm:efficientnet_lite0"}
"""Detectors whose backbone has weights of timm."""

HEADS = ("head.classification_head.", "roi_heads.box_predictor.")
"""Where a detector has an output per class."""

PIXELS = ("backbone.mean", "backbone.std")
"""Tensors that say what a detector's images are like; they do not learn."""

PARTS = ("head.", "roi_heads.", "rpn.")
"""What a detector has beside its backbone; a file without any of them is of a backbone."""


def find_start(
    name: str, *, weights: str | Path | None = None, pretrained: bool = False, download: bool = False
) -> Start | None:
    """Where the detector `name` starts from; None for random weights.

    Args:
        name: one of `drkd.tasks.detection.networks.DETECTORS`.
        weights: a file, a run directory, or `hf_hub:OWNER/NAME`.
        pretrained: its published weights.
        download: fetch what is not on this machine.

    Raises:
        InputError: if they are not there, or the options contradict each other.
    """
    if pretrained and weights is None and name in OF_TIMM:
        return starts.find_start(OF_TIMM[name], pretrained=True, download=download)
    return starts.find_published(name, PUBLISHED, weights=weights, pretrained=pretrained, download=download)


def backbone_of(detector: nn.Module) -> nn.Module:
    """The part of a detector that weights of ImageNet are for, and that `--freeze backbone` keeps as it is."""
    backbone: Any = detector.backbone
    part: nn.Module = getattr(backbone, "body", None) or getattr(backbone, "features", None) or backbone
    return part


def load_start(detector: nn.Module, name: str, start: Start, num_classes: int) -> None:
    """Lay the weights of a file into a detector, and warn of how many fit.

    Raises:
        InputError: for a file that cannot be read or does not fit.
    """
    saved, entry = read_checkpoint(start.file)
    source = f"{start.source} ({entry})" if entry else start.source
    named, others = without_wrapper(detector.state_dict(), saved)
    if any(key.startswith(PARTS) for key in named):
        fit = _whole(detector, name, named, others, source, num_classes)
    else:
        fit = _backbone(detector, name, saved, source, _take_preprocessing(detector.backbone, start))
    detector.load_state_dict(dict(fit.tensors), strict=False)
    fit.warn(source)
    warn_unchecked(start.file)


def _whole(detector: nn.Module, name: str, saved: Tensors, others: list[str], source: str, num_classes: int) -> Fit:
    """What fits of a detector's file; its heads may be for other classes."""
    own = detector.state_dict()
    taken = {key: value for key, value in saved.items() if key in own and own[key].shape == value.shape}
    new = [key for key in own if key not in taken and not is_counter(own[key])]
    replaced = [key for key in new if key.startswith(HEADS) and key in saved]
    unused = [key for key in saved if key not in own] + others
    if wrong := [key for key in new if key not in replaced] + unused:
        raise InputError(
            f"the weights in {source} do not fit {name}: {len(wrong)} tensors are missing, unknown or of another shape "
            f"({abbreviated(wrong)}); name the detector that they were saved from"
        )
    notes: tuple[str, ...] = ()
    if replaced:
        there = len(saved[replaced[0]]) * (num_classes + 1) // len(own[replaced[0]])
        notes = (f"its heads for {there} classes, background among them, are left out",)
    return Fit(taken, tuple(new), (), notes)


def _backbone(detector: nn.Module, name: str, saved: Tensors, source: str, notes: tuple[str, ...]) -> Fit:
    """What fits of a classifier's file into the backbone."""
    part = backbone_of(detector)
    own, prefix = part.state_dict(), next(key for key, each in detector.named_modules() if each is part)
    named, others = without_wrapper(own, saved)
    taken = {key: value for key, value in named.items() if key in own and own[key].shape == value.shape}
    if wrong := [key for key in own if key not in taken and not is_counter(own[key])]:
        hint = "give weights of a whole detector, or of the network that its backbone is"
        if name == "ssdlite320_mobilenet_v3":
            hint = (
                "torchvision's SSDlite has half the channels in its last blocks; give its weights for COCO, or use "
                "ssd_efficientnet_lite0"
            )
        raise InputError(
            f"the weights in {source} are neither of {name} nor of its backbone: {len(wrong)} of {len(own)} tensors "
            f"are missing or of another shape ({abbreviated(wrong)}); {hint}"
        )
    whole = detector.state_dict()
    tensors = {f"{prefix}.{key}": value for key, value in taken.items()}
    new = tuple(key for key in whole if key not in tensors and key not in PIXELS and not is_counter(whole[key]))
    unused = tuple(key for key in (*named, *others) if key not in own)
    return Fit(tensors, new, unused, ("they are its backbone's", *notes))


def _take_preprocessing(backbone: Any, start: Start) -> tuple[str, ...]:
    """Give a backbone that keeps them mean and deviation of the images, where the weights say them; what is said."""
    if not isinstance(getattr(backbone, "mean", None), torch.Tensor):
        return ()
    wanted, says = start.preprocessing, start.says
    if wanted is None or wanted.mean is None or wanted.std is None:
        says = f"{start.source} does not give them"
    else:
        for buffer, values in ((backbone.mean, wanted.mean), (backbone.std, wanted.std)):
            buffer.copy_(torch.tensor(values).view(3, 1, 1))
    mean, std = (", ".join(f"{value:.4g}" for value in each.flatten()) for each in (backbone.mean, backbone.std))
    return (f"it normalises images by mean ({mean}) and deviation ({std}) ({says})",)
