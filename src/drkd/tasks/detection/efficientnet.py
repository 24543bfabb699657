"""SSDlite on timm's EfficientNet-Lite0: a small detector whose backbone has weights trained on ImageNet."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

MEAN = STD = 0.5
"""Of the images that published weights of EfficientNet-Lite want, and torchvision's SSDlite: from -1 to 1."""


def ssd_efficientnet_lite0(num_classes: int, image_size: int) -> Any:
    """SSDlite on EfficientNet-Lite0, which has weights trained on ImageNet and no operation that int8 dislikes."""
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD
    from torchvision.models.detection.ssdlite import SSDLiteHead

    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    backbone = LiteBackbone([512, 256, 256, 128], norm)
    boxes = DefaultBoxGenerator([[2, 3]] * len(backbone.out_channels), min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead(backbone.out_channels, boxes.num_anchors_per_location(), num_classes + 1, norm)
    of_ssdlite = {"score_thresh": 0.001, "nms_thresh": 0.55, "detections_per_img": 300, "topk_candidates": 300}
    unscaled = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}  # the backbone does it
    return SSD(backbone, boxes, (image_size, image_size), num_classes + 1, head=head, **unscaled, **of_ssdlite)


class LiteBackbone(nn.Module):
    """Features of stride 16 and 32 of EfficientNet-Lite0, and of twice that stride for each of `more`.

    Mean and deviation of its images are buffers, so that they stay with the weights in every file.

    Args:
        more: channels of the further levels.
        norm: makes their norms.
    """

    def __init__(self, more: list[int], norm: Any) -> None:
        import timm

        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.full((3, 1, 1), MEAN))
        self.register_buffer("std", torch.full((3, 1, 1), STD))
        body: Any = timm.create_model("efficientnet_lite0", features_only=True, out_indices=(3, 4))
        self.body = body
        self.out_channels = [*body.feature_info.channels(), *more]
        self.extra = nn.ModuleList(_narrowing(*sides, norm) for sides in zip(self.out_channels[1:], more, strict=False))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found: list[Tensor] = self.body((images - self.mean) / self.std)
        for level in self.extra:
            found.append(level(found[-1]))
        return {str(number): features for number, features in enumerate(found)}


def _narrowing(given: int, made: int, norm: Any) -> nn.Module:
    """SSDlite's further levels: half of the channels, a depthwise convolution of stride 2, all channels."""
    from torchvision.ops.misc import Conv2dNormActivation

    layer = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    half = made // 2
    return nn.Sequential(
        layer(given, half, kernel_size=1),
        layer(half, half, kernel_size=3, stride=2, groups=half),
        layer(half, made, kernel_size=1),
    )
