"""What a training's data were: files with their labels and sizes, and which split each of them was in.

A run keeps the record, so that it notices data that have changed since. Nothing is decoded for it; files are read and
hashed where they are not too many.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from drkd.data.by_name import same_name
from drkd.data.images import LazyImages
from drkd.data.problems import NAMED
from drkd.utils.files import JsonObject
from drkd.utils.hashing import file_hash, raw_bytes

SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}

HASHED_BYTES = 2 * 10**9
"""Files of a data set are hashed where they take no more together; of larger ones a record knows names and sizes."""

DECODING = 3
"""How images in files become pixels: another number where a file gives other ones. 1 decoded every JPEG whole, 2 left
images of the wanted size as they were, whatever the margin."""

SAMPLED = 256
"""How many rows go into the fingerprint of data that are no files."""


class FileRecord(NamedTuple):
    """A file of a data set.

    Attributes:
        label: class of an image; a hash of what a file of labels or boxes says; None where neither applies.
        bytes: its size.
        split: `train`, `val` or `test` if a training uses it as an image.
        content: the beginning of its SHA-256; None where files were not hashed, see `HASHED_BYTES`.
    """

    label: int | str | None
    bytes: int
    split: str | None = None
    content: str | None = None

    def differs(self, other: "FileRecord") -> bool:
        """Whether the content is another one, as far as both know it."""
        known = self.content is not None and other.content is not None
        return self.bytes != other.bytes or (known and self.content != other.content)


Files = Mapping[str, FileRecord]
"""By path relative to the data's folder, with slashes."""


class Rows(Protocol):
    """A split of samples that are no files: inputs and labels (N,)."""

    @property
    def inputs(self) -> Tensor | LazyImages: ...
    @property
    def labels(self) -> Tensor: ...


