"""Batches: which samples, in which order, augmented how.

The order is a function of (seed, epoch), the augmentation of (seed, epoch, index, view): a loader has no state and can
serve any epoch again, from any batch on.

Images in memory move to the device once, as bytes, and are augmented there. Small batches are made several at a time,
because a call of torch costs more than its work on a few small images. Where images are decoded, or the device is an
accelerator, a thread makes the next batch while this one is trained on; others decode images, up to a batch beyond it.

A method declares what it needs of the batches, and the loader provides it:

    replay    the samples of the previous batch come first, in a second view (none in an epoch's first batch)
    pairs     after all others, a partner for each of them: another sample of its class, with the ignored label
    balanced  each class equally often (`drkd.data.sampling`); a sample that comes again, and its partner, in a new view
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.data.augment import OF_CROP, Augmentation, augment, random_numbers, with_smallest_area
from drkd.data.datasets import Data, Split
from drkd.data.images import LazyImages, Pixels, Wanted, one_ahead, random_crops, stacked
from drkd.data.mixing import Mixing, draw, mix
from drkd.data.operations import erase, operate
from drkd.data.sampling import balanced_order, drawn_partners, repetitions
from drkd.utils.checks import IGNORED
from drkd.utils.device import send, this_device
from drkd.utils.errors import InputError
from drkd.utils.labels import MixedLabels

FIRST, REPLAY, PARTNER, CHOICE = range(4)
"""Views: new samples, samples seen again, partners; and the random numbers that choose partners."""

VIEWS = 1000
"""A sample that comes for the n-th time in an epoch, from 0, is shown in a view that is `VIEWS * n` higher."""

Part = tuple[NDArray[np.int64], int | NDArray[np.int64]]
"""Samples, and the view that shows them, or one for each."""

BLOCK_BYTES = 2**20
"""Batches are made together as long as their inputs take no more: about what a processor's cache holds."""


class Batch(NamedTuple):
    """What a step trains on, on the loader's device.

    Attributes:
        inputs: (B, C, H, W) float32, augmented and normalised; inputs that are no images (B, ...) as they are.
        labels: (B,) int64; -100 for rows that do not count. Of mixed images `MixedLabels`; of a training split with
            votes (B, K) float32, zeros in rows that do not count.
        index: (B,) int64, the samples' positions in their split.
        loss_scale: this rank's fraction of the global batch's rows that count, times the number of ranks: 1 unless they
            are cut unevenly.
    """

    inputs: Tensor
    labels: Tensor | MixedLabels
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which no one calls on a batch
    loss_scale: float


