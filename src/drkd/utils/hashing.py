"""Hashes that show whether a network, or a file, is the one it should be."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def content_hash(tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> str:
    """SHA-256 over names, shapes, types and bytes of tensors, and over their description.

    Example:
        >>> content_hash({"w": torch.zeros(2)}) == content_hash({"w": torch.zeros(2)}, {"classes": ["a", "b"]})
        False
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode() if about else b"")
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """What is in the memory of a tensor, of bfloat16 too, which numpy does not know.

    Example:
        >>> raw_bytes(torch.ones(1, dtype=torch.bfloat16)).hex()
        '803f'
    """
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
