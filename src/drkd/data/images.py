"""Images: decoded once into memory as uint8 where they fit, on demand otherwise."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drkd.data.augment import crop_box
from drkd.data.decoding import Source, converted, decode, opened
from drkd.data.problems import BadImageError, Problem, describe_problems
from drkd.utils.errors import InputError
from drkd.utils.progress import tracked

MEMORY_LIMIT = 4 * 2**30
"""Decoded images of one split are kept in memory up to this many bytes."""

IN_FLIGHT = 512
"""Images that wait for threads at a time, so that a large set is not queued whole."""

Item = TypeVar("Item")
Result = TypeVar("Result")

Wanted = tuple[int, NDArray[np.float64] | None]
"""The position of an image, and the random numbers for a part of it (see `random_crops`), None for all of it."""

Pixels = NDArray[np.uint8] | Problem
"""An image (C, H, W), or why it cannot be read."""


@dataclass(frozen=True)
class LazyImages:
    """Images that are decoded when they are asked for, by several threads.

    Indexed with an integer tensor (B,), it gives uint8 (B, C, size, size), as a tensor of all images would. Images
    are scaled until the shorter side is `margin * size` long, by `interpolation` (`bilinear` or `bicubic`, with
    antialiasing), and cropped about their centre. `workers` is the number of threads, None for one per processor, 8 at
    most; it changes no image.
    """

    sources: Sequence[Source]
    size: int
    channels: int
    margin: float = 1.0
    workers: int | None = None
    interpolation: str = "bilinear"

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images together, (N, C, H, W)."""
        return (len(self.sources), self.channels, self.size, self.size)

    def __getitem__(self, index: Tensor) -> Tensor:
        sources = [self.sources[i] for i in index.tolist()]
        return decode_all(
            sources,
            self.size,
            self.channels,
            margin=self.margin,
            interpolation=self.interpolation,
            workers=self.workers,
        )

    def one_by_one(self, wanted: Iterable[Wanted], ahead: int) -> Generator[Pixels, None, None]:
        """Images (C, size, size) in the order in which they are `wanted`, at most `ahead` decoded before they are used.

        Threads never wait for the end of a batch. What cannot be read is served as its problem; see `stacked`.
        """

        def one(wanted: Wanted) -> Pixels:
            position, uniforms = wanted
            source = self.sources[position]
            try:
                return decode(source, self.size, self.channels, self.margin, uniforms, self.interpolation)
            except BadImageError as bad:
                return bad.problem

        return in_threads(one, wanted, self.workers, ahead)

    def select(self, index: Tensor) -> "LazyImages":
        """The same, for a part of the images."""
        return replace(self, sources=[self.sources[i] for i in index.tolist()])


def stacked(images: Iterable[Pixels]) -> Tensor:
    """Images of one shape as a tensor uint8 (B, C, H, W).

    Raises:
        InputError: that names all images that cannot be read.
    """
    found = list(images)
    _settle(((row, image if isinstance(image, Problem) else None) for row, image in enumerate(found)), None)
    return torch.from_numpy(np.stack([image for image in found if not isinstance(image, Problem)]))


def load_images(
    sources: Sequence[Source],
    size: int,
    channels: int = 3,
    *,
    margin: float = 1.0,
    interpolation: str = "bilinear",
    lazy: bool = False,
    failed: dict[int, Problem] | None = None,
    thorough: bool = False,
) -> Tensor | LazyImages:
    """Images as one uint8 tensor (N, C, size, size) where that fits `MEMORY_LIMIT`, else on demand.

    Args:
        sources: N files, or the bytes of N files.
        size: side length.
        channels: 1 for grey, 3 for colour.
        margin, interpolation: see `LazyImages`.
        lazy: on demand, whatever fits.
        failed: takes in what cannot be read, by position; without it, that is an error.
        thorough: decode images on demand once at the start, to find bad ones; otherwise only headers are read.

    Raises:
        InputError: that names what cannot be read, unless `failed` takes it in.
    """
    if not lazy and len(sources) * channels * size * size <= MEMORY_LIMIT:
        return decode_all(
            sources, size, channels, margin=margin, interpolation=interpolation, failed=failed, what="reading"
        )
    looked = in_threads(damage_of if thorough else _header, sources)
    _settle(enumerate(tracked(looked, "reading", len(sources), "images")), failed)
    return LazyImages(sources, size, channels, margin, interpolation=interpolation)


