"""Files: models and everything else that a run writes. Tensors in safetensors, the rest in JSON or CSV: no code inside.

Everything is written under another name and then renamed, so that a reader finds the old state or the new one.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
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
        f"cannot write {path}: {why}; what was saved before is unchanged: make room or fix the permissions, then "
        "resume with --resume"
    )


def flush_to_disk(path: Path) -> None:
    """Have a file, or a folder's list of names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Replace `path` by `text` at once; without `flush` a power cut may lose what is written."""
    with replacing(path, flush=flush) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value` as JSON."""
    write_text(path, as_json(value))


def as_json(value: object) -> str:
    """`value` as the text of a JSON file."""
    return json.dumps(value, indent=2) + "\n"


def read_json(path: Path, *, needs: Iterable[str] = ()) -> Any:
    """The value that a JSON file holds.

    Raises:
        InputError: if it cannot be read, or `needs` are given and it is no object with these keys.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise InputError(f"cannot read {path}: {reason.strerror}; give a run directory of drkd") from reason
    except ValueError as reason:
        raise InputError(f"{path} is damaged: {reason}; give another run, or make it anew") from reason
    missing = [name for name in needs if not isinstance(value, dict) or name not in value]
    if missing:
        raise InputError(
            f"{path} is not what drkd writes, it has no {', '.join(missing)}; give a run directory of drkd"
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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, or of a `.pt` file that holds nothing else."""
    if not path.is_file():
        raise InputError(f"there is no file {path}; give a run directory, a model.safetensors or a .pt file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as reason:
        first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        raise InputError(f"cannot read weights from {path}: {first}") from reason
    except Exception as reason:  # unpickling errors have no common base
        raise InputError(f"{path} holds more than tensors, and is not loaded: it could run code") from reason
    tensors = saved.get("state_dict", saved) if isinstance(saved, dict) else None
    if tensors is None or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise InputError(f"{path} needs to be a dictionary of tensors (a state_dict); save the model's state_dict()")
    return dict(tensors)
