"""What an image is known by, whatever else is in its data set: a digest of its content, or of the file it is in."""

import hashlib
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from drkd.data.datasets import Split
from drkd.data.images import LazyImages
from drkd.utils.hashing import raw_bytes

WIDTH = 16
"""Bytes of a key."""


def image_keys(split: Split) -> NDArray[np.void]:
    """A key of 16 bytes for each sample of a split: equal where the network gets the same image before normalisation.

    Of images in memory it is a digest of their pixels. Of images still in files it is one of the path, size and
    modification time, or of the file's bytes where those are in memory, with how the images are to be decoded.

    Example:
        >>> import torch
        >>> same = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
        >>> len(np.unique(image_keys(Split(same, torch.tensor([0, 1])))))
        1
    """
    digests = _of_sources(split.inputs) if isinstance(split.inputs, LazyImages) else _of_pixels(split.inputs)
    return np.frombuffer(b"".join(digests), dtype=f"V{WIDTH}")


def _of_pixels(inputs: Tensor) -> list[bytes]:
    about = f"{tuple(inputs.shape[1:])} {inputs.dtype}".encode()
    return [hashlib.sha256(about + raw_bytes(one)).digest()[:WIDTH] for one in inputs]


def _of_sources(images: LazyImages) -> list[bytes]:
    how = {part.name: getattr(images, part.name) for part in fields(images) if part.name not in ("sources", "workers")}
    digests = []
    for source in images.sources:
        digest = hashlib.sha256(str(how).encode())
        if isinstance(source, bytes):
            digest.update(source)
        else:
            status = source.stat()
            digest.update(f"{source.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
        digests.append(digest.digest()[:WIDTH])
    return digests
