"""Batches: which samples, in which order, seen how.

The order is a function of (seed, epoch), the augmentation of (seed, epoch, index): a loader has no state, so any epoch
can be had again and from any batch on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from drkd.data.augment import Augmentation, augment
from drkd.data.datasets import Data, Split
from drkd.errors import InputError


class Batch(NamedTuple):
    """What one step gets, on the loader's device.

    Attributes:
        inputs: (B, C, H, W) float, augmented and normalised.
        labels: (B,) int64.
        index: (B,) int64, the samples' positions in their split.
        share: this rank's part of the global batch, times the number of ranks: 1 unless the batch is cut unevenly.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks a batch for
    share: float


class Loader:
    """Serves a split of `data` in batches.

    Args:
        data: where mean, deviation and augmentation come from.
        split: the part to serve.
        batch_size: samples per batch over all ranks; a last batch with less than two for each rank joins the one
            before, because batch norm cannot train on one.
        training: shuffle and augment; otherwise in order, as they are.
        seed: of the order and the augmentation.
        device: where batches go.
        rank, world_size: serve every `world_size`-th sample of each batch, starting at `rank`.
    """

    provides = frozenset({"inputs", "index"})

    def __init__(
        self,
        data: Data,
        split: Split,
        *,
        batch_size: int,
        training: bool,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < max(1, world_size):
            raise InputError(f"batch_size must be at least 1 and at least the number of ranks, got {batch_size}")
        self.split = split
        self.augmentation = data.augmentation if training else Augmentation()
        self.device = torch.device(device)
        self.mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.rank, self.world_size = rank, world_size
        self.bounds = list(range(0, len(split), batch_size))
        if 0 < len(split) % batch_size < 2 * world_size and len(self.bounds) > 1:
            self.bounds.pop()

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.bounds)

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch`, from batch `start` on."""
        order = np.arange(len(self.split))
        if self.training:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        for begin, end in list(zip(self.bounds, [*self.bounds[1:], len(order)], strict=True))[start:]:
            ours = torch.from_numpy(order[begin:end][self.rank :: self.world_size])
            share = len(ours) * self.world_size / (end - begin)
            images = self.split.inputs[ours].to(self.device, non_blocking=True).float().div_(255)
            images = augment(images, ours, self.augmentation, seed=self.seed, epoch=epoch)
            inputs = images.sub_(self.mean).div_(self.std)
            labels = self.split.labels[ours].to(self.device, non_blocking=True)
            yield Batch(inputs, labels, ours.to(self.device, non_blocking=True), share)
