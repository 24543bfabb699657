"""Files: models and everything else that a run writes. Tensors in safetensors, the rest in JSON or CSV: no code inside.

Everything is written under another name and then renamed, so that a reader finds the old state or the new one.
"""

import argparse
import hashlib
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from drkd.utils.errors import InputError, StorageError
from drkd.utils.hashing import content_hash

JsonObject = dict[str, Any]
"""An object of a JSON file: what is written there, or what was read and is not yet checked."""


@contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """A temporary path to write to, which then replaces `path` at once; an error leaves `path` as it was.

    Raises:
        StorageError: in place of every other error of the file system.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            yield beside
            if flush:
                flush_to_disk(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, SafetensorError) as reason:
        raise cannot_write(path, reason) from reason


def half_written(folder: Path) -> list[Path]:
    """Files of `replacing` that a killed process left in `folder`."""
    return list(folder.glob(".*.[0-9]*.tmp"))


def cannot_write(path: Path, reason: Exception) -> StorageError:
    """The error to raise for an error of the file system."""
    why = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return StorageError(
        f"cannot write {path}: {why}; earlier results are unchanged: free some space or fix the permissions, then "
        "resume with --resume"
    )


def flush_to_disk(path: Path) -> None:
    """Have a file, or a folder's list of names, survive a power cut. Windows opens no folder, and flushes by itself."""
    if sys.platform == "win32" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)  # Windows flushes writers only
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Replace `path` by `text` at once, the same bytes on every system; without `flush` a power cut may lose them."""
    with replacing(path, flush=flush) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value` as JSON."""
    write_text(path, as_json(value))


def write_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace `path` by an object with one key more, `sha256` over the others, which `read_json` checks."""
    write_json(path, {**value, "sha256": _digest(value)})


def _digest(value: Mapping[str, Any]) -> str:
    """The same before and after a file: tuples and lists, `1` and `"1"` as keys are alike there."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode()).hexdigest()


def as_json(value: object) -> str:
    """`value` as the text of a JSON file."""
    return json.dumps(value, indent=2) + "\n"


def read_json(path: Path, *, needs: Iterable[str] = ()) -> Any:
    """The value that a JSON file holds, without its checksum.

    Raises:
        InputError: if it cannot be read, it does not fit its checksum, or `needs` are given and it is no object with
            these keys.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise InputError(f"cannot read {path}: {reason.strerror}; give a run directory of drkd") from reason
    except (ValueError, RecursionError) as reason:
        raise InputError(f"{path} is damaged: {reason}; give another run, or create it again") from reason
    written = value.pop("sha256", None) if isinstance(value, dict) else None
    if written is not None and written != _digest(value):
        raise InputError(
            f"{path} was changed: its content is not what drkd wrote; restore it, or run again in another --out"
        )
    missing = [name for name in needs if not isinstance(value, dict) or name not in value]
    if missing:
        raise InputError(
            f"{path} was not written by drkd: it has no {', '.join(missing)}; give a run directory of drkd"
        )
    return value


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Replace `path` by tensors; `about` goes into the one metadata key, as sorted JSON, with a hash of everything."""
    ours = _separate(tensors)
    metadata = None
    if about:
        metadata = {"drkd": json.dumps({**about, "sha256": content_hash(ours, about)}, sort_keys=True)}
    with replacing(path) as beside:
        save_file(ours, beside, metadata)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU; what shares its memory with another one is copied, as the format wants it."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        ours = tensor.detach().cpu().contiguous()
        path = ours.untyped_storage().data_ptr()
        separate[name] = ours.clone() if path in seen or ours.untyped_storage().nbytes() > ours.nbytes else ours
        seen.add(path)
    return separate


WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model", "network", "net"),
    *("weights", "params"),
)
"""Entries under which checkpoints of others have a network's tensors; the first one that is there counts."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """`read_checkpoint` without where they were."""
    return read_checkpoint(path)[0]


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a safetensors file, or of a `.pt` file that can run no code, and the entry that they were under.

    The entry is one of `WRAPPERS` or several with dots between them, empty for a file of tensors.

    Raises:
        InputError: if there is no such file, it holds something else, or it does not fit its checksum: that of drkd,
            or those that every `.pt` file has.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; give a run directory, a model.safetensors or a .pt file")
    try:
        if path.suffix == ".safetensors":
            return _checked(path, load_file(path)), ""
        if zipfile.is_zipfile(path) and (wrong := zipfile.ZipFile(path).testzip()) is not None:
            raise damaged(path, wrong)
        with torch.serialization.safe_globals([argparse.Namespace]):  # the options of timm's and others' trainings
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except (SafetensorError, zipfile.BadZipFile, OSError, RuntimeError, ValueError, EOFError, KeyError) as reason:
        first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        raise InputError(f"cannot read weights from {path}: {first}") from reason
    except Exception as reason:  # unpickling errors have no common base
        raise InputError(f"{path} holds more than tensors and is not loaded, because it could run code") from reason
    entry: list[str] = []
    while isinstance(saved, dict) and not all(isinstance(value, Tensor) for value in saved.values()):
        name = next((name for name in WRAPPERS if isinstance(saved.get(name), dict)), None)
        saved = None if name is None else saved[name]
        entry.append(str(name))
    if not isinstance(saved, dict):
        raise InputError(f"{path} needs to be a dictionary of tensors (a state_dict); save the model's state_dict()")
    return dict(saved), ".".join(entry)


def warn_unchecked(path: Path) -> None:
    """Say so of weights that have no checksum: safetensors files of others."""
    if path.suffix == ".safetensors" and not read_about(path):
        warnings.warn(f"{path} has no checksum, so damage would go unnoticed", stacklevel=3)


def read_about(path: Path) -> JsonObject:
    """What `write_tensors` was given as `about`, with its checksum; nothing for a file that is not drkd's.

    Raises:
        InputError: for a file of drkd that is damaged there.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as reason:
        raise InputError(f"cannot read weights from {path}: {reason}") from reason
    text = metadata.get("drkd") or next((value for value in metadata.values() if '"sha256"' in value), "{}")
    try:
        content = json.loads(text)
    except ValueError as reason:
        raise InputError(f"{path} has a damaged network description: {reason}") from reason
    return content if isinstance(content, dict) else {}


def _checked(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors`, if they and the metadata of `path` are what drkd wrote; files of others have no checksum."""
    about = read_about(path)
    written = about.pop("sha256", None)
    if about and written is None:
        raise InputError(f"{path} has no checksum: it is damaged, or an older drkd wrote it; train again")
    if about and content_hash(tensors, about) != written:
        raise damaged(path, "its content")
    return tensors


def damaged(path: Path, what: str) -> InputError:
    """The error to raise where a checksum does not fit."""
    return InputError(f"{path} is damaged: {what} is not what was written; copy it again, or retrain")
