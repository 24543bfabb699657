"""Detectors of torchvision's classes that are small enough for tests, and images of shapes with their boxes."""

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign

from drkd.tasks.detection.losses import detector_losses

CLASSES = 3
"""Background not counted."""


class Backbone(nn.Module):
    """Features of stride 8, and of stride 16 where two levels are wanted."""

    def __init__(self, levels: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
        self.second = nn.Conv2d(8, 8, 3, 2, 1) if levels == 2 else None
        self.out_channels = 8 if levels == 1 else [8, 8]

    def forward(self, drawn):
        features = {"0": self.first(drawn)}
        if self.second is not None:
            features["1"] = self.second(features["0"])
        return features


def two_stage():
    return FasterRCNN(
        Backbone(1),
        min_size=64,
        max_size=96,
        rpn_anchor_generator=AnchorGenerator(((8, 16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=1),
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.ReLU()),
        box_predictor=Predictor(),
        rpn_pre_nms_top_n_train=40,
        rpn_post_nms_top_n_train=20,
        box_batch_size_per_image=24,
    )


class Predictor(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(16, CLASSES + 1)
        self.boxes = nn.Linear(16, 4 * (CLASSES + 1))

    def forward(self, features):
        return self.scores(features), self.boxes(features)


def ssd():
    return SSD(Backbone(2), DefaultBoxGenerator([[2], [2]]), (64, 64), num_classes=CLASSES + 1)


def retina():
    backbone = Backbone(2)
    backbone.out_channels = 8
    anchors = AnchorGenerator(((8, 16), (24, 32)), ((1.0,), (1.0,)))
    return RetinaNet(backbone, num_classes=CLASSES + 1, anchor_generator=anchors, min_size=64, max_size=96)


DETECTORS = {"two_stage": two_stage, "ssd": ssd, "retina": retina}


def batch(drawn: int = 3, *, seed: int = 0, empty: bool = False):
    """Random images of different sizes with random boxes; with `empty` the first one has none."""
    generator = torch.Generator().manual_seed(seed)
    images, targets = [], []
    for number in range(drawn):
        height, width = 48 + 8 * number, 64
        images.append(torch.rand(3, height, width, generator=generator))
        count = 0 if empty and number == 0 else number + 1
        corner = torch.rand(count, 2, generator=generator) * 24
        size = 8 + torch.rand(count, 2, generator=generator) * 16
        labels = torch.randint(1, CLASSES + 1, (count,), generator=generator)
        targets.append({"boxes": torch.cat([corner, corner + size], 1), "labels": labels})
    return images, targets


CLASS_LOSS = {"two_stage": "loss_classifier", "ssd": "classification", "retina": "classification"}
"""What each family calls its loss over classes."""


def make(family, seed=0):
    torch.manual_seed(seed)
    return DETECTORS[family]()


def plain_step(detector, images, targets):
    """torchvision's own losses and gradients."""
    torch.manual_seed(7)
    losses = detector(images, targets)
    detector.zero_grad()
    sum(losses.values()).backward()
    return losses, [parameter.grad.clone() for parameter in detector.parameters()]


def our_step(detector, images, targets, objective, index=None):
    torch.manual_seed(7)
    losses, parts = detector_losses(detector, images, targets, objective, index=index)
    detector.zero_grad()
    sum(losses.values()).backward()
    return losses, parts, [parameter.grad.clone() for parameter in detector.parameters()]


def one_stage(detector, images, targets):
    """Logits (B, A, K), and per image the matches of the anchors, from torchvision's parts alone."""
    from torchvision.ops import box_iou

    drawn, scaled = detector.transform(images, [dict(target) for target in targets])
    features = list(detector.backbone(drawn.tensors).values())
    logits = detector.head(features)["cls_logits"]
    anchors = detector.anchor_generator(drawn, features)
    matched = [
        detector.proposal_matcher(box_iou(target["boxes"], boxes))
        for target, boxes in zip(scaled, anchors, strict=True)
    ]
    return logits, matched, scaled
