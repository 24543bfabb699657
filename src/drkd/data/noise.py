"""Images of noise with labels of noise, for measuring what a training costs."""

import torch
from torch import Tensor

from drkd.config import BenchConfig
from drkd.data.augment import AUGMENTATIONS
from drkd.data.datasets import Data, Split


def random_images(config: BenchConfig, samples: int) -> tuple[Tensor, torch.Generator]:
    """Images uint8 (samples, 3, S, S), always the same, and the generator for what is to be said of them.

    Example:
        >>> random_images(BenchConfig(image_size=8), 2)[0].shape
        torch.Size([2, 3, 8, 8])
    """
    draw = torch.Generator().manual_seed(0)
    shape = (samples, 3, config.image_size, config.image_size)
    return torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8), draw


def class_names(config: BenchConfig) -> tuple[str, ...]:
    """As many as `config` asks for."""
    return tuple(str(label) for label in range(config.classes))


def random_classes(config: BenchConfig, samples: int) -> Data:
    """Training images of noise with a class each, and the papers' augmentation for CIFAR; other splits are empty."""
    images, draw = random_images(config, samples)
    train = Split(images, torch.randint(0, config.classes, (samples,), generator=draw))
    empty = train.select(torch.arange(0))
    classes, mean, std = class_names(config), (0.5,) * 3, (0.25,) * 3
    return Data("made up", classes, train, empty, empty, augmentation=AUGMENTATIONS["cifar"], mean=mean, std=std)
