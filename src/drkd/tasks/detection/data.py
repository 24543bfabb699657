"""Folders of images with boxes, read and divided into splits for a training."""

import os
import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from drkd.data import shapes
from drkd.data.by_name import draw_by_name, warn_without_validation
from drkd.data.files import is_hidden, is_image
from drkd.data.images import MEMORY_LIMIT, in_threads
from drkd.data.own_output import is_own_output
from drkd.data.problems import BadImageError, OnProblem, Problem, describe_errors
from drkd.data.record import DataRecord, FileRecord, record_files, relative_name, with_splits
from drkd.data.shapes import is_shapes
from drkd.tasks.detection.annotations import Annotated, Annotations
from drkd.tasks.detection.augment import parse_augmentation
from drkd.tasks.detection.dataset import DetectionData
from drkd.tasks.detection.made import read_shapes
from drkd.tasks.detection.networks import SIZE
from drkd.tasks.detection.reading import read_annotations, upright_size
from drkd.tasks.detection.splits import DetectionSplit, Images, counted_boxes, decode, scaled
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.hashing import file_hash

TEST_PART = 0.2
"""Part of the images that becomes the test split where the folder has neither `val` nor `test`.

Each image by a hash of its name, as images are drawn for validation by a hash of the name and the seed.
"""

OF_THE_FOLDER = ("empty split", "duplicate")
"""Problems that `skip_bad_images` does not pass over."""

ANNOTATION_SUFFIXES = {".xml", ".json", ".txt", ".yaml", ".yml"}


def load_detection(
    name: str | Path,
    *,
    seed: int = 0,
    validation: float = 0.1,
    limit_train: int | None = None,
    limit_test: int | None = None,
    image_size: int | None = None,
    augment: str | None = None,
    skip_bad_images: bool = False,
) -> DetectionData:
    """Images with boxes from a folder in Pascal VOC, COCO or YOLO layout.

    Args:
        name: the folder, see docs/detection.md; or `shapes`, made images that are embedded.
        seed: of the validation split, where the folder has none, and of the limits.
        validation: part of the training split held out where the folder has no `val`, or no `test`: then its `val` is
            the test split; 0 holds none out, and leaves the folder's own aside.
        limit_train, limit_test: the most images to keep, drawn by `seed`; the test split's are always the same.
        image_size: see `create_detector`; images are scaled down to it once.
        augment: `flip` (default), `none`, `ssd` and others, see `drkd.tasks.detection.augment`.
        skip_bad_images: leave out images that cannot be read or whose boxes are wrong.

    Raises:
        InputError: for a folder that cannot be used; it lists every problem with its file.

    Example:
        >>> import json, tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in range(10):
        ...         Image.new("RGB", (640, 480)).save(f"{folder}/{name}.png")
        ...     content = {
        ...         "images": [{"id": name, "file_name": f"{name}.png"} for name in range(10)],
        ...         "annotations": [{"image_id": n, "category_id": 1, "bbox": [64, 64, 32, 32]} for n in range(10)],
        ...         "categories": [{"id": 1, "name": "cell"}],
        ...     }
        ...     _ = Path(folder, "boxes.json").write_text(json.dumps(content))
        ...     data = load_detection(folder, image_size=240)
        >>> len(data.train), len(data.val), len(data.test), data.classes, data.test.targets[0]["boxes"]
        (7, 2, 1, ('cell',), tensor([[32., 32., 48., 48.]]))
    """
    check_arguments(load_detection, locals())
    flip, operations = parse_augmentation("flip" if augment is None else augment)
    embedded = is_shapes(name)
    size = image_size or (shapes.SIZE if embedded else SIZE)
    files = list_files(name)
    found, problems, splits = _read(str(name), size, f"{Path(name).resolve()} {DataRecord((), files).fingerprint}")
    errors = [each for each in problems if each.severity == "error"]
    if fatal := [each for each in errors if not skip_bad_images or each.kind in OF_THE_FOLDER]:
        raise InputError(describe_errors(fatal))
    if errors:
        warnings.warn(f"left out: {describe_errors(errors)}", stacklevel=2)
    for each in problems:
        if each.severity == "warning" and each.kind != "no boxes":
            warnings.warn(str(each), stacklevel=2)
    if empty := sum(each.kind == "no boxes" for each in problems):
        warnings.warn(f"{empty} images of {name} have no boxes: everything on them is background", stacklevel=2)
    if not found.classes:
        raise InputError(f"{name} has no boxes in its training split; there is nothing to learn")
    parts = _divide(splits, validation, seed)
    for split, most, by in (("train", limit_train, seed), ("test", limit_test, 0)):
        if most is not None:
            if most > len(parts[split]):
                there = len(parts[split])
                raise InputError(f"the limit of {most} {split} images exceeds the {there} there are; lower it")
            parts[split] = parts[split].select(_drawn(len(parts[split]), by)[:most])
    for split in ("val", "test"):
        if len(parts[split]) and not any(counted_boxes(target) for target in parts[split].targets):
            raise InputError(
                f"the {split} split of {name} has {len(parts[split])} images, but no box to measure against (crowds "
                "and difficult objects do not count); add boxes, or leave the split out"
            )
    skipped = {split: found.skipped.get(split, 0) for split in ("train", "val", "test")} if errors else {}
    names = {split: _names(part, Path(name)) for split, part in parts.items()}
    return DetectionData(
        str(name),
        found.classes,
        size,
        parts["train"],
        parts["val"],
        parts["test"],
        flip=flip,
        operations=operations,
        skipped_images=skipped,
        record=DataRecord(found.classes, with_splits(files, names), shapes.rows_of(names) if embedded else ""),
    )


