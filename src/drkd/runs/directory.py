"""Run directories: what they are called, what they hold already, whether a run may write there."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from drkd.config import as_yaml, differences, read_options
from drkd.utils.distributed import rank
from drkd.utils.errors import InputError
from drkd.utils.files import half_written, write_text


def new_run_dir(kind: str) -> Path:
    """A fresh run directory's name under ./runs."""
    return Path("runs") / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"


def inspect_run_dir(out: Path, config: Any, *, finished: str) -> Literal["new", "unfinished", "finished"]:
    """What `out` holds of this run; nothing is written.

    A run of the same configuration is gone on with, any other refused, and so is a finished one without `resume`.

    Args:
        out: the run directory.
        config: as `drkd.config.resolve` gives it.
        finished: name of the file that only a finished run has.
    """
    record = out / "config.yaml"
    if not record.exists():
        if out.exists() and (not out.is_dir() or {*out.iterdir()} - {*half_written(out)}):
            raise InputError(f"{out} exists and is no run directory; choose another with --out")
        return "new"
    changed = differences(read_options(record), config)
    if changed:
        raise InputError(f"{out} holds a run with other settings ({', '.join(changed)}); choose another --out")
    if not (out / finished).exists():
        return "unfinished"
    if not config.resume:
        raise InputError(f"{out} holds a finished run; read it with `drkd report`, or choose another --out")
    return "finished"


def open_run_dir(out: Path, config: Any, source: Mapping[str, str]) -> None:
    """Make `out` a run directory with its configuration; remove what a killed process left half written there."""
    if rank():
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for left in half_written(out):
            left.unlink(missing_ok=True)
        if not (out / "config.yaml").exists():
            write_text(out / "config.yaml", as_yaml(config, source))
    except OSError as reason:
        why = reason.strerror or reason
        raise InputError(f"cannot write to {out}: {why}; choose another with --out") from reason


@contextmanager
def opened_run_dir(out: Path, config: Any, source: Mapping[str, str]) -> Iterator[None]:
    """`open_run_dir` for trainings below it; where an input is refused before anything is trained, nothing is left."""
    missing = [path for path in (out, *out.parents) if not path.exists()]
    open_run_dir(out, config, source)
    try:
        yield
    except InputError:
        if missing and not any(out.rglob("metrics.csv")):
            shutil.rmtree(missing[-1])
        raise


def method_dirname(method: str) -> str:
    """A method of a comparison as a part of a path; not every system allows colons there.

    Example:
        >>> method_dirname("dr_kd:alpha=0.5:rectify=drop")
        'dr_kd,alpha=0.5,rectify=drop'
    """
    return method.replace(":", ",")


def kept_epoch(out: Path, epoch: int) -> Path:
    """Where a run keeps the network as it was after `epoch`, if it was asked to."""
    return out / "epochs" / f"epoch-{epoch}.safetensors"
