"""Data that are given as Python objects, as `drkd.load_data` reads those that are files."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drkd.data.augment import Augmentation
from drkd.data.augment_names import parse_augmentation
from drkd.data.datasets import VALIDATION, Data, Division, Split, divided
from drkd.data.files import SPLIT_FOLDERS
from drkd.data.images import LazyImages, common_size, load_images
from drkd.data.listing import judge_classes
from drkd.data.preprocessing import Preprocessing, scaled
from drkd.data.problems import refuse
from drkd.data.readers import DIFFER, MIXED_SIZE, Raw
from drkd.data.record import fingerprint
from drkd.data.samples import Samples, is_array, is_source, read_samples
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.objects import PREFIX, Objects, find_object, short_name

KINDS = (
    "a data set of torch, torchvision or Hugging Face, (images, labels), a list of pairs (image, label), or a "
    "dictionary of these by split: train, and test or val"
)
"""What is taken, for messages."""

SPLIT_OF = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}


@dataclass(eq=False)
class GivenData:
    """A data set that was given, read but neither scaled nor divided.

    Attributes:
        name: what it is called.
        raw: its images and labels. Images that still have to be decoded are `LazyImages`, of size 0 where they have
            none of their own.
    """

    name: str
    raw: Raw
    _decoded: dict[Preprocessing, Raw] = field(default_factory=dict, repr=False)

    @cached_property
    def key(self) -> str:
        """Its name among the options, with a hash of all it holds."""
        raw = self.raw
        digest = hashlib.sha256(repr((raw.classes, raw.augmentation, raw.statistics, raw.margin)).encode())
        for split, (images, labels) in raw.splits.items():
            digest.update(f"{split} {fingerprint(Split(images, labels))} {labels.tolist()};".encode())
            if split in raw.probs:
                digest.update(repr(raw.probs[split].tolist()).encode())
        return f"{PREFIX}{Path(self.name).name}-{digest.hexdigest()[:12]}"

    @property
    def are_images(self) -> bool:
        """Whether they are images, and no rows of a table."""
        return _are_images(self.raw)

    def describe(self) -> str:
        """What it holds, in a phrase."""
        inputs = self.raw.splits["train"][0]
        shape = "x".join(str(side) for side in inputs.shape[1:]) if min(inputs.shape[1:]) else "of files"
        parts = ", ".join(f"{split} {len(labels)}" for split, (_, labels) in self.raw.splits.items())
        what = "images" if self.are_images else "rows"
        return f"{self.name}: {parts} {what} {shape}, {len(self.raw.classes)} classes, {self.key.rpartition('-')[2]}"

    def read(self, wanted: Preprocessing) -> Raw:
        """The same with images as they are wanted; those that have to be decoded are decoded once."""
        if not self.are_images:
            if wanted.image_size is not None:
                raise InputError(f"{self.name} holds rows, not images: leave the image size out")
            return self.raw
        if wanted not in self._decoded:
            raw = self.raw
            known = replace(wanted, image_size=wanted.image_size or _own_size(raw))
            splits = {split: (_as_wanted(images, known), labels) for split, (images, labels) in raw.splits.items()}
            margin, interpolation = wanted.margin or raw.margin, wanted.interpolation or raw.interpolation
            self._decoded[wanted] = replace(raw, splits=splits, margin=margin, interpolation=interpolation)
        return self._decoded[wanted]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_decoded": {}}


def as_data(
    source: Any,
    *,
    seed: int = 0,
    validation: float = VALIDATION,
    limit_train: int | None = None,
    limit_test: int | None = None,
    label_noise: float = 0.0,
    image_size: int | Preprocessing | None = None,
    augment: str | None = None,
) -> Data:
    """Make data of drkd from Python objects, divided for the run with `seed` as `load_data` divides files.

    `drkd.fit`, `drkd.compare` and `drkd.tune` take the same objects and do this themselves.

    Args:
        source: what holds the samples: a data set of torch or torchvision with (image, label) or a dictionary per
            item, or a list of such items; one of Hugging Face `datasets` with an image and a label column; or (inputs,
            labels), as tensors or numpy arrays. For several splits a dictionary such as `{"train": ..., "test": ...}`,
            with `val` where there is one, which may name the `classes` too; or (train, test), or (train, val, test). A
            `Data` keeps its own splits, and holds out a validation split only where it has none. Images are uint8
            (N, H, W), (N, H, W, C) or (N, C, H, W), floats of the last two shapes in [0, 1], which become 8 bits, or
            of PIL. Inputs (N, F) are rows of a table. Labels are integers from 0 on, or votes (N, K).
        seed, validation, limit_train, limit_test, label_noise, image_size, augment: as in `load_data`. Without a test
            split 20% are held out, the same for every seed. Images are augmented by `crop_flip` by default, rows never.

    Raises:
        InputError: for other objects, splits that do not fit each other, and labels that are no classes.

    Example:
        >>> images, labels = torch.zeros(100, 28, 28, dtype=torch.uint8), torch.arange(100) % 5
        >>> data = as_data((images, labels))
        >>> len(data.train), len(data.val), len(data.test), data.channels, data.image_size
        (72, 8, 20, 1, 28)
    """
    check_arguments(as_data, {name: value for name, value in locals().items() if name != "source"})
    given = give(source)
    Objects({given.key: given}).make_known()
    how = Division(seed, validation, limit_train, limit_test, label_noise)
    return divide_given(given, image_size, how, augment)


def as_trainable(data: Any, seed: int) -> Any:
    """Data of drkd, of whatever task, as they are; other objects as `as_data` makes them."""
    return data if isinstance(data, Data) or hasattr(data, "learner_type") else as_data(data, seed=seed)


def divide_given(given: GivenData, image_size: int | Preprocessing | None, how: Division, augment: str | None) -> Data:
    """Given data, divided for a run; see `as_data`."""
    wanted = image_size if isinstance(image_size, Preprocessing) else Preprocessing(image_size)
    if augment not in (None, "none") and not given.are_images:
        raise InputError(f"{given.name} holds rows, not images: leave the augmentation out")
    chosen = None if augment is None else parse_augmentation(augment)
    if not given.are_images and isinstance(image_size, Preprocessing):
        wanted = Preprocessing()  # what a network says of its images does not concern its rows
    raw = given.read(replace(wanted, mean=None, std=None))
    return divided(given.key, raw, wanted, how, augmentation=chosen, files={})


def find_given(name: str) -> GivenData:
    """The data that options name by `object:NAME-HASH`.

    Raises:
        InputError: if this process does not know them.
    """
    found = find_object(name)
    if not isinstance(found, GivenData):
        raise InputError(
            f"the data {name} were given as Python objects, so drkd cannot find them by name; pass them again: "
            "drkd.as_data(...) in Python, then everything that reads the run finds them"
        )
    return found


def give(source: Any) -> GivenData:
    """Read what `as_data` takes."""
    if isinstance(source, GivenData):
        return source
    if isinstance(source, Data):
        return GivenData(short_name(source.name), _of_data(source))
    parts, classes = _parts(source)
    read = {split: read_samples(part, split) for split, part in parts.items()}
    first = read["train"]
    return GivenData(first.name, _raw(read, classes or first.classes))


def _parts(source: Any) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """What holds each split, and the classes where they are named."""
    if isinstance(source, Mapping):
        known = {str(name): part for name, part in source.items()}
        classes = known.pop("classes", None)
        if unknown := [name for name in known if name not in SPLIT_OF]:
            raise InputError(f"splits are called train, val and test, got {unknown[0]!r}; rename it or leave it out")
        parts = {SPLIT_OF[name]: part for name, part in known.items()}
        if "train" not in parts:
            raise InputError(f"data need a training split, got {', '.join(parts) or 'none'}; name one train")
        return parts, None if classes is None else tuple(map(str, classes))
    if isinstance(source, tuple | list):
        if len(source) == 2 and is_array(source[0]):
            return {"train": source}, None
        if len(source) in (2, 3):
            names = ("train", "val", "test") if len(source) == 3 else ("train", "test")
            return dict(zip(names, source, strict=True)), None
        return {"train": source}, None
    if is_source(source):
        return {"train": source}, None
    hint = "; load_data reads names and paths" if isinstance(source, str | Path) else ""
    raise InputError(f"expected {KINDS}; got {type(source).__name__}{hint}")


def _raw(read: Mapping[str, Samples], classes: tuple[str, ...] | None) -> Raw:
    """The splits together, checked."""
    splits = {split: (samples.inputs, samples.labels) for split, samples in read.items()}
    probs = {split: samples.probs for split, samples in read.items() if samples.probs is not None}
    first = splits["train"][0]
    for split, (inputs, labels) in splits.items():
        mixed = isinstance(inputs, LazyImages) or isinstance(first, LazyImages)
        if inputs.shape[1:] != first.shape[1:] and not mixed:
            ours, theirs = tuple(inputs.shape[1:]), tuple(first.shape[1:])
            raise InputError(f"the {split} inputs have the shape {ours}, those of the training split {theirs}")
        if isinstance(inputs, Tensor) and isinstance(first, Tensor) and inputs.dtype != first.dtype:
            raise InputError(f"the {split} inputs are {inputs.dtype}, those of the training split {first.dtype}")
        if not len(labels):
            raise InputError(f"the {split} split is empty; leave it out")
    widths = {each.shape[1] for each in probs.values()}
    highest = max(int(labels.max()) for _, labels in splits.values())
    names = classes or tuple(str(number) for number in range(max(widths, default=highest + 1)))
    if widths - {len(names)}:
        raise InputError(f"votes must be (N, {len(names)}), a column for each class, got {sorted(widths)} columns")
    for split, (_, labels) in splits.items():
        if int(labels.min()) < 0 or int(labels.max()) >= len(names):
            found = f"{int(labels.min())} to {int(labels.max())}"
            raise InputError(
                f"the {split} labels must be from 0 to {len(names) - 1}, got {found}; leave a split without labels out"
            )
    if len(names) < 2:
        raise InputError(f"data need at least 2 classes, got {len(names)}")
    if problem := judge_classes("the training split", "train", names, splits["train"][1].tolist()):
        refuse(problem)
    channels = {inputs.channels for inputs, _ in splits.values() if isinstance(inputs, LazyImages)}
    channels |= {inputs.shape[1] for inputs, _ in splits.values() if isinstance(inputs, Tensor) and _is_image(inputs)}
    if len(channels) > 1:  # grey images beside colour ones, in files
        splits = {split: (_in_colour(inputs), labels) for split, (inputs, labels) in splits.items()}
    raw = Raw(names, splits, probs=probs)
    return raw if _are_images(raw) else _unscaled(raw)


def _of_data(data: Data) -> Raw:
    """What a `Data` holds, divided as it is."""
    parts = {split: getattr(data, split) for split in ("train", "val", "test")}
    splits = {split: (part.inputs, part.labels) for split, part in parts.items() if len(part)}
    probs = {split: parts[split].probs for split in splits if parts[split].probs is not None}
    raw = Raw(tuple(data.classes), splits, data.augmentation, (tuple(data.mean), tuple(data.std)), probs=probs)
    raw = replace(raw, margin=data.margin, interpolation=data.interpolation)
    return raw if _are_images(raw) else _unscaled(raw)


def _unscaled(raw: Raw) -> Raw:
    """Rows that are neither scaled nor augmented; model files have a mean for each of the first dimension."""
    width = int(raw.splits["train"][0].shape[1])
    return replace(raw, augmentation=Augmentation(), statistics=((0.0,) * width, (1.0,) * width))


def _are_images(raw: Raw) -> bool:
    inputs = raw.splits["train"][0]
    return isinstance(inputs, LazyImages) or _is_image(inputs)


def _is_image(inputs: Tensor) -> bool:
    return inputs.dtype == torch.uint8


def _in_colour(inputs: Tensor | LazyImages) -> Tensor | LazyImages:
    if isinstance(inputs, LazyImages):
        return replace(inputs, channels=3)
    return inputs.expand(-1, 3, -1, -1).contiguous() if inputs.shape[1] == 1 else inputs


def _own_size(raw: Raw) -> int:
    """The side length that all images share; `MIXED_SIZE` where they differ or are not square."""
    inputs = [images for images, _ in raw.splits.values()]
    undecoded = [
        source for images in inputs if isinstance(images, LazyImages) and not images.size for source in images.sources
    ]
    sizes = {int(images.shape[-1]) for images in inputs} - {0}
    sizes |= {common_size(undecoded) or 0} if undecoded else set()
    if len(sizes) == 1 and min(sizes):
        return min(sizes)
    warnings.warn(DIFFER, stacklevel=6)
    return MIXED_SIZE


def _as_wanted(images: Tensor | LazyImages, wanted: Preprocessing) -> Tensor | LazyImages:
    """Images scaled and cropped; those that are not decoded yet are decoded where they fit into memory."""
    if isinstance(images, Tensor):
        return scaled(images, wanted)
    size = wanted.image_size or images.size
    margin, interpolation = wanted.margin or images.margin, wanted.interpolation or images.interpolation
    if images.size:
        return replace(images, size=size, margin=margin, interpolation=interpolation)
    return load_images(images.sources, size, images.channels, margin=margin, interpolation=interpolation)
