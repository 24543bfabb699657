"""Images of noise with random boxes, for measuring what a training costs."""

import torch

from drkd.config import BenchConfig
from drkd.data.noise import class_names, random_images
from drkd.tasks.detection.dataset import DetectionData
from drkd.tasks.detection.splits import DetectionSplit, Target

BOXES = 6
"""On each image."""


def random_boxes(config: BenchConfig, samples: int) -> DetectionData:
    """Training images with boxes of a tenth to a half of a side, mirrored at random; other splits are empty.

    Example:
        >>> data = random_boxes(BenchConfig(image_size=32, classes=3), 2)
        >>> len(data.train), data.train.targets[0]["boxes"].shape
        (2, torch.Size([6, 4]))
    """
    images, draw = random_images(config, samples)
    targets: list[Target] = []
    for _ in range(samples):
        sides = 0.1 + 0.4 * torch.rand(BOXES, 2, generator=draw)
        corners = (1 - sides) * torch.rand(BOXES, 2, generator=draw)
        labels = torch.randint(1, config.classes + 1, (BOXES,), generator=draw)
        targets.append({"boxes": config.image_size * torch.cat([corners, corners + sides], 1), "labels": labels})
    train = DetectionSplit.of(list(images), targets)
    empty = train.select([])
    return DetectionData("made up", class_names(config), config.image_size, train, empty, empty)
