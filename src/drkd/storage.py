"""Files: models and whatever else a run writes. Tensors in safetensors, the rest in JSON or CSV: no code inside.

Everything is written beside its place and then moved there, so that a reader finds the old state or the new one.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from drkd.errors import InputError


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Replace `path` by `text` at once; without `flush` a power cut may lose what is written."""
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        if flush:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


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
        raise InputError(f"{path} is not what drkd writes, it lacks {', '.join(missing)}; give a run directory of drkd")
    return value


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Replace `path` by tensors; `about` goes into the one metadata key, as sorted JSON."""
    beside = path.with_name(f".{path.name}.tmp")
    metadata = {"drkd": json.dumps(about, sort_keys=True)} if about else None
    save_file(_separate(tensors), beside, metadata)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU; what shares its memory with another one is copied, as the format wants it."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        ours = tensor.detach().cpu().contiguous()
        place = ours.untyped_storage().data_ptr()
        separate[name] = ours.clone() if place in seen or ours.untyped_storage().nbytes() > ours.nbytes else ours
        seen.add(place)
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
