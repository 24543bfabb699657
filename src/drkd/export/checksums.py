"""Whether exported files are what was written, by the record beside them or by their own end. Loads no torch.

A file that is moved without its record is known by its seal, the SHA-256 of everything before it: in ONNX an entry of
the metadata, in OpenVINO's graph a comment, which hashes the weights too. Files of `torch.export` are archives with
checksums of their own; those of ExecuTorch have none.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

from drkd.utils.errors import InputError

SEAL = "sha256_before"
"""What the seal is called in the metadata of an ONNX file."""


def checksums(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    found = {}
    for file in files:
        with file.open("rb") as content:
            found[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return found


def _onnx_entry(digest: str) -> bytes:
    """A last entry of `ModelProto.metadata_props` (field 14): a message with a key and a value."""
    texts = b"".join(
        bytes([field << 3 | 2, len(text)]) + text.encode() for field, text in ((1, SEAL), (2, json.dumps(digest)))
    )
    return bytes([14 << 3 | 2, len(texts)]) + texts


def _comment(digest: str) -> bytes:
    return f"\n<!-- sha256 before this line, then of the weights: {digest} -->\n".encode()


def record_path(path: Path) -> Path:
    """Where the record of an exported file is kept.

    Example:
        >>> record_path(Path("exports/model.onnx")).name
        'model.onnx.json'
    """
    return path.with_name(f"{path.name}.json")


def seal(path: Path) -> None:
    """End an exported file with its own checksum, where its format has a place for one."""
    if path.suffix in SEALED:
        content = path.read_bytes()
        path.write_bytes(content + _seal(path, content))


def check_files(path: Path) -> bool:
    """Refuse an exported file that is not the one its record is about; without a record, one that its seal refutes.

    Returns:
        Whether it was checked: it has one of them.

    Raises:
        InputError: for other content, or a record that cannot be read.
    """
    record = record_path(path)
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))["checksums"].items()
        found = checksums(path.with_name(name) for name, _ in expected)
    except FileNotFoundError as missing:
        if Path(missing.filename) == record:
            return _check_alone(path)
        raise InputError(f"{path} needs {missing.filename}, which is missing; export it again") from missing
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as reason:
        raise InputError(f"{record} is damaged: {reason}; export {path.name} again") from reason
    for name, digest in expected:
        if found[name] != digest:
            raise InputError(
                f"{path.with_name(name)} is damaged: its content is not what was written; export it again "
                f"({record.name} has its SHA-256)"
            )
    return True


SEALED = {".onnx": len(_onnx_entry("0" * 64)), ".xml": len(_comment("0" * 64))}
"""Files that end with a seal, and its length."""


def _check_alone(path: Path) -> bool:
    """`check_files` where there is no record."""
    wrong: str | None = None
    if path.suffix in SEALED:
        whole = path.read_bytes()
        content, last = whole[: -SEALED[path.suffix]], whole[-SEALED[path.suffix] :]
        known = _seal(path, b"")[:12] == last[:12]
        if known and _seal(path, content) != last:
            wrong = "its content"
    elif path.suffix == ".pt2":
        known = zipfile.is_zipfile(path)  # what is none cannot be loaded
        try:
            wrong = zipfile.ZipFile(path).testzip() if known else None
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as reason:
            wrong = f"its archive ({reason})"
    else:
        known = False
    if wrong:
        raise InputError(f"{path} is damaged: {wrong} is not what was written; export it again")
    return known


def _seal(path: Path, content: bytes) -> bytes:
    """The end of a file with this content."""
    digest = hashlib.sha256(content)
    if path.suffix == ".onnx":
        return _onnx_entry(digest.hexdigest())
    weights = path.with_suffix(".bin")
    digest.update(weights.read_bytes() if weights.is_file() else b"")
    return _comment(digest.hexdigest())
