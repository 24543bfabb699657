"""Batches of images with boxes.

The order is a function of (seed, epoch), mirroring of (seed, epoch, image), as in `drkd.data.loader`: any epoch can
be had again, from any batch on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from drkd.data.augment import random_numbers
from drkd.tasks.detection.augment import apply
from drkd.tasks.detection.splits import DetectionSplit, DetectionSplits, Target
from drkd.utils.device import send, this_device
from drkd.utils.errors import InputError


class DetectionBatch(NamedTuple):
    """What one step gets, on the loader's device.

    Attributes:
        images: B images (3, H, W), floats in [0, 1].
        targets: their boxes and labels.
        index: (B,) int64, which image in which view: twice its position, and one more where it is mirrored.
        size: images of all ranks' parts together.
    """

    images: list[Tensor]
    targets: list[Target]
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks a batch for
    size: int


class DetectionLoader:
    """Serves a split of `data` in batches.

    Args:
        data: says whether to mirror.
        split: the part to serve.
        batch_size: images per batch, over all ranks; a single left-over one joins the batch before, for the sake of
            batch norm, and so do those that would not give every rank one.
        training: shuffle and mirror; otherwise in order, as they are.
        seed: of order and mirroring.
        device: where batches go.
        rank, world_size: which part of each batch to serve, and of how many.
    """

    def __init__(
        self,
        data: DetectionSplits,
        split: DetectionSplit,
        *,
        batch_size: int,
        training: bool,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < world_size:
            raise InputError(f"batch_size must be at least {world_size}, one image for each process, got {batch_size}")
        self.rank, self.world_size = rank, world_size
        self.split = split
        self.flip = data.flip and training
        self.operations = data.operations if training else ()
        self.training = training
        self.seed = seed
        self.device = this_device(device)
        self.bounds = list(range(0, len(split), batch_size))
        if training and 0 < len(split) % batch_size < max(2, world_size) and len(self.bounds) > 1:
            self.bounds.pop()

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.bounds)

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[DetectionBatch]:
        """The batches of `epoch`, from batch `start` on."""
        order = np.arange(len(self.split))
        if self.training:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        mirrored = random_numbers(self.seed, epoch, 0, order, count=1)[:, 0] < (0.5 if self.flip else 0.0)
        draws = random_numbers(self.seed, epoch, 1, order, count=1)[:, 0] if self.operations else np.zeros(len(order))
        ends = [*self.bounds[1:], len(order)]
        for begin, end in list(zip(self.bounds, ends, strict=True))[start:]:
            size = end - begin
            first, last = (begin + size * number // self.world_size for number in (self.rank, self.rank + 1))
            rows = zip(order[first:last].tolist(), mirrored[first:last].tolist(), draws[first:last], strict=True)
            served = [self._serve(row, flip, draw) for row, flip, draw in rows]
            index = send(torch.from_numpy(2 * order[first:last] + mirrored[first:last]), self.device)
            yield DetectionBatch([image for image, _ in served], [target for _, target in served], index, size)

    def _serve(self, row: int, flip: bool, draw: float) -> tuple[Tensor, Target]:
        pixels, target = self.split.images[row], self.split.targets[row]
        if self.training and "iscrowd" in target:
            taught = target["iscrowd"] == 0
            target = {name: target[name][taught] for name in ("boxes", "labels")}
        if self.operations:
            pixels, target = apply(self.operations, pixels, target, seed=int(draw * 2**53))
        image = send(pixels, self.device).float().div_(255)
        target = {name: send(value, self.device) for name, value in target.items()}
        return mirror(image, target) if flip else (image, target)


def mirror(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """An image and its boxes, left and right exchanged.

    Example:
        >>> _, target = mirror(torch.zeros(3, 4, 10), {"boxes": torch.tensor([[1.0, 0.0, 4.0, 3.0]])})
        >>> target["boxes"]
        tensor([[6., 0., 9., 3.]])
    """
    left, top, right, bottom = target["boxes"].unbind(1)
    width = image.shape[-1]
    return image.flip(-1), {**target, "boxes": torch.stack([width - right, top, width - left, bottom], 1)}
