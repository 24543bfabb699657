"""Parquet files in the Hugging Face image layout: `image` {bytes, path} and `label`, named after their split.

A label is an integer, or a list of a number per class: annotators' votes, or their distribution.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drkd.data.decoding import TableBytes
from drkd.data.files import visible
from drkd.data.listing import Listing, Sample, split_locations
from drkd.data.problems import OnProblem, Problem, problem_at, refuse, shown, some
from drkd.data.votes import Votes
from drkd.utils.errors import InputError

POINTER = b"version https://git-lfs"
ROWS = 256
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Rows:
    """The samples of some files, read as they are asked for.

    Attributes:
        labels: of all rows, file by file; None where a row has none.
        on_problem: takes in rows that are no samples; they are left out.
    """

    on_problem: OnProblem
    labels: dict[Path, Sequence[int | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(labels) for labels in self.labels.values())

    def __iter__(self) -> Iterator[Sample]:
        for path in self.labels:
            empty = []
            for row, (image, label) in enumerate(_read_rows(path, self.on_problem)):
                if image is None or label is None:
                    empty.append(row)
                    continue
                source = TableBytes(image)
                source.path, source.row = path, row
                yield source, label
            if empty:
                reason = f"has {len(empty)} rows without the bytes of an image or without a label; leave them out"
                self.on_problem(problem_at(path, f"{reason} (from 0: {some(empty)})", "empty row"))


def list_parquet(root: Path, on_problem: OnProblem = refuse) -> Listing:
    """The images in `train.parquet` or `train-*.parquet` under `root`, and in those of `val` and `test`."""
    found = split_locations(root, lambda path: path.suffix == ".parquet")
    if not found:
        raise InputError(
            f"{root} needs Parquet files called train.parquet or train-*.parquet (and val or test alike), got none for "
            "training"
        )
    used = [path for paths in found.values() for path in paths]
    for path in visible(root):
        if path.suffix == ".parquet" and path not in used:
            reason = "is skipped: its name, up to a hyphen, is not train, val or test"
            on_problem(problem_at(path, reason, "other file", "warning"))
    named: tuple[Path, tuple[str, ...]] | None = None
    splits = {}
    for split, paths in found.items():
        splits[split] = Rows(on_problem)
        for path in paths:
            labels, names = _read_labels(path, on_problem)
            if labels is None:
                continue
            splits[split].labels[path] = labels
            if names and named and names != named[1]:
                on_problem(
                    problem_at(path, f"has other class names than {shown(named[0])}; use one list", "wrong columns")
                )
            named = named or ((path, names) if names else None)
        if not len(splits[split]):
            on_problem(problem_at(root, f"has no rows for the {split} split", "empty split"))
    known = [label for rows in splits.values() for part in rows.labels.values() for label in part if label is not None]
    widths = {len(label.probs) for label in known if isinstance(label, Votes)}
    if len(widths) > 1:
        reason = f"has lists of votes for {' and '.join(map(str, sorted(widths)))} classes; give one number per class"
        on_problem(problem_at(root, reason, "label out of range"))
        return Listing((), splits)
    highest = max([*known, *(width - 1 for width in widths)], default=-1)
    if named is None and highest >= len(known):
        reason = f"has labels up to {highest} for {len(known)} images; number the classes from 0 on"
        on_problem(problem_at(root, reason, "label out of range"))
        return Listing((), splits)
    classes = named[1] if named else tuple(str(label) for label in range(highest + 1))
    if known and (min(known) < 0 or highest >= len(classes)):
        reason = f"has labels from {min(known)} to {highest} for {len(classes)} classes; correct labels or names"
        on_problem(problem_at(root, reason, "label out of range"))
    if len(classes) < 2:
        on_problem(problem_at(root, f"needs at least 2 classes, got {len(classes)}", "missing class"))
    return Listing(classes, splits)


def _read_labels(path: Path, on_problem: OnProblem) -> tuple[list[int | None] | None, tuple[str, ...]]:
    """The labels of a file, None if it cannot be used, and the class names that it brings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():  # reading a pipe would wait for ever
        on_problem(_damaged(path, OSError("it is not a regular file")))
        return None, ()
    try:
        with pq.ParquetFile(path) as file:
            kinds = {column.name: column.type for column in file.schema_arrow}
            if not (_holds_bytes(kinds.get("image")) and _holds_labels(kinds.get("label", pa.null()))):
                columns = ", ".join(f"{column} ({kind})" for column, kind in kinds.items())
                needed = "image (a struct with bytes) and label (integers, or lists of votes)"
                reason = f"needs the columns {needed}, got {columns}"
                on_problem(problem_at(path, reason, "wrong columns"))
                return None, ()
            labels = [_as_label(value) for value in file.read(columns=["label"]).column("label").to_pylist()]
            return labels, _class_names(file.schema_arrow.metadata)
    except InputError:
        raise
    except Exception as reason:  # pyarrow raises any error on a damaged file
        on_problem(_damaged(path, reason))
        return None, ()


def _read_rows(path: Path, on_problem: OnProblem) -> Iterator[tuple[bytes | None, int | None]]:
    """Images and labels of a file."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=["image.bytes", "label"]):
                images, labels = (batch.column(name).to_pylist() for name in ("image", "label"))
                yield from zip((row and row["bytes"] for row in images), map(_as_label, labels), strict=True)
    except Exception as reason:
        on_problem(_damaged(path, reason))


def _holds_bytes(kind: Any) -> bool:
    """Whether a pyarrow type is a struct with bytes."""
    import pyarrow as pa

    if kind is None or not pa.types.is_struct(kind):
        return False
    return any(part.name == "bytes" and _is_binary(part.type) for part in kind)


def _holds_labels(kind: Any) -> bool:
    """Whether a pyarrow type is an integer, or a list of numbers."""
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return bool(kinds.is_integer(kind.value_type) or kinds.is_floating(kind.value_type))
    return bool(kinds.is_integer(kind))


def _as_label(value: Any) -> int | None:
    """A label or votes; None where there are none."""
    return Votes.of(value) if isinstance(value, list) else value


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _class_names(metadata: dict[bytes, bytes] | None) -> tuple[str, ...]:
    features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    label = features.get("label", {})  # a list where labels are lists
    return tuple(str(name) for name in label.get("names", ())) if isinstance(label, dict) else ()


def _damaged(path: Path, reason: Exception) -> Problem:
    why = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    if path.is_file() and path.stat().st_size < 1000 and path.read_bytes().startswith(POINTER):
        return problem_at(path, "is a pointer of Git LFS, not the data; run `git lfs pull`", "damaged file")
    return problem_at(path, f"cannot be read as Parquet: {why}; remove or replace it", "damaged file")
