"""Batches of images with masks.

The order is a function of (seed, epoch), augmentation of (seed, epoch, image), as in `drkd.data.loader`: any epoch can
be had again, from any batch on, with any number of threads.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from drkd.data.augment import random_numbers
from drkd.data.images import in_threads
from drkd.tasks.segmentation.augment import FLIP, NUMBERS, PLAIN, augment_pair
from drkd.tasks.segmentation.splits import IGNORE, SegmentationSplit, SegmentationSplits
from drkd.utils.checks import IGNORED
from drkd.utils.device import send, this_device
from drkd.utils.errors import InputError

LARGE = 256 * 256
"""From this many pixels on, threads make images ahead of the step; with fewer they would wait for each other."""


class SegmentationBatch(NamedTuple):
    """What one step gets, on the loader's device.

    Attributes:
        images: (B, 3, S, S) float32, augmented and normalised.
        labels: (B, S, S) int64, -100 for pixels that do not count.
        index: (B,) int64, which image in which view: twice its position, and one more where it is mirrored.
    """

    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks a batch for


class SegmentationLoader:
    """Serves a split of `data` in batches.

    Args:
        data: says how to augment and normalise.
        split: the part to serve.
        batch_size: images per batch over all ranks; a last batch with less than two for each rank joins the one before,
            for the sake of batch norm.
        training: shuffle and augment; otherwise in order, as they are.
        seed: of order and augmentation.
        device: where batches go.
        workers: threads that decode and augment, one per processor by default; 0 for none. It changes no batch.
        rank, world_size: serve every `world_size`-th image of each batch, starting at `rank`.
    """

    def __init__(
        self,
        data: SegmentationSplits,
        split: SegmentationSplit,
        *,
        batch_size: int,
        training: bool,
        seed: int = 0,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < max(1, world_size):
            raise InputError(f"batch_size must be at least 1 and at least the number of ranks, got {batch_size}")
        if 0 < len(split) < world_size:
            raise InputError(f"{len(split)} images cannot be shared by {world_size} processes; use fewer")
        self.rank, self.world_size = rank, world_size
        self.split = split
        self.augmentation = data.augmentation if training else PLAIN
        self.training = training
        self.seed = seed
        self.device = this_device(device)
        self.mean, self.std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (data.mean, data.std))
        takes_time = split.decoded is None or split.size**2 >= LARGE or self.device.type != "cpu"
        self.workers = workers if takes_time else 0
        self.bounds = list(range(0, len(split), batch_size))
        if training and 0 < len(split) % batch_size < 2 * world_size and len(self.bounds) > 1:
            self.bounds.pop()

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.bounds)

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[SegmentationBatch]:
        """The batches of `epoch`, from batch `start` on."""
        order = np.arange(len(self.split))
        if self.training:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        uniforms = random_numbers(self.seed, epoch, 0, np.arange(len(order)), count=NUMBERS)
        mirrored = (uniforms[:, FLIP] < 0.5) & self.augmentation.flip

        def serve(row: int) -> tuple[Tensor, Tensor]:
            image, mask = self.split[row]
            return augment_pair(image, mask, self.augmentation, uniforms[row])

        bounds = zip(self.bounds, [*self.bounds[1:], len(order)], strict=True)
        batches = [order[begin + self.rank : end : self.world_size] for begin, end in bounds][start:]
        rows = [row for batch in batches for row in batch.tolist()]
        served = in_threads(serve, rows, self.workers, ahead=2 * max(map(len, batches), default=1))
        for batch in batches:
            pairs = [next(served) for _ in batch]
            images, masks = (send(torch.stack(part), self.device) for part in zip(*pairs, strict=True))
            labels = masks.long()
            labels.masked_fill_(masks == IGNORE, IGNORED)
            index = send(torch.from_numpy(2 * batch + mirrored[batch]), self.device)
            yield SegmentationBatch(images.float().div_(255).sub_(self.mean).div_(self.std), labels, index)
