"""The embedded made images with their boxes, as splits."""

import torch
from torchvision.transforms.v2.functional import pil_to_tensor

from drkd.data.shapes import CLASSES, draw_splits
from drkd.tasks.detection.annotations import Annotations
from drkd.tasks.detection.splits import DetectionSplit, Images, Target


def read_shapes(size: int) -> tuple[Annotations, dict[str, DetectionSplit]]:
    """What `drkd.data.shapes` draws at this size; the ground is no class of objects.

    Example:
        >>> found, splits = read_shapes(16)
        >>> found.classes, len(splits["train"]), len(splits["test"])
        (('disc', 'square', 'triangle', 'cross'), 240, 120)
    """
    splits: dict[str, DetectionSplit] = {}
    drawn = list(draw_splits(size))
    for name in dict.fromkeys(split for split, _, _ in drawn):
        part = [(file, one) for split, file, one in drawn if split == name]
        targets: list[Target] = []
        for _, one in part:
            boxes = torch.tensor([box for _, box in one.boxes], dtype=torch.float32).reshape(-1, 4)
            targets.append({"boxes": boxes, "labels": torch.tensor([label for label, _ in one.boxes])})
        images = Images([file for file, _ in part], size, [pil_to_tensor(one.image) for _, one in part])
        splits[name] = DetectionSplit(images, targets)
    return Annotations(CLASSES[1:], {}, dict.fromkeys(splits, 0)), splits