@dataclass(frozen=True)
class DataRecord:
    """What was trained and measured on.

    Attributes:
        classes: names, in the order of the labels.
        files: everything that was listed.
        rows: a hash of labels and inputs where samples are not files; empty otherwise.

    Example:
        >>> before = DataRecord(("a", "b"), {"a/1.png": FileRecord(0, 99, "train")})
        >>> after = DataRecord(("a", "b"), {"a/1.png": FileRecord(0, 99, "test")})
        >>> before.fingerprint == after.fingerprint
        False
    """

    classes: tuple[str, ...]
    files: Files
    rows: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all of it; times and the location of the folder have no part in it."""
        content = [list(self.classes), sorted((name, *file) for name, file in self.files.items()), self.rows]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def images(self, split: str) -> list[str]:
        """Names of the images of a split; none where samples are not files."""
        return [name for name, file in self.files.items() if file.split == split]

    def trained_on(self, now: "DataRecord", split: str) -> list[str]:
        """Images of a split of the data as they are now that were in this record's training split.

        A file that was moved or renamed is known by its content; where files were not hashed, one that was moved from
        one split's folder to another is known by the rest of its path and its size.
        """
        trained: dict[str, list[FileRecord]] = {}
        for name in self.images("train"):
            trained.setdefault(_without_split(name), []).append(self.files[name])
        contents = {self.files[name].content for name in self.images("train")} - {None}
        found = []
        for name in now.images(split):
            before, file = self.files.get(name), now.files[name]
            if before is not None and before.split is not None and not before.differs(file):
                in_training = before.split == "train"
            else:
                alike = trained.get(_without_split(name), ())
                in_training = file.content in contents or not all(former.differs(file) for former in alike)
            if in_training:
                found.append(name)
        return found

    def to_json(self) -> JsonObject:
        """As `data.json` has it."""
        files = {name: list(file) for name, file in self.files.items()}
        return {"fingerprint": self.fingerprint, "classes": list(self.classes), "rows": self.rows, "files": files}

    @classmethod
    def from_json(cls, content: JsonObject) -> "DataRecord":
        """What `to_json` gave."""
        files = {str(name): FileRecord(*file) for name, file in content["files"].items()}
        return cls(tuple(content["classes"]), files, str(content["rows"]))


def record_files(labelled: Mapping[Path, int | str | None], root: Path) -> dict[str, FileRecord]:
    """The records of files below `root`, given their labels."""
    sizes = {path: path.stat() for path in labelled}
    hashed = sum(size.st_size for size in sizes.values()) <= HASHED_BYTES
    found = {}
    for path, label in labelled.items():
        size = sizes[path]
        content = _content(path.absolute(), size.st_size, size.st_mtime_ns) if hashed else None
        found[relative_name(path, root)] = FileRecord(label, size.st_size, content=content)
    return found


@lru_cache(maxsize=2**18)
def _content(path: Path, size: int, changed: int) -> str | None:
    """The hash of a file as it was at a time: the trainings of a comparison need not read all files again."""
    del size, changed
    try:
        return file_hash(path)[:16]
    except OSError:  # whoever decodes it reports that
        return None


def with_splits(files: Files, splits: Mapping[str, Sequence[str]]) -> dict[str, FileRecord]:
    """`files`, each with the split that it is in; `splits` has the names of each."""
    split_of = {name: split for split, names in splits.items() for name in names}
    return {name: file._replace(split=split_of.get(name)) for name, file in files.items()}


def rows_hash(splits: Mapping[str, Rows]) -> str:
    """SHA-256 of the labels of every split and of evenly spaced inputs."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        digest.update(f"{name} {len(split.labels)};".encode())
        digest.update(raw_bytes(split.labels))
        if isinstance(votes := getattr(split, "probs", None), Tensor):
            digest.update(raw_bytes(votes))
        if isinstance(split.inputs, Tensor) and len(split.inputs):
            sample = split.inputs[:: max(1, len(split.inputs) // SAMPLED)]
            digest.update(f"{tuple(sample.shape)} {sample.dtype};".encode())
            digest.update(raw_bytes(sample))
    return digest.hexdigest()


def relative_name(path: Path, root: Path) -> str:
    """How a record calls a file.

    Example:
        >>> relative_name(Path("photos/cat/1.png"), Path("photos"))
        'cat/1.png'
    """
    return same_name(path.relative_to(root).as_posix())


def describe_changes(before: Files, after: Files) -> str:
    """What differs between two listings, in a phrase; empty if nothing does.

    Example:
        >>> one, two = FileRecord(0, 10), FileRecord(1, 10)
        >>> describe_changes({"a/1.png": one, "a/2.png": one}, {"b/1.png": two, "a/3.png": one})
        '1 file added (a/3.png), 1 removed (a/2.png), 1 relabelled (b/1.png)'
    """
    gone = {name: file for name, file in before.items() if name not in after}
    new = {name: file for name, file in after.items() if name not in before}
    was_there = {key: name for name, file in gone.items() for key in _traces(name, file)}
    relabelled: list[str] = []
    renamed: list[str] = []
    for name, file in list(new.items()):  # a file in another class folder has another label
        traces = (was_there[key] for key in _traces(name, file) if was_there.get(key) in gone)
        former = next((each for each in traces if not gone[each].differs(file)), None)
        if former is not None:
            same_place = gone[former].label == file.label and former.rpartition("/")[2] != name.rpartition("/")[2]
            (renamed if same_place else relabelled).append(name)
            del new[name], gone[former]
    both = [name for name in before if name in after]
    other = [name for name in both if before[name].bytes != after[name].bytes]
    rest = [name for name in both if name not in other]
    replaced = [name for name in rest if before[name].label == after[name].label and before[name].differs(after[name])]
    relabelled += [name for name in rest if before[name].label != after[name].label]
    parts = {
        "added": list(new),
        "removed": list(gone),
        "renamed": renamed,
        "relabelled": relabelled,
        "of another size": other,
        "of other content": replaced,
    }
    found = [f"{len(names)} {what} ({first_names(names)})" for what, names in parts.items() if names]
    return ", ".join(found).replace(" ", " file " if found[0].startswith("1 ") else " files ", 1) if found else ""


def _traces(name: str, file: FileRecord) -> list[tuple[str, int]]:
    """What a file is known by where its path has changed: its name and size, its content."""
    own_name = (name.rpartition("/")[2], file.bytes)
    return [own_name] if file.content is None else [own_name, (file.content, file.bytes)]


def _without_split(name: str) -> str:
    first, _, rest = name.partition("/")
    return rest if first.lower().split("-")[0] in SPLIT_NAMES else name


def first_names(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def fingerprint(split: Rows) -> str:
    """SHA-256 of a split's images in their order; of images still in files, of paths, sizes and modification times.

    Example:
        >>> from drkd.data import load_data
        >>> fingerprint(load_data("digits").val)[:8]
        '5f8a1688'
    """
    images = split.inputs
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    if isinstance(images, Tensor):
        digest.update(raw_bytes(images))
        return digest.hexdigest()
    digest.update(str((DECODING, images.channels, images.margin, images.interpolation)).encode())
    for source in images.sources:
        if isinstance(source, bytes):
            digest.update(source)
        else:
            status = source.stat()
            digest.update(f"{source.resolve()} {status.st_size} {status.st_mtime_ns};".encode())
    return digest.hexdigest()
