"""The samples of one split, out of whatever Python object holds them."""

import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from drkd.data.decoding import Source, converted, opened
from drkd.data.images import LazyImages, in_threads
from drkd.data.problems import BadImageError
from drkd.data.votes import split_votes
from drkd.utils.errors import InputError

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "pixel_values"), ("label", "labels", "fine_label")
"""What dictionaries and tables call an image and its label."""

GREY = ("1", "L", "LA", "I", "I;16", "I;16B")
"""Modes of Pillow without colour."""

REPEATED = 3
"""How many items are read twice, to find data sets that augment."""


@dataclass(frozen=True)
class Samples:
    """A split: `inputs` as in `Split`, `LazyImages` of size 0 where images have to be decoded yet.

    Attributes:
        inputs, labels, probs: of the samples, see `drkd.data.datasets.Split`.
        name: what they come from.
        classes: names, where they are known.
    """

    inputs: Tensor | LazyImages
    labels: Tensor
    probs: Tensor | None
    name: str
    classes: tuple[str, ...] | None = None


def is_array(thing: object) -> bool:
    """Whether it is a tensor or an array of numpy."""
    return isinstance(thing, Tensor | np.ndarray)


def is_source(thing: object) -> bool:
    """Whether it holds samples one by one: a data set of torch (map style) or of Hugging Face."""
    return (
        not is_array(thing)
        and not isinstance(thing, str | bytes)
        and all(hasattr(thing, name) for name in ("__getitem__", "__len__"))
    )


def read_samples(part: Any, split: str) -> Samples:
    """The samples of a split.

    Args:
        part: (inputs, labels), or a data set.
        split: its name, for messages.

    Raises:
        InputError: for anything else, and for inputs or labels that cannot be used.
    """
    if isinstance(part, tuple | list) and len(part) == 2 and is_array(part[0]):
        return _labelled(as_inputs(part[0], split), part[1], split, "tensors")
    if not is_source(part) or isinstance(part, Mapping):
        hint = "give its `dataset`" if hasattr(part, "dataset") else "give (inputs, labels) or a data set with a length"
        raise InputError(f"the {split} split cannot be read from {type(part).__name__}; {hint}")
    if not len(part):
        raise InputError(f"the {split} split is empty; leave it out")
    if hasattr(part, "features") and hasattr(part, "column_names"):
        return _of_table(part, split)
    if _is_plain_folder(part):
        sources: list[Source] = [Path(file) for file, _ in part.samples]  # no need to decode all
        return _labelled(_undecoded(sources), [label for _, label in part.samples], split, _name(part), _classes(part))
    return _of_items(part, split)


def _is_plain_folder(part: Any) -> bool:
    """Whether it is torchvision's `ImageFolder` and gives its files and their labels as they are."""
    folder: Any = sys.modules.get("torchvision.datasets.folder")  # an object of its class means that it is loaded
    return (
        folder is not None
        and isinstance(part, folder.DatasetFolder)
        and type(part).__getitem__ is folder.DatasetFolder.__getitem__
        and part.loader is folder.default_loader
        and part.transform is None
        and part.target_transform is None
    )


def _of_items(part: Any, split: str) -> Samples:
    """A data set of torch, item by item."""
    images, labels = [], []
    for number in range(len(part)):
        image, label = _pair(part[number], split)
        try:
            images.append(_array(image))
        except BadImageError as bad:
            raise InputError(f"item {number} of the {split} split {bad.problem.reason}") from bad
        labels.append(label)
        if number < REPEATED and not np.array_equal(images[-1], _array(_pair(part[number], split)[0])):
            raise InputError(
                f"item {number} of the {split} split differs each time it is read; leave random transforms "
                "out: drkd augments (augment=)"
            )
    if len({image.shape for image in images}) == 1:
        inputs = as_inputs(np.stack(images), split)
    else:
        inputs = _undecoded([as_png(as_inputs(image[None], split)) for image in images])
    return _labelled(inputs, labels, split, _name(part), _classes(part))


def _of_table(part: Any, split: str) -> Samples:
    """A data set of Hugging Face, by its columns."""
    features = dict(part.features)
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    image = _column(kinds, "Image", IMAGE_COLUMNS, split)
    label = _column(kinds, "ClassLabel", LABEL_COLUMNS, split)
    names = getattr(features[label], "names", None)
    classes = None if names is None else tuple(map(str, names))
    if hasattr(part, "with_format"):
        part = part.with_format(None)
    is_image = kinds[image] == "Image"
    if is_image:
        part = part.cast_column(image, type(features[image])(decode=False))
    images, labels = zip(*((row[image], row[label]) for row in part), strict=True)
    if None in images:
        raise InputError(f"row {images.index(None)} of the {split} split has no image; leave it out")
    inputs = _undecoded([_as_source(each) for each in images]) if is_image else as_inputs(np.stack(images), split)
    return _labelled(inputs, labels, split, _name(part), classes)


def _as_source(image: Mapping[str, Any]) -> Source:
    """The bytes of an image, or the file that has them."""
    data = image["bytes"]
    return Path(image["path"]) if data is None else bytes(data)


