"""Images with several labels, read and divided into splits for a training."""

import hashlib
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from drkd.data.augment import Augmentation
from drkd.data.augment_names import parse_augmentation
from drkd.data.by_name import divided_by_name, limited_by_name
from drkd.data.datasets import Data, Split
from drkd.data.images import common_size, load_images
from drkd.data.preprocessing import Preprocessing
from drkd.data.problems import Problem, describe_errors
from drkd.data.readers import MIXED_SIZE
from drkd.data.record import DataRecord, FileRecord, record_files, rows_hash, with_splits
from drkd.data.statistics import measure_statistics
from drkd.tasks.multilabel.learning import MultiLabelLearner
from drkd.tasks.multilabel.reading import Listed, list_labels
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError

OF_IMAGES = ("wrong row", "empty row", "unreadable image", "label out of range")
"""Problems of single images, which `skip_bad_images` leaves out."""


@dataclass(frozen=True)
class MultiLabelData(Data):
    """Images of which several classes are true at once; see `Data`.

    The labels of a split are int64 (N, K): 1 where a class is true, 0 where not, -100 where it is not known.
    """

    def learner_type(self) -> type[MultiLabelLearner]:
        """What `drkd.fit` trains with."""
        return MultiLabelLearner

    @classmethod
    def of(
        cls,
        train: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        *,
        val: tuple[Tensor, Tensor] | None = None,
        classes: tuple[str, ...],
        name: str = "tensors",
    ) -> "MultiLabelData":
        """Data of tensors: inputs (N, ...), which a network gets as they are, and labels (N, K).

        Raises:
            InputError: for labels of another shape or value.

        Example:
            >>> rows, labels = torch.randn(4, 5), torch.tensor([[0, 1], [1, 1], [0, 0], [-100, 1]])
            >>> len(MultiLabelData.of((rows, labels), (rows, labels), classes=("a", "b")).val)
            0
        """
        none = train[0][:0], train[1][:0]
        splits = {"train": train, "val": none if val is None else val, "test": test}
        for split, (inputs, labels) in splits.items():
            if labels.shape != (len(inputs), len(classes)):
                shape, there = (len(inputs), len(classes)), tuple(labels.shape)
                raise InputError(f"the {split} labels must be {shape}, a column per class, got {there}")
            if not torch.isin(labels.long(), torch.tensor([0, 1, IGNORED])).all() or labels.is_floating_point():
                raise InputError(f"the {split} labels must be integers, 1 for yes, 0 for no, {IGNORED} for unknown")
        held = {split: Split(inputs, labels.long()) for split, (inputs, labels) in splits.items()}
        record = DataRecord(classes, {}, rows_hash(held))
        three = held["train"], held["val"], held["test"]
        return cls(name, classes, *three, augmentation=Augmentation(), mean=(0.0,), std=(1.0,), record=record)


