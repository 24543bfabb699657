"""What drkd itself has written into a folder of images: it is no data."""

from collections.abc import Iterable
from pathlib import Path

from drkd.data.problems import OnProblem, Problem, shown

BESIDE_A_CONFIGURATION = ("metrics.csv", "checkpoints", "trainings", "model.safetensors", "data.json", "trials.json")
"""A folder with a `config.yaml` and one of these is a run directory."""

CACHE = "teacher-cache"
"""The folder of teachers' answers beside runs."""


def is_own_output(folder: Path) -> bool:
    """Whether `folder` is a run directory, or holds nothing but run directories, as `runs` does."""
    if _is_run(folder):
        return True
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return False
    runs = [path for path in inside if path.is_dir() and (_is_run(path) or path.name == "reproduce")]
    return bool(runs) and all(path in runs or path.name == CACHE for path in inside)


def without_own_output(folders: Iterable[Path], on_problem: OnProblem) -> list[Path]:
    """The folders that drkd has not written; each of the others is reported as a warning."""
    kept = []
    for folder in folders:
        if is_own_output(folder):
            reason = "holds drkd runs and is skipped; move it out of the data"
            on_problem(Problem("warning", shown(folder), reason, "own output"))
        else:
            kept.append(folder)
    return kept


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and any((folder / name).exists() for name in BESIDE_A_CONFIGURATION)
