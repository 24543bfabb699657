"""Which images a folder has, and which classes are true of each: CSV files beside the images, or Parquet files.

CSV: `train.csv`, and `val.csv` or `test.csv`, or a single `labels.csv`. The first column is the image's path below the
folder, then a column per class with 1, 0, or nothing where it is not known.

Parquet: `train-*.parquet`, and `val` or `test`, with the columns `image` {bytes, path} and `labels`, a list of class
numbers, as Hugging Face writes a sequence of ClassLabel.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drkd.data.decoding import Source, TableBytes
from drkd.data.files import inside, visible
from drkd.data.listing import split_locations
from drkd.data.problems import OnProblem, problem_at, refuse_twice, shown, some
from drkd.data.record import relative_name
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError

VALUES = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "": IGNORED}
"""What a cell says: yes, no, not known."""

Labels = tuple[int, ...]
"""Of one image, for every class 1, 0, or -100 where it is not known."""


@dataclass(frozen=True)
class Marked:
    """The images of a split, their labels, and what they are called."""

    sources: list[Source] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, source: Source, labels: Labels, name: str) -> None:
        """One more image."""
        self.sources.append(source)
        self.labels.append(labels)
        self.names.append(name)

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Listed:
    """What a folder holds: class names in the order of the labels, the images by split, and the files of labels."""

    classes: tuple[str, ...]
    splits: Mapping[str, Marked]
    files: tuple[Path, ...]


def list_labels(root: Path, on_problem: OnProblem) -> Listed:
    """The images of a folder with their labels.

    Raises:
        InputError: for a folder in neither layout.
    """
    if not root.is_dir():
        raise InputError(f"no folder is called {str(root)!r}; give one with CSV or Parquet files of labels")
    for suffix, read in ((".csv", _read_csv), (".parquet", _read_parquet)):
        found = split_locations(root, lambda path, suffix=suffix: path.suffix == suffix)  # type: ignore[misc]
        if suffix == ".csv" and not found and (root / "labels.csv").is_file():
            found = {"train": [root / "labels.csv"]}
        if found:
            listed = read(root, found, on_problem)
            _judge(root, listed, on_problem)
            return listed
    there = some([path.name for path in visible(root)]) or "nothing"
    raise InputError(
        f"{shown(root)} needs labels.csv, or train.csv (and val.csv or test.csv), or train-*.parquet, got {there}; "
        "a CSV file has the image's path in its first column and a column of 1 and 0 per class"
    )


def _judge(root: Path, listed: Listed, on_problem: OnProblem) -> None:
    """What only all labels together show."""
    if len(listed.classes) < 2:
        on_problem(problem_at(root, f"needs at least 2 classes, got {len(listed.classes)}", "missing class"))
    for split, part in listed.splits.items():
        if not listed.classes:  # said above
            continue
        if not len(part):
            on_problem(problem_at(root, f"has no images for the {split} split", "empty split"))
            continue
        seen = [{row[column] for row in part.labels} for column in range(len(listed.classes))]
        never = [name for name, values in zip(listed.classes, seen, strict=True) if 1 not in values]
        always = [name for name, values in zip(listed.classes, seen, strict=True) if 0 not in values]
        for names, what in ((never, "true of no image"), (always, "true of every image")):
            if names:
                reason = f"has {len(names)} of {len(listed.classes)} classes {what} of the {split} split: {some(names)}"
                on_problem(problem_at(root, reason, "missing class", "warning"))


def _read_csv(root: Path, found: Mapping[str, list[Path]], on_problem: OnProblem) -> Listed:
    classes: tuple[str, ...] = ()
    splits = {}
    for split, paths in found.items():
        splits[split] = Marked()
        for path in paths:
            rows = _rows(path, on_problem)
            header = tuple(cell.strip() for cell in next(rows, (0, []))[1])
            names = header[1:]
            if not names or len(set(names)) < len(names) or "" in names:
                reason = f"needs a first line with the path's column and a name per class, got {some(header) or 'none'}"
                way = "separate columns by commas" if ";" in "".join(header) else "name each class once"
                on_problem(problem_at(path, f"{reason}; {way}", "wrong columns"))
                continue
            classes = classes or names
            if sorted(names) != sorted(classes):
                on_problem(problem_at(path, f"has the classes {some(names)}, not {some(classes)}", "wrong columns"))
                continue
            order = [names.index(name) for name in classes]
            for line, cells in rows:
                if (row := _row(root, path, line, cells, len(names), on_problem)) is not None:
                    image, values = row
                    splits[split].add(image, tuple(values[column] for column in order), relative_name(image, root))
    refuse_twice(root, {split: part.names for split, part in splits.items()}, on_problem)
    return Listed(classes, splits, tuple(path for paths in found.values() for path in paths))


def _rows(path: Path, on_problem: OnProblem) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not empty, with their line numbers."""
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            raise OSError("it is not a regular file")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            yield from ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
    except (OSError, UnicodeDecodeError, csv.Error) as reason:
        on_problem(problem_at(path, f"cannot be read as CSV: {reason}; save it as UTF-8", "damaged file"))