class Loader:
    """Serves a split of `data` in batches.

    Args:
        data: the data set, with its mean, deviation and augmentation.
        split: which of its splits to serve.
        batch_size: samples per batch over all ranks; a last batch with less than two for each rank joins the one
            before, because batch norm cannot train on one.
        training: shuffle and augment; otherwise serve in order, unchanged.
        seed: for the order and the augmentation.
        needs: what the method declares, and `balanced`, which a training may ask for; all are for training only.
        device: where batches are put.
        rank, world_size: serve every `world_size`-th sample of each batch, starting at `rank`.
        workers: threads that decode images, one per processor by default, 8 at most; 0 decodes in the calling thread
            and makes no batch ahead. Any number serves bitwise the same batches.

    Attributes:
        rows: number of rows of a full batch, as served to this rank.
        mixing: how training images are mixed; not at all, unless it is set.
    """

    provides = frozenset({"inputs", "index", "pairs", "replay", "balanced"})

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
                f"{int(strange[0])}; data.classes must name every class"
            )
        self.device = this_device(device)
        self.split, self.seed = split, seed
        self.num_classes = len(data.classes)
        self.augmentation = data.augmentation if training else Augmentation()
        self.mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)
        self.interpolation = data.interpolation
        self.batch_size, self.training = batch_size, training
        self.mixing = Mixing()
        self.replay, self.pairs = training and "replay" in needs, training and "pairs" in needs
        self.balanced = training and "balanced" in needs
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self.rows = len(range(rank, batch_size, world_size)) * (1 + self.replay) * (1 + self.pairs)
        self.bounds = [*range(0, len(split), batch_size), len(split)]
        if 0 < len(split) % batch_size < 2 * world_size and len(self.bounds) > 2:
            del self.bounds[-2]

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.bounds) - 1

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch`, from batch `start` on."""
        served = self._batches(epoch, start)
        takes_time = isinstance(self.split.inputs, LazyImages) or self.device.type != "cpu"
        return one_ahead(served) if takes_time and self.workers != 0 else served

    def _batches(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        order = np.arange(len(self.split))
        partners = repeated = None
        if self.pairs:
            uniforms = random_numbers(self.seed, epoch, CHOICE, order, count=1)[:, 0]
            partners = drawn_partners(self.split.labels.numpy(), uniforms)
        if self.balanced:
            order = balanced_order(self.split.labels.numpy(), np.random.default_rng([self.seed, epoch]))
            repeated = repetitions(order)
        elif self.training:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        together, mixes = self._batches_per_block, bool(self.mixing)
        every = (self._parts(order, repeated, partners, number)[0] for number in range(start, len(self)))
        with closing(self._decoded(every, epoch)) as decoded:
            for first in range(start, len(self), together):
                numbers = range(first, min(first + together, len(self)))
                parts, scales = zip(*(self._parts(order, repeated, partners, each) for each in numbers), strict=True)
                served = self._serve([part for batch in parts for part in batch], epoch, decoded)
                if len(numbers) == 1:
                    whole = Batch(*served, scales[0])
                    yield self._mixed(whole, parts[0], epoch) if mixes else whole
                    continue
                sizes = [sum(len(rows) for rows, _ in batch) for batch in parts]
                cut = (torch.split(whole, sizes) for whole in served)
                for rows, inputs, labels, index, loss_scale in zip(parts, *cut, scales, strict=True):
                    if mixes:
                        yield self._mixed(Batch(inputs, labels, index, loss_scale), rows, epoch)
                        continue
                    # A copy is aligned in memory like a batch made alone, and the rounding of a matrix product may
                    # depend on that: a resumed epoch, whose blocks begin elsewhere, has to compute the same.
                    yield Batch(inputs.clone(), labels, index, loss_scale)

    def _decoded(self, batches: Iterable[Sequence[Part]], epoch: int) -> Generator[Pixels, None, None]:
        """All images of `batches` that are decoded on demand, in order; threads work on while batches are made."""
        if not isinstance(self._inputs, LazyImages):
            return
        how = self.augmentation

        def wanted() -> Iterator[Wanted]:
            for parts in batches:
                rows, views = _joined(parts)
                numbers: Iterable[NDArray[np.float64] | None] = [None] * len(rows)
                if how.resized_crop:
                    uniforms = random_numbers(self.seed, epoch, views, rows, count=how.numbers)
                    numbers = with_smallest_area(uniforms[:, OF_CROP], how.smallest_area)
                yield from zip(rows.tolist(), numbers, strict=True)

        with closing(self._inputs.one_by_one(wanted(), ahead=self.rows)) as images:
            yield from images

    @property
    def _batches_per_block(self) -> int:
        if isinstance(self._inputs, LazyImages):
            return 1
        bytes_per_value = 4 if self._inputs.dtype == torch.uint8 else self._inputs.element_size()
        return max(1, BLOCK_BYTES // max(1, self.rows * self._inputs.shape[1:].numel() * bytes_per_value))

    def _parts(
        self,
        order: NDArray[np.int64],
        repeated: NDArray[np.int64] | None,
        partners: NDArray[np.int64] | None,
        number: int,
    ) -> tuple[list[Part], float]:
        """The parts of batch `number` on this rank, and its `loss_scale`."""

        def part(begin: int, end: int, view: int) -> Part:
            ours = slice(begin + self.rank, end, self.world_size)
            return order[ours], view if repeated is None else view + VIEWS * repeated[ours]

        begin, end = self.bounds[number : number + 2]
        parts = [part(begin, end, FIRST)]
        if self.replay and number:
            end_of_last, begin = begin, self.bounds[number - 1]
            parts.insert(0, part(begin, end_of_last, REPLAY))
        loss_scale = 1.0
        if self.world_size > 1 and (of_all_ranks := int(self._counts[order[begin:end]].sum())):
            loss_scale = sum(int(self._counts[rows].sum()) for rows, _ in parts) * self.world_size / of_all_ranks
        if partners is not None:
            parts += [(partners[rows], PARTNER + VIEWS * (view // VIEWS)) for rows, view in parts]
        if self.world_size > 1 and self.mixing:  # each row's neighbour is another rank's
            neighbours = np.roll(np.arange(begin, end), -1)[self.rank :: self.world_size]
            parts.append((order[neighbours], FIRST if repeated is None else FIRST + VIEWS * repeated[neighbours]))
        return parts, loss_scale

    def _mixed(self, batch: Batch, parts: Sequence[Part], epoch: int) -> Batch:
        """A batch whose images are mixed with their neighbours in the batch of all ranks."""
        (own, view), alone = parts[0], self.world_size == 1
        partner = np.roll(own, -1) if alone else parts[-1][0]
        uniforms = draw(self.seed, epoch, own, self._counts[own] & self._counts[partner], view)

        def both(rows: Tensor) -> tuple[Tensor, Tensor]:
            return (rows, rows.roll(-1, dims=0)) if alone else (rows[: len(own)], rows[len(own) :])

        labels, index = both(cast(Tensor, batch.labels)), both(batch.index)
        inputs, mixed = mix(
            *both(batch.inputs), labels, index, self.mixing, uniforms=uniforms, num_classes=self.num_classes
        )
        return Batch(inputs, mixed, index[0], batch.loss_scale)

    def _serve(self, parts: Sequence[Part], epoch: int, decoded: Iterator[Pixels]) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, labels and index of the samples of all `parts`, each in its view."""
        rows, views = _joined(parts)
        ours = torch.from_numpy(rows)
        index = send(ours, self.device)
        labels = self._labels.index_select(0, index)
        if self.pairs:
            taken = send(torch.from_numpy(views % VIEWS == PARTNER), self.device).view(-1, *[1] * (labels.dim() - 1))
            labels.masked_fill_(taken, 0 if labels.is_floating_point() else IGNORED)
        how = self.augmentation
        uniforms = random_numbers(self.seed, epoch, views, rows, count=how.numbers) if how.numbers else np.empty((0, 0))
        if isinstance(self._inputs, LazyImages):
            images = stacked(islice(decoded, len(rows)))
        elif how.resized_crop:
            crops = with_smallest_area(uniforms[:, OF_CROP], how.smallest_area)
            images = random_crops(self._inputs, ours, crops, self.interpolation)
        else:
            images = self._inputs.index_select(0, index if self._inputs.device == index.device else ours)
        if images.dtype != torch.uint8:  # no images, but a table's rows or words
            return send(images, self.device), labels, index
        if not how.by_image:
            images = send(images, self.device)
        if how.degrees:
            images = images.float()
        images = augment(images, ours, how, seed=self.seed, epoch=epoch, view=views)
        if how.by_image:
            images = operate(images.to(torch.uint8), uniforms, how, workers=self.workers)
            images = send(images, self.device)
        images = images.float().div_(255).sub_(self.mean).div_(self.std)
        return erase(images, uniforms, how.erasing) if how.erasing else images, labels, index

    @cached_property
    def _inputs(self) -> Tensor | LazyImages:
        """All inputs: on the GPU if they are in memory and take at most half of what it has free."""
        images = self.split.inputs
        if isinstance(images, LazyImages):
            return replace(images, workers=self.workers)
        if self.device.type != "cuda" or self.augmentation.by_image:
            return images
        return images.to(self.device) if images.nbytes <= torch.cuda.mem_get_info(self.device)[0] / 2 else images

    @cached_property
    def _counts(self) -> NDArray[np.bool_]:
        """Of each sample, whether it counts."""
        counts: NDArray[np.bool_] = self.split.labels.numpy() != IGNORED
        return counts

    @cached_property
    def _labels(self) -> Tensor:
        votes = self.split.probs if self.training else None
        return (self.split.labels if votes is None else votes).to(self.device)


def _joined(parts: Sequence[Part]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The samples of all `parts`, and the view of each."""
    rows = np.concatenate([rows for rows, _ in parts])
    views = [view if isinstance(view, np.ndarray) else np.full(len(of), view) for of, view in parts]
    return rows, np.concatenate(views)