def common_size(sources: Sequence[Source]) -> int | None:
    """The side length that all images share, None if they differ or are not square. Reads headers only.

    Images that cannot be opened do not count; 0 if none can.
    """
    sizes = set()
    for source in sources:
        try:
            with opened(source) as image:
                sizes.add(image.size)
        except BadImageError:
            continue
        if len(sizes) > 1:
            return None
    width, height = next(iter(sizes), (0, 0))
    return int(width) if width == height else None


def random_crops(
    images: Tensor, index: Tensor, uniforms: NDArray[np.float64], interpolation: str = "bilinear"
) -> Tensor:
    """A random part of each image, scaled to the images' size: uint8 (B, C, size, size).

    Args:
        images: all images, in memory; those decoded on demand are cropped before they are scaled down.
        index: (B,) which images.
        uniforms: (B, 2 + 2 * ATTEMPTS) random numbers, see `drkd.data.augment.crop_box`.
        interpolation: see `LazyImages`.
    """
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resized_crop

    (height, width), kind = images.shape[2:], InterpolationMode(interpolation)
    crops = []
    for image, numbers in zip(images[index], uniforms, strict=True):
        left, top, wide, high = crop_box(numbers, width, height)
        crops.append(resized_crop(image, top, left, high, wide, [height, width], kind, antialias=True))
    return torch.stack(crops)


def decode_all(
    sources: Sequence[Source],
    size: int,
    channels: int = 3,
    *,
    margin: float = 1.0,
    interpolation: str = "bilinear",
    failed: dict[int, Problem] | None = None,
    workers: int | None = None,
    what: str = "",
) -> Tensor:
    """Decode into uint8 (N, C, size, size); an image of another size is scaled and cropped.

    About its centre, with `margin` around it. Progress is reported under the name `what`, if that is given.

    Raises:
        InputError: that names all images that cannot be read; where `failed` takes them in by position, they are
            black instead.
    """
    out = np.zeros((len(sources), channels, size, size), dtype=np.uint8)

    def fill(row: int) -> Problem | None:
        try:
            out[row] = decode(sources[row], size, channels, margin, None, interpolation)
        except BadImageError as bad:
            return bad.problem
        return None

    decoded: Iterable[Problem | None] = in_threads(fill, range(len(sources)), workers)
    if what:
        decoded = tracked(decoded, what, len(sources), "images")
    _settle(enumerate(decoded), failed)
    return torch.from_numpy(out)


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None, ahead: int = IN_FLIGHT
) -> Generator[Result, None, None]:
    """`function` of each item, in order, by several threads, or by this one for 0.

    The threads work on while the results are used, at most `ahead` items further; who stops early waits for the items
    that a thread has begun, not for the rest.
    """
    if workers == 0:
        yield from map(function, items)
        return
    rest = iter(items)
    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1))
    try:
        waiting = deque(pool.submit(function, item) for item in islice(rest, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def one_ahead(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """The same, each made by another thread while the previous one is used; none of them may be None."""
    with closing(items), ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _header(source: Source) -> Problem | None:
    try:
        opened(source).close()
    except BadImageError as bad:
        return bad.problem
    return None


def damage_of(source: Source) -> Problem | None:
    """What a whole look at an image shows that its header does not; None where it can be read."""
    try:
        with opened(source) as image:
            converted(image, source, 3)
    except BadImageError as bad:
        return bad.problem
    return None


def _settle(outcomes: Iterable[tuple[int, Problem | None]], failed: dict[int, Problem] | None) -> None:
    """Hand what went wrong to `failed`, or raise all of it."""
    bad = {row: problem for row, problem in outcomes if problem is not None}
    if failed is not None:
        failed.update(bad)
    elif bad:
        raise InputError(describe_problems(list(bad.values())))
