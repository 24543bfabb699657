"""What is known of exported files, as JSON keeps it beside them: how they were checked, and what they cost."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from drkd.export.box_parity import BoxParity
from drkd.export.checksums import record_path
from drkd.export.manifest import Manifest
from drkd.export.mask_parity import MaskParity
from drkd.export.memory import Memory
from drkd.export.parity import Parity, Tolerance
from drkd.utils.errors import InputError
from drkd.utils.files import JsonObject, read_json, write_checked_json
from drkd.utils.machine import Environment

Record = TypeVar("Record", "ExportRecord", "LatencyResults")

PARITIES = (Parity.__name__, BoxParity.__name__, MaskParity.__name__)
"""What a check may have found; errors about a record do not say which was tried."""

LATENCY = "latency.json"
"""The file that keeps the measured times of a run's exports, beside them."""


@dataclass(frozen=True)
class Calibrated:
    """How int8 chose its ranges: the method, and on how many training images."""

    method: str
    samples: int


@dataclass(frozen=True)
class ExportRecord:
    """What `export_run` wrote, and how it was checked.

    Attributes:
        path: of the exported file.
        file: its name.
        format: see `drkd.export.writing.FORMATS`.
        bytes: the size of all its files.
        checksums: their SHA-256, by name.
        manifest: what it records about itself.
        split: what it was checked on.
        parity: what was found.
        tolerance: what was allowed.
        calibration: None for a file in float.
        environment: what it was written with.
    """

    path: Path
    file: str
    format: str
    bytes: int
    checksums: dict[str, str]
    manifest: Manifest
    split: str
    parity: Parity | BoxParity | MaskParity
    tolerance: Tolerance
    calibration: Calibrated | None
    environment: Environment

    def to_json(self) -> JsonObject:
        """All but the path: what is kept beside the file."""
        content = asdict(self)
        del content["path"]
        return {**content, "manifest": self.manifest.to_json()}

    def write(self) -> None:
        """Write the record beside its file, as FILE.json."""
        write_checked_json(record_path(self.path), self.to_json())

    @classmethod
    def read(cls, path: Path) -> "ExportRecord":
        """The record of the exported file `path`.

        Raises:
            InputError: if there is none, or it is not what drkd writes.
        """
        return _read(cls, record_path(path), path=path)


def read_records(run: Path) -> list[ExportRecord]:
    """The record of every file in the folder `exports` of a run, by name."""
    return [ExportRecord.read(path) for path in sorted((run / "exports").glob("*")) if record_path(path).is_file()]


@dataclass(frozen=True)
class CallTimes:
    """How long a call takes: percentiles in milliseconds; `images_per_second` at the median."""

    threads: int
    batch_size: int
    p50_ms: float
    p95_ms: float
    images_per_second: float


@dataclass(frozen=True)
class BenchedFile:
    """What a file costs; `memory` is None where the system cannot say it."""

    file: str
    runtime: str
    quantize: str | None
    bytes: int
    memory: Memory | None
    figures: list[CallTimes]


@dataclass(frozen=True)
class MemorySetting:
    """What memory was measured at."""

    batch_size: int
    threads: int


@dataclass(frozen=True)
class LatencySettings:
    """How files were measured; `calls` is what was counted of each in each setting."""

    threads: Sequence[int]
    batch_sizes: Sequence[int]
    calls: int
    memory: MemorySetting


@dataclass(frozen=True)
class LatencyResults:
    """What `bench_files` found.

    Attributes:
        environment: what it was measured with, the name of the processor included.
        settings: how.
        files: what each costs.
    """

    environment: Environment
    settings: LatencySettings
    files: list[BenchedFile]

    def to_json(self) -> JsonObject:
        """The content of `latency.json`."""
        return asdict(self)

    @classmethod
    def read(cls, path: Path) -> "LatencyResults":
        """What was measured earlier.

        Raises:
            InputError: if the file `path` is not what drkd writes.
        """
        return _read(cls, path)


def _read(kind: type[Record], file: Path, **known: Path) -> Record:
    """The record that a JSON file keeps, and what is `known` besides."""
    content = read_json(file, needs=[name for name in kind.__dataclass_fields__ if name not in known])
    try:
        return TypeAdapter(kind).validate_python({**content, **known})
    except ValidationError as reason:
        first = reason.errors()[0]
        where = ".".join(str(step) for step in first["loc"] if step not in PARITIES)
        raise InputError(f"{file} is not in drkd's format: {where}: {first['msg']}; create it again") from reason
