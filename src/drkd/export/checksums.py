"""Whether exported files are what was written, by the record beside them. Loads no torch, as `runtimes`."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from drkd.utils.errors import InputError


def checksums(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    found = {}
    for file in files:
        with file.open("rb") as content:
            found[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return found


def record_path(path: Path) -> Path:
    """Where the record of an exported file is kept.

    Example:
        >>> record_path(Path("exports/model.onnx")).name
        'model.onnx.json'
    """
    return path.with_name(f"{path.name}.json")


def check_files(path: Path) -> None:
    """Refuse an exported file that is not the one its record is about. Without a record nothing is known.

    Raises:
        InputError: for other content, or a record that cannot be read.
    """
    record = record_path(path)
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))["checksums"].items()
        found = checksums(path.with_name(name) for name, _ in expected)
    except FileNotFoundError as missing:
        if Path(missing.filename) == record:
            return
        raise InputError(f"{path} needs {missing.filename}, which is missing; export it anew") from missing
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as reason:
        raise InputError(f"{record} is damaged: {reason}; export {path.name} anew") from reason
    for name, digest in expected:
        if found[name] != digest:
            raise InputError(
                f"{path.with_name(name)} is damaged: its content is not what was written; export it anew "
                f"({record.name} has its SHA-256)"
            )
