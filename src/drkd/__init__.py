"""drkd: a better classifier or detector without a bigger teacher.

The network trains once, a frozen copy of it becomes its own teacher, the teacher's mistakes are rectified with the
labels, and a fresh copy is distilled from it (DR-KD, arXiv 2201.11319; Tf-KD, arXiv 1909.11723).

The public names are listed in `__init__.pyi`. Each is imported when it is first used, so that `import drkd` takes no
time.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_HOME_OF = {
    name.name: str(node.module)
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for name in node.names
}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'drkd' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
