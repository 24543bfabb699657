"""torchvision's detectors by name, with random weights or trained ones; `starts.py` says where those come from."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from drkd.tasks.detection.efficientnet import ssd_efficientnet_lite0
from drkd.tasks.detection.starts import find_start, load_start
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_count
from drkd.utils.errors import InputError

SIZE = 320
"""Default `image_size`."""


def create_detector(
    name: str,
    *,
    num_classes: int,
    image_size: int = SIZE,
    weights: str | Path | None = None,
    pretrained: bool = False,
    download: bool = False,
) -> nn.Module:
    """A detector for `num_classes` classes (background is not one of them), in training mode.

    Args:
        name: one of `DETECTORS`.
        num_classes: labels are 1 to `num_classes`. RetinaNet has no background class, and as in torchvision's own
            networks a sigmoid more that never lights up in its place, so that labels are the same for all.
        image_size: SSDlite scales images to a square of this side; the others scale the shorter side to it, and the
            longer one to twice of it at most.
        weights: of a whole detector, such as torchvision's for COCO or those of a run, whose heads for other classes
            are left out; or of its backbone, trained on ImageNet. A file, a run directory, or `hf_hub:OWNER/NAME`;
            random from torch's global generator without. Warns of how many tensors were taken, and which are new.
        pretrained: take the published weights of that name, torchvision's for COCO where there are any.
        download: fetch weights that are not on this machine.

    Raises:
        InputError: for an unknown name, or weights that do not fit.

    Example:
        >>> detector = create_detector("small_ssd", num_classes=3, image_size=128)
        >>> detector.head.classification_head.num_columns  # scores per anchor, background among them
        4
    """
    check_arguments(create_detector, locals())
    for what, value in (("num_classes", num_classes), ("image_size", image_size)):
        check_count(what, value)
    if name not in DETECTORS:
        raise InputError(f"unknown detector {name!r}; choose from {', '.join(DETECTORS)}")
    detector: nn.Module = DETECTORS[name](num_classes, image_size)
    start = find_start(name, weights=weights, pretrained=pretrained, download=download)
    if start is not None:
        load_start(detector, name, start, num_classes)
    return detector


def small_ssd(num_classes: int, image_size: int) -> Any:
    """An SSD (arXiv 1512.02325) on seven 3x3 convolutions: small enough for a processor and a few hundred images."""
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD

    backbone = _Levels([16, 32, 64, 64], [96, 128, 128])
    boxes = DefaultBoxGenerator([[2]] * len(backbone.out_channels), scales=[0.08, 0.18, 0.36, 0.6, 0.9])
    return SSD(backbone, boxes, (image_size, image_size), num_classes + 1)


def ssdlite320_mobilenet_v3(num_classes: int, image_size: int) -> Any:
    """SSDlite on MobileNetV3-Large (arXiv 1905.02244): one stage, softmax over background and classes."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    detector = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
    detector.transform.fixed_size = (image_size, image_size)  # its anchors follow the size of what they get
    return detector


def fasterrcnn_mobilenet_v3_320(num_classes: int, image_size: int) -> Any:
    """Faster R-CNN on MobileNetV3-Large with a feature pyramid, tuned for small images: two stages, softmax."""
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    return _rcnn(fasterrcnn_mobilenet_v3_large_320_fpn, num_classes, image_size)


def fasterrcnn_mobilenet_v3(num_classes: int, image_size: int) -> Any:
    """Faster R-CNN on MobileNetV3-Large with a feature pyramid."""
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

    return _rcnn(fasterrcnn_mobilenet_v3_large_fpn, num_classes, image_size)


def fasterrcnn_resnet50(num_classes: int, image_size: int) -> Any:
    """Faster R-CNN on ResNet-50 with a feature pyramid (arXiv 1506.01497, 1612.03144)."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    return _rcnn(fasterrcnn_resnet50_fpn, num_classes, image_size)


def retinanet_resnet50(num_classes: int, image_size: int) -> Any:
    """RetinaNet on ResNet-50 with a feature pyramid (arXiv 1708.02002): one stage, a sigmoid per class."""
    from torchvision.models.detection import retinanet_resnet50_fpn

    return retinanet_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=num_classes + 1,
        min_size=image_size,
        max_size=2 * image_size,
    )


def retinanet_mobilenet_v3(num_classes: int, image_size: int) -> Any:
    """RetinaNet on MobileNetV3-Large with a feature pyramid."""
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import mobilenet_backbone

    backbone = mobilenet_backbone(
        backbone_name="mobilenet_v3_large", weights=None, norm_layer=nn.BatchNorm2d, fpn=True, trainable_layers=6
    )
    octave = [2 ** (step / 3) for step in range(3)]
    sizes = tuple(tuple(int(size * part) for part in octave) for size in (32, 64, 128))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    return RetinaNet(backbone, num_classes + 1, anchor_generator=anchors, min_size=image_size, max_size=2 * image_size)


DETECTORS = {
    network.__name__: network
    for network in (
        *(small_ssd, ssdlite320_mobilenet_v3, ssd_efficientnet_lite0, fasterrcnn_mobilenet_v3_320),
        *(fasterrcnn_mobilenet_v3, fasterrcnn_resnet50, retinanet_mobilenet_v3, retinanet_resnet50),
    )
}
"""Every detector that can be asked for by name."""


class _Levels(nn.Module):
    """Features of stride 8, made by convolutions of which the last keeps the size, and of twice that stride each."""

    def __init__(self, first: list[int], others: list[int]) -> None:
        super().__init__()
        self.out_channels = [first[-1], *others]
        strides = [2] * (len(first) - 1) + [1]
        ahead = [3, *first]
        self.first = nn.Sequential(*(_block(*sides) for sides in zip(ahead, first, strides, strict=False)))
        self.others = nn.ModuleList(_block(*sides, 2) for sides in zip([first[-1], *others], others, strict=False))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = [self.first(images)]
        for level in self.others:
            found.append(level(found[-1]))
        return {str(number): features for number, features in enumerate(found)}


def _block(given: int, made: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(given, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True))


def _rcnn(make: Any, num_classes: int, image_size: int) -> Any:
    return make(
        weights=None,
        weights_backbone=None,
        num_classes=num_classes + 1,
        min_size=image_size,
        max_size=2 * image_size,
    )
