"""Images of noise with random labels, for measuring what a training costs."""

import torch

from drkd.config import BenchConfig
from drkd.data.datasets import Split
from drkd.data.noise import random_classes
from drkd.tasks.multilabel.data import MultiLabelData


def random_labels(config: BenchConfig, samples: int) -> MultiLabelData:
    """Training images of which each class is true or not, augmented as for CIFAR; other splits are empty.

    Example:
        >>> random_labels(BenchConfig(image_size=8, classes=3), 2).train.labels.shape
        torch.Size([2, 3])
    """
    one = random_classes(config, samples)
    draw = torch.Generator().manual_seed(0)
    train = Split(one.train.inputs, torch.randint(0, 2, (samples, config.classes), generator=draw))
    empty = train.select(torch.arange(0))
    how, mean, std = one.augmentation, one.mean, one.std
    return MultiLabelData(one.name, one.classes, train, empty, empty, augmentation=how, mean=mean, std=std)