def load_multilabel(
    name: str | Path,
    *,
    seed: int = 0,
    validation: float = 0.1,
    limit_train: int | None = None,
    limit_test: int | None = None,
    image_size: int | Preprocessing | None = None,
    augment: str | None = None,
    skip_bad_images: bool = False,
) -> MultiLabelData:
    """Images with several labels from a folder of CSV or Parquet files; see `drkd.tasks.multilabel.reading`.

    Args:
        name: the folder.
        seed, validation: of the validation split where the folder has none, drawn image by image by a hash of name and
            seed; 0 for none.
        limit_train, limit_test: the most images to keep, those with the lowest hash.
        image_size: scale and crop images to this side length, or as a network wants them; by default their own.
        augment: as for `drkd.load_data`; crop_flip by default.
        skip_bad_images: leave out images that cannot be read, and rows that are wrong.

    Raises:
        InputError: for a folder that cannot be used; it lists every problem with its file.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(10):
        ...         Image.new("RGB", (8, 8), (number, 0, 0)).save(f"{folder}/{number}.png")
        ...     rows = [f"{number}.png,{number % 2},{int(number > 5)}" for number in range(10)]
        ...     _ = Path(folder, "labels.csv").write_text("file,odd,large\\n" + "\\n".join(rows))
        ...     data = load_multilabel(folder, validation=0)
        >>> len(data.train) + len(data.test), data.classes, data.test.labels.shape[1]
        (10, ('odd', 'large'), 2)
    """
    augmentation = parse_augmentation(augment or "crop_flip")
    wanted = image_size if isinstance(image_size, Preprocessing) else Preprocessing(image_size)
    files = list_files(name)
    content = f"{Path(name).resolve()} {DataRecord((), files).fingerprint}"
    listed, problems, own, unread = _read(str(name), replace(wanted, mean=None, std=None), content)
    errors = [each for each in problems if each.severity == "error"]
    if fatal := [each for each in errors if not skip_bad_images or each.kind not in OF_IMAGES]:
        raise InputError(describe_errors(fatal))
    if errors:
        warnings.warn(f"left out: {describe_errors(errors)}", stacklevel=2)
    for each in problems:
        if each.severity == "warning":
            warnings.warn(str(each), stacklevel=2)
    splits = divided_by_name(own, validation, seed)
    mean, std = wanted.statistics(3) or measure_statistics(splits["train"].inputs)
    skipped = {split: unread.get(split, 0) for split in splits}
    for split, most, by in (("train", limit_train, seed), ("test", limit_test, 0)):
        if most is not None:
            splits[split] = limited_by_name(splits[split], most, f"limit {by}", split)
    used = with_splits(files, {split: part.names for split, part in splits.items()})
    in_files = any(file.split for file in used.values())
    return MultiLabelData(
        str(name),
        listed.classes,
        splits["train"],
        splits["val"],
        splits["test"],
        augmentation=augmentation,
        mean=mean,
        std=std,
        margin=wanted.margin or 1.0,
        interpolation=wanted.interpolation or "bilinear",
        skipped_images=skipped,
        record=DataRecord(listed.classes, used, "" if in_files else rows_hash(splits)),
    )


def list_files(name: str | Path) -> dict[str, FileRecord]:
    """The files of labels with a hash of what they say, and the images they name; nothing is decoded."""
    root = Path(name)
    problems: list[Problem] = []  # `load_multilabel` reports them
    listed = list_labels(root, problems.append)
    labelled: dict[Path, int | str | None] = dict.fromkeys(listed.files)
    for part in listed.splits.values():
        for source, labels in zip(part.sources, part.labels, strict=True):
            if isinstance(source, Path):
                labelled[source] = hashlib.sha256(str(labels).encode()).hexdigest()[:16]
    return record_files(labelled, root)


@lru_cache(maxsize=2)
def _read(
    name: str, wanted: Preprocessing, content: str
) -> tuple[Listed, list[Problem], dict[str, Split], dict[str, int]]:
    """A folder's own splits, decoded once for all the trainings of a process, and what is wrong with it.

    The last is how many images of each split cannot be read.
    """
    del content  # other files, or files that have changed, are read again
    problems: list[Problem] = []
    listed = list_labels(Path(name), problems.append)
    side = wanted.image_size
    if side is None:
        side = common_size([source for part in listed.splits.values() for source in part.sources])
    if side is None:
        reason = f"has images that differ in size or are not square: scaled and cropped to {MIXED_SIZE}x{MIXED_SIZE}"
        problems.append(Problem("warning", name, f"{reason}; choose with --image-size", "differing sizes"))
    splits, skipped = {}, {}
    for split, part in listed.splits.items():
        failed: dict[int, Problem] = {}
        images = load_images(
            part.sources,
            side or MIXED_SIZE,
            margin=wanted.margin or 1.0,
            interpolation=wanted.interpolation or "bilinear",
            failed=failed,
        )
        whole = Split(images, torch.tensor(part.labels).reshape(len(part), len(listed.classes)), part.names)
        splits[split] = whole.select(torch.tensor([row for row in range(len(part)) if row not in failed]).long())
        problems += failed.values()
        skipped[split] = len(failed)
    return listed, problems, splits, skipped