def _column(kinds: Mapping[str, str], kind: str, names: Sequence[str], split: str) -> str:
    """The column of a kind, or else by its name."""
    found = [name for name in kinds if kinds[name] == kind] or [name for name in names if name in kinds]
    chosen = found if len(found) == 1 else [name for name in names if name in found]
    if not chosen:
        columns = ", ".join(f"{name} ({of})" for name, of in kinds.items())
        wanted = {"Image": "an image", "ClassLabel": "a label, integers as `class_encode_column` makes them"}[kind]
        many = f"several columns that may be {wanted}" if found else f"no column with {wanted}"
        raise InputError(f"the {split} split has {many}: {columns}; name one `{names[0]}` with rename_column")
    return chosen[0]


def _pair(item: Any, split: str) -> tuple[Any, Any]:
    """Image and label of an item."""
    if isinstance(item, Mapping):
        columns = [next((name for name in names if name in item), None) for names in (IMAGE_COLUMNS, LABEL_COLUMNS)]
        if None not in columns:
            return item[columns[0]], item[columns[1]]
    elif isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    kind = f"a dictionary with {', '.join(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
    raise InputError(f"items of the {split} split must be (image, label), or have `image` and `label`, got {kind}")


def _array(image: Any) -> Any:
    """An image or a row as an array; of Pillow, as it is decoded from a file."""
    if isinstance(image, Image.Image):
        return np.asarray(converted(image.copy(), b"", 1 if image.mode in GREY else 3))
    return image.numpy(force=True) if isinstance(image, Tensor) else np.asarray(image)


def as_inputs(array: Any, split: str) -> Tensor | LazyImages:
    """Images as uint8 (N, C, H, W), undecoded where they are not square, or the rows of a table.

    Args:
        array: images uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), or floats in [0, 1] of the last two shapes; rows
            (N, F).
        split: for messages.

    Raises:
        InputError: for others.
    """
    try:
        values = (
            array.detach().cpu()
            if isinstance(array, Tensor)
            else torch.from_numpy(np.require(array, requirements=["C", "W"]))
        )
    except TypeError as reason:  # texts, and columns of several types
        raise InputError(f"the {split} inputs must be numbers, got an array of {array.dtype}; convert them") from reason
    shape, kind = tuple(values.shape), str(values.dtype).removeprefix("torch.")
    if values.dim() == 2 and values.dtype != torch.uint8:
        if values.is_floating_point() and not values.isfinite().all():
            raise InputError(f"the {split} inputs hold NaN or infinite values; fill or drop them")
        return values.float() if values.is_floating_point() else values  # as networks are
    if values.dim() == 3 and values.dtype == torch.uint8:
        values = values.unsqueeze(1)
    elif values.dim() == 4 and not (
        values.shape[1] in (1, 3) and (isinstance(array, Tensor) or shape[3] not in (1, 3))
    ):
        values = values.permute(0, 3, 1, 2) if shape[3] in (1, 3) else values
    if values.dim() != 4 or values.shape[1] not in (1, 3):
        raise InputError(
            f"the {split} images must be (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, or uint8 (N, H, W), got "
            f"{shape} of {kind}; for other inputs use drkd.from_tensors"
        )
    if values.is_floating_point():
        low, high = (float(end) for end in values.aminmax())
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"the {split} images are floats from {low:.3g} to {high:.3g} and must lie in [0, 1]; give uint8, or "
                "leave the normalisation out: drkd normalises. For other inputs use "
                "drkd.from_tensors"
            )
        values = values.mul(255).round().to(torch.uint8)
    if values.dtype != torch.uint8:
        raise InputError(f"the {split} images must be uint8 or floats in [0, 1], got {kind}")
    values = values.contiguous()
    return values if values.shape[2] == values.shape[3] else _undecoded([as_png(image[None]) for image in values])


def as_png(images: Tensor | LazyImages) -> Source:
    """One image (1, C, H, W) as a file, which is decoded as any other."""
    if isinstance(images, LazyImages):
        return images.sources[0]
    pixels = images[0].permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _undecoded(sources: Sequence[Source]) -> LazyImages:
    """Images that are decoded when their size is known; grey where all of them are."""

    def is_grey(source: Source) -> bool:
        try:
            with opened(source) as image:
                return image.mode in GREY
        except BadImageError:  # who decodes it reports it
            return True

    return LazyImages(sources, 0, 1 if all(in_threads(is_grey, sources)) else 3)


def _labelled(
    inputs: Tensor | LazyImages, labels: Any, split: str, name: str, classes: tuple[str, ...] | None = None
) -> Samples:
    """Inputs with their labels, checked."""
    try:
        values = labels if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels))
    except (TypeError, ValueError, RuntimeError) as reason:
        raise InputError(f"the {split} labels must be integers, got {type(labels[0]).__name__}: {reason}") from reason
    found, probs = split_votes(values.detach().cpu())
    if found.is_floating_point() or found.dtype == torch.bool or found.shape != (len(inputs),):
        raise InputError(
            f"the {split} labels must be integers ({len(inputs)},) or votes ({len(inputs)}, K), got "
            f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"
        )
    return Samples(inputs, found.long(), probs, name, classes)


def _name(part: Any) -> str:
    """What a data set is called: its own name, or its type's."""
    while hasattr(part, "dataset"):  # a part of another one
        part = part.dataset
    named = getattr(part, "builder_name", None) or type(part).__name__
    return str(named)


def _classes(part: Any) -> tuple[str, ...] | None:
    """The names of the classes, as torchvision keeps them."""
    while hasattr(part, "dataset"):
        part = part.dataset
    names = getattr(part, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) else None
