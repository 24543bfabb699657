"""Images of noise with random masks, for measuring what a training costs."""

import torch

from drkd.config import BenchConfig
from drkd.data.noise import class_names, random_images
from drkd.tasks.segmentation.augment import PairAugmentation
from drkd.tasks.segmentation.dataset import SegmentationData
from drkd.tasks.segmentation.splits import SegmentationSplit


def random_masks(config: BenchConfig, samples: int) -> SegmentationData:
    """Training images with a class for each pixel, mirrored at random; other splits are empty.

    Example:
        >>> random_masks(BenchConfig(image_size=8, classes=3), 2).train[0][1].shape
        torch.Size([8, 8])
    """
    images, draw = random_images(config, samples)
    masks = torch.randint(0, config.classes, (samples, *images.shape[2:]), generator=draw, dtype=torch.uint8)
    train = SegmentationSplit.of(images, masks)
    empty = train.select(torch.arange(0))
    flip = PairAugmentation(flip=True)  # methods that remember pixels take no other
    return SegmentationData("made up", class_names(config), config.image_size, train, empty, empty, augmentation=flip)