def _row(
    root: Path, path: Path, line: int, cells: list[str], classes: int, on_problem: OnProblem
) -> tuple[Path, Labels] | None:
    """The image and the labels of a row, None where it cannot be used."""
    reason = ""
    image = root / cells[0].strip().replace("\\", "/")
    values = [VALUES.get(cell.strip()) for cell in cells[1:]]
    if len(values) != classes:
        reason = f"has {len(values)} labels for {classes} classes"
    elif None in values:
        wrong = next(cell for cell, value in zip(cells[1:], values, strict=True) if value is None)
        reason = f"has the label {wrong.strip()[:40]!r}; write 1, 0, or nothing if it is unknown"
    elif "\0" in cells[0] or not inside(root, image):
        reason = f"names {cells[0][:80]!r}, which lies outside the folder; give a path below it"
    elif not image.is_file():
        reason = f"names {cells[0][:80]!r}, which does not exist; correct the path"
    if reason:
        on_problem(problem_at(path, f"(line {line}) {reason}", "wrong row"))
        return None
    return image, tuple(value for value in values if value is not None)


def _read_parquet(root: Path, found: Mapping[str, list[Path]], on_problem: OnProblem) -> Listed:
    named: dict[Path, tuple[str, ...]] = {}
    raw: dict[str, list[tuple[Path, int, bytes, list[int]]]] = {split: [] for split in found}
    for split, paths in found.items():
        for path in paths:
            named[path] = _class_names(path)
            raw[split] += [(path, row, image, labels) for row, image, labels in _table(path, on_problem)]
    if len(set(named.values())) > 1:
        on_problem(problem_at(root, "has files with other class names than the first; use one list", "wrong columns"))
    highest = max((label for part in raw.values() for *_, labels in part for label in labels), default=-1)
    classes = next(iter(named.values()), ()) or tuple(str(label) for label in range(min(highest, 9999) + 1))
    splits: dict[str, Marked] = {split: Marked() for split in found}
    for split, part in raw.items():
        for path, row, image, labels in part:
            if any(not 0 <= label < len(classes) for label in labels):
                reason = f"(row {row}, from 0) has the labels {labels[:5]}; they go from 0 to {len(classes) - 1}"
                on_problem(problem_at(path, reason, "label out of range"))
                continue
            source = TableBytes(image)
            source.path, source.row = path, row
            there = set(labels)
            splits[split].add(source, tuple(int(label in there) for label in range(len(classes))), f"{path.name}#{row}")
    return Listed(classes, splits, tuple(named))


def _class_names(path: Path) -> tuple[str, ...]:
    """The class names in Hugging Face's metadata, where there are any."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        feature = features.get("labels", {}).get("feature", {})
        return tuple(str(name) for name in feature.get("names", ()))
    except Exception:  # `_table` says what is wrong with the file
        return ()


def _table(path: Path, on_problem: OnProblem) -> Iterator[tuple[int, bytes, list[int]]]:
    """Row number, image and class numbers of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not path.is_file():
            raise OSError("it is not a regular file")
        with pq.ParquetFile(path) as file:
            kinds = {column.name: column.type for column in file.schema_arrow}
            listed = kinds.get("labels")
            if "image" not in kinds or not (pa.types.is_list(listed) or pa.types.is_large_list(listed)):
                columns = ", ".join(f"{column} ({kind})" for column, kind in kinds.items())
                reason = f"needs the columns image (a struct with bytes) and labels (lists of integers), got {columns}"
                on_problem(problem_at(path, reason, "wrong columns"))
                return
            row = 0
            for batch in file.iter_batches(256, columns=["image.bytes", "labels"]):
                for image, labels in zip(_values(batch, "image"), _values(batch, "labels"), strict=True):
                    if image and image["bytes"] is not None and labels is not None and all(map(_is_whole, labels)):
                        yield row, image["bytes"], labels
                    else:
                        reason = f"(row {row}, from 0) lacks the bytes of an image or a list of class numbers"
                        on_problem(problem_at(path, reason, "empty row"))
                    row += 1
    except Exception as reason:  # pyarrow raises any error on a damaged file
        why = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        on_problem(problem_at(path, f"cannot be read as Parquet: {why}; remove or replace it", "damaged file"))


def _values(batch: Any, column: str) -> list[Any]:
    values: list[Any] = batch.column(column).to_pylist()
    return values


def _is_whole(label: object) -> bool:
    return isinstance(label, int)
