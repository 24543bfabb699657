"""Files of `torch.export`, and the operators that they call."""

from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile


def load_program(path: Path, about: str) -> tuple[Any, str]:
    """A program, and the text of the file `about` in its archive, empty where there is none.

    A detector calls operators of torchvision, which must be known by then; other files do not load it.
    """
    import torch

    if _calls_torchvision(path):
        import_module("torchvision.ops")
    found = {about: ""}
    program = torch.export.load(path, extra_files=found)
    return program, found[about]


def _calls_torchvision(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            graphs = [name for name in archive.namelist() if "models/" in name and name.endswith(".json")]
            return any(b"torchvision" in archive.read(name) for name in graphs)
    except (OSError, BadZipFile):  # torch says what is wrong with it
        return False
