"""Batches for trainings that differ by seed only: each batch holds the rows of all of them, lane after lane.

Every lane gets the very pictures that a `Loader` of its own would serve. What makes it faster than so many loaders:
pictures are gathered, augmented and normalised for many rows in one go, and batches are cut out of them.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.checks import IGNORED
from drkd.data.augment import Augmentation, augment
from drkd.data.datasets import Data, Split
from drkd.data.loader import Batch, Loader
from drkd.errors import InputError

FLOATS_AT_ONCE = 2**20
"""Pictures are made ready for as many batches at once as fit into so many numbers: they stay in a processor's cache."""


class LanesLoader:
    """Serves one split of several data sets at once.

    Args:
        data: one for each lane; of equal length, in memory, and alike but for what a seed changes.
        splits: the part to serve of each.
        batch_size: samples per batch and lane.
        training: shuffle and augment; otherwise in order, as they are.
        seeds: of each lane's order and augmentation.
        device: where batches go; pictures are kept there.

    Batches are `Batch`es of S * B rows. `index` counts through all lanes: lane s has s * N to (s + 1) * N - 1. `share`
    makes the sum over a batch's rows the sum of the lanes' means.

    Raises:
        InputError: for splits that cannot be served together; it says why.
    """

    def __init__(
        self,
        data: Sequence[Data],
        splits: Sequence[Split],
        *,
        batch_size: int,
        training: bool,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        reason = misfit(data, splits)
        if reason is not None:
            raise InputError(f"these data cannot be served together: {reason}")
        first = Loader(data[0], splits[0], batch_size=batch_size, training=training)
        self.lanes, self.samples = len(splits), len(splits[0])
        self.bounds = [*first.bounds, self.samples]
        self.training, self.seeds = training, np.array(seeds)
        self.augmentation = data[0].augmentation if training else Augmentation()
        self.device = torch.device(device)
        self.inputs = torch.cat([torch.as_tensor(split.inputs) for split in splits]).to(device)
        self.labels = torch.cat([split.labels for split in splits]).to(device)
        self.mean = torch.tensor([lane.mean for lane in data], device=device)[:, :, None, None]
        self.std = torch.tensor([lane.std for lane in data], device=device)[:, :, None, None]

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.bounds) - 1

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch`, from batch `start` on."""
        orders = np.tile(np.arange(self.samples), (self.lanes, 1))
        if self.training:
            orders = np.stack([np.random.default_rng([seed, epoch]).permutation(self.samples) for seed in self.seeds])
        floats = self.lanes * max(1, self.inputs[0].numel())
        at_once = max(1, FLOATS_AT_ONCE // (floats * max(1, self.bounds[1]))) if len(self) else 1
        for begin in range(start, len(self), at_once):
            bounds = self.bounds[begin : begin + at_once + 1]
            yield from self._serve(orders, bounds, epoch)

    def _serve(self, orders: NDArray[np.int64], bounds: list[int], epoch: int) -> Iterator[Batch]:
        """The batches between `bounds`, made ready together."""
        sizes = np.diff(bounds)
        own = np.concatenate([orders[:, first:last].ravel() for first, last in pairwise(bounds)])
        lane = np.concatenate([np.repeat(np.arange(self.lanes), size) for size in sizes])
        lane_of = torch.from_numpy(lane).to(self.device)
        index = torch.from_numpy(lane * self.samples + own).to(self.device)
        images = self.inputs[index].float().div_(255)
        images = augment(images, torch.from_numpy(own), self.augmentation, seed=self.seeds[lane], epoch=epoch)
        inputs, labels = images.sub_(self.mean[lane_of]).div_(self.std[lane_of]), self.labels[index]
        cut = [torch.split(whole, (self.lanes * sizes).tolist()) for whole in (inputs, labels, index)]
        for part, labels_of, index_of, size in zip(*cut, sizes.tolist(), strict=True):
            yield Batch(part, labels_of, index_of, share=1 / size)


def misfit(data: Sequence[Data], splits: Sequence[Split]) -> str | None:
    """Why splits cannot be served together, in words, or None where they can."""
    if any(not isinstance(split.inputs, Tensor) for split in splits):
        return "their pictures are not in memory"
    if len({(len(split), tuple(split.inputs.shape[1:])) for split in splits}) > 1:
        return "the splits differ in length or in the size of their pictures"
    if len({lane.augmentation for lane in data}) > 1:
        return "their augmentations differ"
    if data[0].augmentation.resized_crop:
        return "resized crops are made picture by picture"
    if any(bool((split.labels == IGNORED).any()) for split in splits):
        return "some labels do not count"
    return None
