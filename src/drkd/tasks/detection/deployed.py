"""Detectors as they are deployed: pixels of one image in, boxes, labels and scores out.

An SSD's arithmetic is written out here with torchvision's numbers, in a form that `torch.export` can trace: how many
boxes are left is the only thing that depends on the image. Faster R-CNN and RetinaNet are called as they are.
"""

from typing import Any

import torch
from torch import Tensor, nn

Answer = tuple[Tensor, Tensor, Tensor]
"""`boxes` (n, 4) in pixels of what was given, `labels` and `scores` (n,), the most certain first."""


def deploy_detector(detector: Any) -> nn.Module:
    """A detector with its preprocessing and its suppression of overlapping boxes (NMS), in eval mode.

    Args:
        detector: of `create_detector` or torchvision; used as it is, not copied.

    Returns:
        A module from uint8 pixels (1, 3, H, W), any H and W, to `boxes`, `labels` and `scores`.

    Example:
        >>> from drkd.tasks.detection import create_detector
        >>> deployed = deploy_detector(create_detector("small_ssd", num_classes=2, image_size=64))
        >>> boxes, labels, scores = deployed(torch.zeros(1, 3, 48, 64, dtype=torch.uint8))
        >>> boxes.shape[1], len(labels) == len(scores)
        (4, True)
    """
    from torchvision.models.detection.ssd import SSD

    detector = detector.eval().requires_grad_(False)
    return (DeployedSSD(detector) if isinstance(detector, SSD) else DeployedDetector(detector)).eval()


class DeployedDetector(nn.Module):
    """Any of torchvision's detectors."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Answer:
        (found,) = self.detector([pixels[0].float() / 255])
        return found["boxes"], found["labels"], found["scores"]


class DeployedSSD(nn.Module):
    """An SSD, whose anchors are constants.

    Classes are taken together where torchvision has a loop over them: of each class the most certain positions up to
    `topk_candidates`, of these the ones above `score_thresh`, and one suppression in which boxes of different classes
    lie so far apart that they do not meet.
    """

    anchors: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, detector: Any) -> None:
        from torchvision.models.detection.image_list import ImageList

        super().__init__()
        self.detector = detector
        width, height = self.size = detector.transform.fixed_size
        device = next(detector.parameters()).device
        with torch.no_grad():
            images = torch.zeros(1, 3, height, width, device=device)
            features = list(detector.backbone(images).values())
            (anchors,) = detector.anchor_generator(ImageList(images, [(height, width)]), features)
        self.register_buffer("anchors", anchors)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(detector.transform, f"image_{name}"), device=device)
            self.register_buffer(name, values.view(3, 1, 1))
        self.candidates = min(detector.topk_candidates, len(anchors))

    def forward(self, pixels: Tensor) -> Answer:
        detector, (width, height) = self.detector, self.size
        images = (pixels.float() / 255 - self.mean) / self.std
        images = nn.functional.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
        found = detector.head(list(detector.backbone(images).values()))
        boxes = detector.box_coder.decode_single(found["bbox_regression"][0], self.anchors)
        across, down = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
        boxes = torch.stack([across, down], dim=2).flatten(1)
        scores, labels, positions = self._candidates(found["cls_logits"][0])
        boxes = boxes[positions]
        kept = self._suppress(boxes, scores, labels)
        given = pixels.shape[3] / width, pixels.shape[2] / height
        scale = torch.stack([torch.scalar_tensor(side, device=boxes.device) for side in given]).repeat(2)
        return boxes[kept] * scale, labels[kept], scores[kept]

    def _candidates(self, logits: Tensor) -> Answer:
        """Scores, labels and positions of the anchors to choose from."""
        odds = logits.softmax(dim=-1)[:, 1:]  # background is no class
        scores, positions = odds.topk(self.candidates, dim=0)
        labels = torch.arange(1, odds.shape[1] + 1, device=odds.device).expand(self.candidates, -1)
        flat = [table.T.reshape(-1) for table in (scores, labels, positions)]
        certain = torch.where(flat[0] > self.detector.score_thresh)[0]
        return flat[0][certain], flat[1][certain], flat[2][certain]

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        from torchvision.ops import nms

        apart = (labels * (max(self.size) + 1)).to(boxes.dtype)[:, None]
        kept: Tensor = nms(boxes + apart, scores, self.detector.nms_thresh)
        return kept[: self.detector.detections_per_img]
