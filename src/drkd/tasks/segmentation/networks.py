"""torchvision's segmenters by name, with random weights or trained ones."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from drkd.models.starts import Start, find_published
from drkd.models.weights import NewTensors, load_weights
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_count
from drkd.utils.errors import InputError
from drkd.utils.files import read_checkpoint

SIZE = 256
"""Default `image_size`."""

PUBLISHED = {
    "lraspp_mobilenet_v3_large": "LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1",
    "deeplabv3_mobilenet_v3_large": "DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1",
    "deeplabv3_resnet50": "DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1",
    "fcn_resnet50": "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1",
}
"""torchvision's weights for each segmenter, of COCO's images with the 21 classes of Pascal VOC."""


def create_segmenter(
    name: str,
    *,
    num_classes: int,
    weights: str | Path | None = None,
    pretrained: bool = False,
    download: bool = False,
) -> nn.Module:
    """A network from images (B, 3, H, W) to a dictionary with `out`, logits (B, K, H, W), and perhaps `aux`.

    Args:
        name: one of `SEGMENTERS`.
        num_classes: K, background among them where there is one.
        weights: torchvision's for example; a head for other classes is left out, and a warning says so. Those of a
            classifier with the same backbone fit too. A file, a run directory, or `hf_hub:OWNER/NAME`; random from
            torch's global generator without.
        pretrained: take torchvision's weights of that name.
        download: fetch weights that are not on this machine.

    Raises:
        InputError: for an unknown name, or weights that do not fit.

    Example:
        >>> import torch
        >>> create_segmenter("small_fcn", num_classes=3)(torch.zeros(2, 3, 32, 48))["out"].shape
        torch.Size([2, 3, 32, 48])
    """
    check_arguments(create_segmenter, locals())
    check_count("num_classes", num_classes)
    if name not in SEGMENTERS:
        raise InputError(f"unknown segmenter {name!r}; choose from {', '.join(SEGMENTERS)}")
    network: nn.Module = SEGMENTERS[name](num_classes)
    start = find_published(name, PUBLISHED, weights=weights, pretrained=pretrained, download=download)
    if start is not None:
        _lay_in(network, start, num_classes)
    return network


def backbone_of(segmenter: nn.Module) -> nn.Module | None:
    """The part of a segmenter that `--freeze backbone` keeps as it is, its heads lying beside it; None if unknown.

    Example:
        >>> len(list(backbone_of(create_segmenter("small_fcn", num_classes=3)).parameters()))
        15
    """
    if isinstance(segmenter, SmallFCN):
        return nn.ModuleList([segmenter.fine, segmenter.coarse])
    backbone = getattr(segmenter, "backbone", None)
    return backbone if isinstance(backbone, nn.Module) else None


def _lay_in(network: nn.Module, start: Start, num_classes: int) -> None:
    """The weights of a file, of a whole segmenter or of a classifier with the same backbone."""
    backbone = getattr(network, "backbone", None)
    saved, _ = read_checkpoint(start.file)
    if not isinstance(backbone, nn.Module) or any("backbone." in name for name in saved):
        load_weights(network, start, num_classes)
        return
    load_weights(backbone, start, num_classes)
    reason = f"the weights in {start.source} are those of a classifier: the backbone takes them, and the heads are new"
    warnings.warn(reason, NewTensors, stacklevel=4)


def small_fcn(num_classes: int) -> Any:
    """Five convolutions and a skip connection: small enough for a processor and a few hundred images."""
    return SmallFCN(num_classes)


def lraspp_mobilenet_v3_large(num_classes: int) -> Any:
    """LR-ASPP on MobileNetV3-Large (arXiv 1905.02244): made for devices."""
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large as make

    return make(weights=None, weights_backbone=None, num_classes=num_classes)


def deeplabv3_mobilenet_v3_large(num_classes: int) -> Any:
    """DeepLabV3 (arXiv 1706.05587) on MobileNetV3-Large, with an auxiliary head."""
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large as make

    return _with_aux(make, num_classes)


def deeplabv3_resnet50(num_classes: int) -> Any:
    """DeepLabV3 (arXiv 1706.05587) on ResNet-50, with an auxiliary head."""
    from torchvision.models.segmentation import deeplabv3_resnet50 as make

    return _with_aux(make, num_classes)


def fcn_resnet50(num_classes: int) -> Any:
    """FCN (arXiv 1411.4038) on ResNet-50, with an auxiliary head."""
    from torchvision.models.segmentation import fcn_resnet50 as make

    return _with_aux(make, num_classes)


SEGMENTERS = {
    network.__name__: network
    for network in (
        *(small_fcn, lraspp_mobilenet_v3_large, deeplabv3_mobilenet_v3_large),
        *(deeplabv3_resnet50, fcn_resnet50),
    )
}
"""Every segmenter that can be asked for by name."""


class SmallFCN(nn.Module):
    """Features of stride 4 and 8, a classifier on each, added up and scaled to the image."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(_block(3, 16, 2), _block(16, 32, 2))
        self.coarse = nn.Sequential(_block(32, 64, 2), _block(64, 64, 1), _block(64, 64, 1, dilation=2))
        self.low_classifier = nn.Conv2d(32, num_classes, 1)
        self.high_classifier = nn.Conv2d(64, num_classes, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        fine = self.fine(images)
        logits = self.high_classifier(self.coarse(fine))
        logits = F.interpolate(logits, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        logits = logits + self.low_classifier(fine)
        return {"out": F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)}


def _block(given: int, made: int, stride: int, dilation: int = 1) -> nn.Module:
    convolution = nn.Conv2d(given, made, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(made), nn.ReLU(inplace=True))


def _with_aux(make: Callable[..., Any], num_classes: int) -> Any:
    return make(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=True)
