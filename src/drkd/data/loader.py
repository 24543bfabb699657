"""Batches: which samples, in which order, seen how.

The order is a function of (seed, epoch), the augmentation of (seed, epoch, index, view): a loader has no state, so any
epoch can be had again and from any batch on.

Images in memory move to the device once, as they are, and are augmented there. Where serving takes time of its own,
because images are decoded or the device is not the processor, the next batch is made while this one is trained on.

What a method needs of the batches, it declares, and the loader makes:

    replay    the samples of the batch before come first, in a second view (none before an epoch's first batch)
    pairs     after all others, a partner for each of them: another sample of its class, with the ignored label
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.data.augment import ATTEMPTS, Augmentation, augment, random_numbers
from drkd.data.datasets import Data, Split
from drkd.data.images import LazyImages, random_crops
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError

REPLAY, PARTNER, CHOICE = 1, 2, 3
"""Views: images seen again, partners, and the random numbers that choose partners; the first view is 0."""


class Batch(NamedTuple):
    """What one step gets, on the loader's device.

    Attributes:
        inputs: (B, C, H, W) float, augmented and normalised; what is no image (B, ...) as it is.
        labels: (B,) int64; -100 for rows that do not count.
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
        needs: what the method declares; `replay` and `pairs` are for training only.
        device: where batches go.
        rank, world_size: serve every `world_size`-th sample of each batch, starting at `rank`.
        workers: threads that decode images, one per processor by default, 8 at most; 0 decodes in the calling thread
            and makes no batch ahead. Any number serves the same batches to the bit.

    Attributes:
        rows: of a full batch, as served to this rank.
    """

    provides = frozenset({"inputs", "index", "pairs", "replay"})

    def __init__(
        self,
        data: Data,
        split: Split,
        *,
        batch_size: int,
        training: bool,
        seed: int = 0,
        needs: frozenset[str] = frozenset(),
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        workers: int | None = None,
    ) -> None:
        if batch_size < max(1, world_size):
            raise InputError(f"batch_size must be at least 1 and at least the number of ranks, got {batch_size}")
        strange = split.labels[((split.labels < 0) | (split.labels >= len(data.classes))) & (split.labels != IGNORED)]
        if len(strange):
            raise InputError(
                f"labels should lie from 0 to {len(data.classes) - 1} (or be {IGNORED} to be ignored), got "
                f"{int(strange[0])}; data.classes has to name every class"
            )
        self.device = torch.device(device)
        self.split = split
        self.augmentation = data.augmentation if training else Augmentation()
        self.mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.replay, self.pairs = training and "replay" in needs, training and "pairs" in needs
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self.rows = len(range(rank, batch_size, world_size)) * (1 + self.replay) * (1 + self.pairs)
        self.bounds = list(range(0, len(split), batch_size))
        if 0 < len(split) % batch_size < 2 * world_size and len(self.bounds) > 1:
            self.bounds.pop()

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.bounds)

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch`, from batch `start` on."""
        served = self._batches(epoch, start)
        takes_time = isinstance(self.split.inputs, LazyImages) or self.device.type != "cpu"
        return _ahead(served) if takes_time and self.workers != 0 else served

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        order = np.arange(len(self.split))
        if self.training:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        bounds = list(zip(self.bounds, [*self.bounds[1:], len(order)], strict=True))
        for number, (begin, end) in list(enumerate(bounds))[start:]:
            parts = [(order[begin:end][self.rank :: self.world_size], 0)]
            samples = end - begin
            if self.replay and number:
                first, last = bounds[number - 1]
                parts.insert(0, (order[first:last][self.rank :: self.world_size], REPLAY))
                samples += last - first
            share = sum(len(rows) for rows, _ in parts) * self.world_size / samples
            served = [self._serve(rows, epoch, view) for rows, view in parts]
            if self.pairs:
                partners = [self._serve(self._partners(rows, epoch), epoch, PARTNER) for rows, _ in parts]
                served += [(inputs, torch.full_like(labels, IGNORED), index) for inputs, labels, index in partners]
            inputs, labels, index = served[0] if len(served) == 1 else map(torch.cat, zip(*served, strict=True))
            yield Batch(inputs, labels, index, share)

    def _serve(self, rows: NDArray[np.int64], epoch: int, view: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, labels and index of some samples."""
        ours = torch.from_numpy(rows)
        index = ours.to(self.device, non_blocking=True)
        if self.augmentation.resized_crop:
            uniforms = random_numbers(self.seed, epoch, view, rows, count=4 + 2 + 2 * ATTEMPTS)
            images = random_crops(self._inputs, ours, uniforms[:, 4:])  # the first 4 are those of `augment`
        else:
            here = isinstance(self._inputs, Tensor) and self._inputs.device == index.device
            images = self._inputs[index if here else ours]
        if images.dtype != torch.uint8:  # no images, but a table's rows or words
            return images.to(self.device, non_blocking=True), self._labels[index], index
        images = images.to(self.device, non_blocking=True).float().div_(255)
        images = augment(images, ours, self.augmentation, seed=self.seed, epoch=epoch, view=view)
        inputs = images.sub_(self.mean).div_(self.std)
        return inputs, self._labels[index], index

    @cached_property
    def _inputs(self) -> Tensor | LazyImages:
        """All images: on an accelerator, where they are in memory and take half of its free room at most."""
        images = self.split.inputs
        if isinstance(images, LazyImages):
            return replace(images, workers=self.workers)
        if self.device.type != "cuda":
            return images
        free, _ = torch.cuda.mem_get_info(self.device)
        return images.to(self.device) if images.nbytes <= free / 2 else images

    @cached_property
    def _labels(self) -> Tensor:
        return self.split.labels.to(self.device)

    def _partners(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """For each sample another one of its class, drawn evenly; itself where it is alone."""
        by_class, start_of, size_of, describe_source = self._classes
        others = np.maximum(size_of[rows] - 1, 1)
        chosen = np.floor(random_numbers(self.seed, epoch, CHOICE, rows, count=1)[:, 0] * others).astype(np.int64)
        chosen += (chosen >= describe_source[rows]) & (size_of[rows] > 1)
        partners: NDArray[np.int64] = by_class[start_of[rows] + chosen]
        return partners

    @cached_property
    def _classes(self) -> tuple[NDArray[np.int64], ...]:
        """Samples sorted by class; for each, where its class starts among them, its size, and its place there."""
        _, labels = np.unique(self.split.labels.numpy(), return_inverse=True)  # ignored ones are a class like any other
        by_class = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels)
        start_of = (np.cumsum(sizes) - sizes)[labels]
        describe_source = np.empty_like(by_class)
        describe_source[by_class] = np.arange(len(labels))
        return by_class, start_of, sizes[labels], describe_source - start_of


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made by another thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch
