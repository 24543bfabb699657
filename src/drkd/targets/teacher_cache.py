"""A teacher's answers on disk: logits of every training sample in every epoch, in float16.

The features of a frozen backbone are kept alike, in float32, as those of epoch 0.

Augmentation is a function of (seed, epoch, index), so whoever sees the same images may share one pass of the teacher.

    ROOT/KEY/about.json             what the answers belong to, all of it
    ROOT/KEY/epoch-E-HASH.npy       (N, K) or (N, K, ...), written once complete; HASH is that of its bytes

Only what matches exactly is found. A file appears whole or not at all; one that was changed afterwards is refused.
"""

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.files import as_json, replacing, write_json

HEADER = 128
"""Bytes of a `.npy` file before its numbers."""

_DAMAGED = "the cached teacher outputs are damaged in"


class TeacherCache:
    """The answers that belong to one teacher, one data set, one augmentation and one seed.

    Args:
        root: the folder that all answers share.
        belongs_to: what these answers belong to; values that JSON knows.
        limit: bytes that all answers under `root` may take. What was not used for longest makes way.
        dtype: of the answers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     cache = TeacherCache(Path(root), {"teacher": "a hash", "seed": 0}, limit=10**6)
        ...     cache.write(0, np.zeros((5, 3), dtype=np.float16))
        ...     cache.read(0, rows=5).shape, cache.read(1, rows=5)
        ((5, 3), None)
    """

    def __init__(
        self, root: Path, belongs_to: Mapping[str, Any], *, limit: int, dtype: type[np.floating[Any]] = np.float16
    ) -> None:
        check_arguments(TeacherCache.__init__, locals())
        self.root = root
        self.dtype = dtype
        self.limit = limit
        self.belongs_to = json.loads(json.dumps(belongs_to))  # tuples become lists, as they are read back
        digest = hashlib.sha256(json.dumps(self.belongs_to, sort_keys=True).encode()).hexdigest()
        self.folder = root / digest[:16]
        self.full = False

    def read(self, epoch: int, *, rows: int) -> NDArray[Any] | None:
        """The answers of `epoch` as a read-only memory map of `rows` rows, or None if there are none.

        Raises:
            InputError: for a file that is damaged or belongs to something else.
        """
        found = sorted(self.folder.glob(f"epoch-{epoch}-*.npy"))
        if not found:
            return None
        try:
            about = (self.folder / "about.json").read_text(encoding="utf-8")
            answers: NDArray[Any] = np.load(found[0], mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:  # it has just made way for others
            return None
        except Exception as reason:  # numpy raises any error on a damaged header
            raise InputError(f"{_DAMAGED} {found[0]}: {reason}; delete that file") from reason
        if about != as_json(self.belongs_to):
            raise InputError(f"the teacher outputs in {self.folder} belong to something else; delete that folder")
        if answers.dtype != self.dtype or len(answers) != rows or _hash(answers) not in found[0].name:
            raise InputError(f"{_DAMAGED} {found[0]}: its content does not match its name; delete that file")
        os.utime(self.folder)
        return answers

    def write(self, epoch: int, answers: NDArray[Any]) -> None:
        """Keep the answers of a whole epoch, if there is room."""
        if self.full or not self._make_room(HEADER + answers.nbytes):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "about.json").exists():
                write_json(self.folder / "about.json", self.belongs_to)
            path = self.folder / f"epoch-{epoch}-{_hash(answers)}.npy"
            with replacing(path) as beside, beside.open("wb") as file:
                np.save(file, answers)
        except OSError as reason:
            self._stop(f"cannot be written ({reason.strerror or reason})")

    def _make_room(self, needed: int) -> bool:
        """Let other teachers' answers go, those not used for longest first, until `needed` bytes are free."""
        used: list[tuple[float, Path, int]] = []
        for about in self.root.glob("*/about.json"):
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                size = sum(file.stat().st_size for file in about.parent.glob("*epoch-*"))
                if re.fullmatch(r"[0-9a-f]{16}", about.parent.name):  # whatever else lies there is not ours
                    used.append((about.parent.stat().st_mtime, about.parent, size))
        sizes = {folder: size for _, folder, size in sorted(used)}
        ours = sizes.pop(self.folder, 0) + needed
        if ours > self.limit:
            self._stop(f"is full with {self.limit / 1e6:g} MB: later outputs are not cached; raise --cache-size")
            return False
        for folder in list(sizes):
            if ours + sum(sizes.values()) <= self.limit:
                break
            for file in (*folder.glob("epoch-*.npy"), folder / "about.json"):
                file.unlink(missing_ok=True)
            del sizes[folder]
        return True

    def _stop(self, why: str) -> None:
        """Go on without: the teacher is asked instead."""
        self.full = True
        warnings.warn(f"the teacher cache {self.root} {why}", stacklevel=4)


def _hash(answers: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(answers).data).hexdigest()[:16]
