"""Folds: parts of the images that have labels to learn from, each left out of a training of its own."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from drkd.data.by_name import fraction_of
from drkd.data.datasets import Data, Split
from drkd.data.decoding import Source
from drkd.data.images import LazyImages
from drkd.data.keys import image_keys
from drkd.data.record import rows_hash, with_splits
from drkd.data.samples import as_png
from drkd.utils.errors import InputError


def fold_numbers(data: Data, folds: int, draw: int = 0, *, of_train: bool = False) -> Tensor:
    """Which fold each image of the training and the validation split, one after the other, belongs to.

    An image's fold is drawn by a hash of its content, or of its file's name where contents were not hashed: it does
    not depend on the other images, and copies of an image share a fold.

    Args:
        data: images of both splits.
        folds: how many there are.
        draw: other numbers give other folds.
        of_train: of the training split alone.

    Returns:
        int64 (N,), from 1 to `folds`.

    Example:
        >>> from drkd.data import load_data
        >>> numbers = fold_numbers(load_data("digits"), 5)
        >>> len(numbers), numbers.bincount().tolist()
        (1437, [0, 291, 312, 265, 272, 297])
    """
    keys = [*_keys(data, data.train), *([] if of_train else _keys(data, data.val))]
    return torch.tensor([int(fraction_of(key, f"fold {draw}") * folds) + 1 for key in keys])


def leave_out(data: Data, fold: int, folds: int, draw: int = 0, of_train: bool = False) -> Data:
    """`data` whose validation split is a fold, and whose training split is all the rest of both.

    With `of_train` the training split is divided alone: what a fold leaves out is in no split, and the validation
    split stays as it is.

    Args:
        data: images of both splits.
        fold: from 1 to `folds`; 0 leaves none out.
        folds, draw, of_train: as for `fold_numbers`.

    Raises:
        InputError: where nothing is left out, or too little is left to train on.

    Example:
        >>> from drkd.data import load_data
        >>> data = leave_out(load_data("digits"), 1, 5)
        >>> len(data.train), len(data.val), len(data.test)
        (1146, 291, 360)
    """
    number = fold_numbers(data, folds, draw, of_train=of_train)
    out, count = number == fold, len(data.train)
    if of_train:
        train, val = data.train.select(~out), data.val
    else:
        train, val = (
            joined([data.train.select(chosen[:count]), data.val.select(chosen[count:])]) for chosen in (~out, out)
        )
    classes = len(set(train.labels.tolist()))
    if fold and (not out.any() or classes < 2):
        raise InputError(
            f"fold {fold} of {folds} has {int(out.sum())} of {len(number)} images, and {classes} classes are left to "
            "train on; add images, or choose another number of folds"
        )
    splits = {"train": train, "val": val, "test": data.test}
    record = data.record
    if record is not None:
        files = with_splits(record.files, {name: split.names for name, split in splits.items()})
        record = replace(record, files=files, rows=rows_hash(splits) if record.rows else "")
    return replace(data, train=train, val=val, record=record)


def _keys(data: Data, split: Split) -> list[str]:
    """What is hashed of each image."""
    if not split.names:
        return [key.tobytes().hex() for key in image_keys(split)]
    files = {} if data.record is None else data.record.files
    return [(files[name].content if name in files else None) or name for name in split.names]


def joined(parts: list[Split]) -> Split:
    """Splits of one data set as one."""
    images = next((part.inputs for part in parts if isinstance(part.inputs, LazyImages)), None)
    tensors: list[Tensor] = [part.inputs for part in parts if isinstance(part.inputs, Tensor)]
    sources = [source for part in parts for source in _sources(part.inputs)] if images is not None else []
    inputs = torch.cat(tensors) if images is None else replace(images, sources=sources)
    voted = next((part.probs for part in parts if part.probs is not None), None)
    probs = None if voted is None else torch.cat([_votes(part, voted) for part in parts])
    names, origins = ([each for part in parts for each in getattr(part, known)] for known in ("names", "origins"))
    labels = torch.cat([part.labels for part in parts])
    return Split(inputs, labels, names, probs, origins)


def _votes(part: Split, like: Tensor) -> Tensor:
    """The distributions of a split, one-hot where nobody voted."""
    return F.one_hot(part.labels, like.shape[1]).to(like.dtype) if part.probs is None else part.probs


def _sources(inputs: Tensor | LazyImages) -> Sequence[Source]:
    """Images as files; those in memory stand beside others that are too many for it."""
    return inputs.sources if isinstance(inputs, LazyImages) else [as_png(image[None]) for image in inputs]
