"""Folders of images with masks, read and divided into splits for a training."""

import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from drkd.data import shapes
from drkd.data.by_name import divided_by_name, limited_by_name
from drkd.data.images import MEMORY_LIMIT, in_threads
from drkd.data.preprocessing import Preprocessing
from drkd.data.problems import BadImageError, OnProblem, Problem, describe_errors
from drkd.data.record import DataRecord, relative_name, with_splits
from drkd.data.shapes import is_shapes
from drkd.tasks.detection.data import list_files
from drkd.tasks.segmentation.augment import DEFAULT, parse_pair_augmentation
from drkd.tasks.segmentation.dataset import SegmentationData
from drkd.tasks.segmentation.judging import Looked, judge_masks, name_classes, values_of
from drkd.tasks.segmentation.made import read_shapes
from drkd.tasks.segmentation.masks import Pair, look_at
from drkd.tasks.segmentation.networks import SIZE
from drkd.tasks.segmentation.reading import Listed, list_pairs
from drkd.tasks.segmentation.splits import MEAN, STD, SegmentationSplit
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.progress import tracked

OF_THE_FOLDER = ("empty split", "wrong classes", "damaged file", "duplicate")
"""Problems that `skip_bad_images` does not pass over."""


def load_segmentation(
    name: str | Path,
    *,
    seed: int = 0,
    validation: float = 0.1,
    limit_train: int | None = None,
    limit_test: int | None = None,
    image_size: int | Preprocessing | None = None,
    augment: str | None = None,
    skip_bad_images: bool = False,
) -> SegmentationData:
    """Images with masks from a folder; see `drkd.tasks.segmentation.reading` for the layouts.

    Args:
        name: the folder; or `shapes`, made images that are embedded.
        seed, validation: of the validation split where the folder has none, or no `test`: then its `val` is the test
            split. Drawn image by image by a hash of path and seed; 0 for none.
        limit_train, limit_test: the most images to keep, those with the lowest hash.
        image_size: images are scaled until their longer side is so long, and padded to a square (256); or as a network
            wants them.
        augment: see `drkd.tasks.segmentation.augment`; scale_crop+flip by default.
        skip_bad_images: leave out images that cannot be read or whose masks are wrong.

    Raises:
        InputError: for a folder that cannot be used; it lists every problem with its file.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for kind, mode in (("images", "RGB"), ("masks", "L")):
        ...         Path(folder, kind).mkdir()
        ...         for number in range(10):
        ...             image = Image.new(mode, (8, 4))
        ...             image.paste(1, (0, 0, 4, 4)) if mode == "L" else None
        ...             image.save(f"{folder}/{kind}/{number}.png")
        ...     data = load_segmentation(folder, image_size=8, validation=0)
        >>> len(data.train) + len(data.test), data.classes, data.test[0][1][0].tolist()
        (10, ('0', '1'), [1, 1, 1, 1, 0, 0, 0, 0])
    """
    check_arguments(load_segmentation, locals())
    augmentation = parse_pair_augmentation(augment or DEFAULT)
    wanted = image_size if isinstance(image_size, Preprocessing) else Preprocessing(image_size)
    embedded = is_shapes(name)
    size = wanted.image_size or (shapes.SIZE if embedded else SIZE)
    files = list_files(name)
    listed, problems, own = _read(str(name), size, f"{Path(name).resolve()} {DataRecord((), files).fingerprint}")
    errors = [each for each in problems if each.severity == "error"]
    if fatal := [each for each in errors if not skip_bad_images or each.kind in OF_THE_FOLDER]:
        raise InputError(describe_errors(fatal))
    if errors:
        warnings.warn(f"left out: {describe_errors(errors)}", stacklevel=2)
    for each in problems:
        if each.severity == "warning" and each.kind != "empty mask":
            warnings.warn(str(each), stacklevel=2)
    if empty := sum(each.kind == "empty mask" for each in problems):
        warnings.warn(f"{empty} masks of {name} show class 0 alone, or no pixel that counts", stacklevel=2)
    if len(listed.classes) < 2:
        raise InputError(
            f"{name} needs masks of at least 2 classes, got the values of {len(listed.classes)}; 255 is for ignored "
            "pixels, and classes are counted from 0"
        )
    splits = divided_by_name(own, validation, seed)
    for split, most, draw in (("train", limit_train, f"limit {seed}"), ("test", limit_test, "limit 0")):
        if most is not None:
            splits[split] = limited_by_name(splits[split], most, draw, split)
    images = {split: [relative_name(pair.image, Path(name)) for pair in part.pairs] for split, part in splits.items()}
    mean, std = wanted.statistics(3) or (MEAN, STD)
    return SegmentationData(
        str(name),
        listed.classes,
        size,
        splits["train"],
        splits["val"],
        splits["test"],
        augmentation=augmentation,
        mean=mean,
        std=std,
        skipped_images={split: listed.skipped.get(split, 0) for split in splits} if errors else {},
        record=DataRecord(listed.classes, with_splits(files, images), shapes.rows_of(images) if embedded else ""),
    )


@lru_cache(maxsize=2)
def _read(name: str, size: int, content: str) -> tuple[Listed, list[Problem], dict[str, SegmentationSplit]]:
    """A folder's own splits, decoded once for all the trainings of a process, and what is wrong with it."""
    del content  # other files, or files that have changed, are read again
    problems: list[Problem] = []
    if is_shapes(name):
        listed, splits = read_shapes(size)
        return listed, problems, splits
    listed = list_pairs(Path(name), problems.append)
    looked: dict[str, list[Looked]] = {}
    decoded: dict[str, tuple[Tensor, Tensor] | None] = {}
    for split, part in listed.splits.items():
        looked[split], decoded[split] = _decode(part, size)
    classes = name_classes(listed.classes, looked["train"])
    splits = {}
    skipped = dict(listed.skipped)
    for split, part in listed.splits.items():
        rows = judge_masks(part, looked[split], classes, problems.append)
        splits[split] = SegmentationSplit(part, size, decoded[split]).select(torch.tensor(rows, dtype=torch.long))
        skipped[split] = skipped.get(split, 0) + len(part) - len(rows)
        if part and not rows:
            _no_images(name, split, problems.append)
    return replace(listed, classes=classes, skipped=skipped), problems, splits


def _no_images(name: str, split: str, on_problem: OnProblem) -> None:
    on_problem(Problem("error", name, f"has no images in the {split} split that can be used", "empty split"))


def _decode(part: list[Pair], size: int) -> tuple[list[Looked], tuple[Tensor, Tensor] | None]:
    """A look at every pair, and all of them at `size` where that fits into memory."""
    if 4 * len(part) * size * size > MEMORY_LIMIT:
        return list(tracked(in_threads(values_of, part), "reading", len(part), "images")), None
    images = torch.zeros(len(part), 3, size, size, dtype=torch.uint8)
    masks = torch.zeros(len(part), size, size, dtype=torch.uint8)

    def fill(row: int) -> Looked:
        try:
            images[row], masks[row], values = look_at(part[row], size)
        except BadImageError as bad:
            return bad.problem
        return values

    return list(tracked(in_threads(fill, range(len(part))), "reading", len(part), "images")), (images, masks)