def list_files(name: str | Path) -> dict[str, FileRecord]:
    """The images and annotations below a folder: sizes, and a hash of what annotations say. Nothing is decoded."""
    root = Path(name)
    found: dict[Path, int | str | None] = {}
    for folder, below, names in os.walk(root):
        below[:] = [each for each in below if not is_hidden(each) and not is_own_output(Path(folder, each))]
        for path in (Path(folder, each) for each in names if not each.startswith(".")):
            kind = path.suffix.lower()
            if path.is_file() and (is_image(path) or kind in ANNOTATION_SUFFIXES):
                found[path] = file_hash(path)[:16] if kind in ANNOTATION_SUFFIXES else None
    return record_files(found, root)


@lru_cache(maxsize=2)
def _read(name: str, size: int, listed: str) -> tuple[Annotations, list[Problem], dict[str, DetectionSplit]]:
    """A folder's own splits, decoded once for all the trainings of a process, and what is wrong with it."""
    del listed  # other files, or files that have changed, are read again
    problems: list[Problem] = []
    if is_shapes(name):
        found, splits = read_shapes(size)
        return found, problems, splits
    found = read_annotations(Path(name), problems.append)
    splits = {split: _load(part, found.classes, size, problems.append) for split, part in found.splits.items()}
    damaged = {split: len(part) - len(splits[split]) for split, part in found.splits.items()}
    skipped = {split: found.skipped[split] + count for split, count in damaged.items()}
    return replace(found, skipped=skipped), problems, splits


def _load(part: list[Annotated], classes: tuple[str, ...], size: int, on_problem: OnProblem) -> DetectionSplit:
    """A split with its boxes scaled; images that turn out to be damaged are reported and left out."""
    sizes = {one.image: upright_size(one.image) for one in part}
    sizes_there = {file: scaled(*shape, size) for file, shape in sizes.items()}
    decoded: list[Tensor] | None = None
    if sum(3 * wide * high for wide, high in sizes_there.values()) <= MEMORY_LIMIT:
        tried = list(in_threads(lambda one: _attempt(one.image, size, on_problem), part))
        part = [one for one, image in zip(part, tried, strict=True) if image is not None]
        decoded = [image for image in tried if image is not None]
    targets = []
    for one in part:
        (width, height), (wide, high) = sizes[one.image], sizes_there[one.image]
        boxes = torch.tensor(one.boxes, dtype=torch.float32).reshape(-1, 4)
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width) * (wide / width)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height) * (high / height)
        labels = torch.tensor([classes.index(name) + 1 for name in one.names], dtype=torch.int64)
        crowds = {"iscrowd": torch.tensor(one.ignored, dtype=torch.int64)} if any(one.ignored) else {}
        targets.append({"boxes": boxes, "labels": labels, **crowds})
    return DetectionSplit(Images([one.image for one in part], size, decoded), targets)


def _attempt(file: Path, size: int, on_problem: OnProblem) -> Tensor | None:
    try:
        return decode(file, size)
    except BadImageError as bad:
        on_problem(bad.problem)
        return None


def _divide(own: dict[str, DetectionSplit], validation: float, seed: int) -> dict[str, DetectionSplit]:
    """Training, validation and test splits from those that the folder has."""
    splits = dict(own)
    if "test" not in splits:
        if "val" in splits:
            splits["test"] = splits.pop("val")
        else:
            splits["train"], splits["test"] = _held_out(splits["train"], TEST_PART, "test")
            if not len(splits["test"]) or not len(splits["train"]):
                raise InputError(
                    f"{len(own['train'])} images are too few to be divided: {TEST_PART:.0%} of them are drawn for "
                    f"testing by a hash of each file's name, which takes {len(splits['test'])} here; add images, or "
                    "give the folder a test split"
                )
    if "val" not in splits:
        train, held = _held_out(splits["train"], validation, f"validation {seed}")
        if not len(train):
            train, held = held, train
        if validation and not len(held):
            warn_without_validation(seed, validation, len(train))
        splits["train"], splits["val"] = train, held
    elif validation == 0:
        splits["val"] = splits["val"].select([])
    return {name: splits[name] for name in ("train", "val", "test")}


def _held_out(split: DetectionSplit, part: float, draw: str) -> tuple[DetectionSplit, DetectionSplit]:
    """The rest of a split, and about `part` of it, image by image."""
    rest, taken = draw_by_name([file.name for file in split.images.files], part, draw)
    return split.select(rest.tolist()), split.select(taken.tolist())


def _names(split: DetectionSplit, root: Path) -> list[str]:
    return [relative_name(file, root) for file in split.images.files]


def _drawn(count: int, seed: int) -> list[int]:
    order: list[int] = np.random.default_rng([seed, count]).permutation(count).tolist()
    return order
