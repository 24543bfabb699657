"""Run directories: what they are called, what they hold already, who may write there."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal

from drkd.config import as_yaml, differences, read_written
from drkd.data.layouts import BY_NAME
from drkd.utils.distributed import from_rank_0, rank
from drkd.utils.errors import InputError
from drkd.utils.files import half_written, write_text
from drkd.utils.folders import make_folder, remove_empty_folders
from drkd.utils.locks import LockedError, locked

LOCK = ".lock"
"""Names the process that writes into a run directory, while it does."""

BEFORE_TRAINING = (LOCK, "config.yaml", "data.json", "objects.json", "precision.json")
"""Files that a run directory may hold before anything is trained."""


def new_run_dir(kind: str) -> Path:
    """Make a run directory of its own under ./runs; no other process gets the same, but all ranks do.

    It is removed at the end if it is still empty, see `drkd.utils.folders`.

    Raises:
        InputError: if it cannot be made.
    """
    return from_rank_0(Path() if rank() else _make_new(kind))


def _make_new(kind: str) -> Path:
    name = f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            make_folder(path, exclusive=True)
        except FileExistsError as reason:
            if path.exists():
                continue
            raise _cannot_write(path, reason) from reason
        except OSError as reason:
            raise _cannot_write(path, reason) from reason
        return path
    raise AssertionError("counting never ends")


@contextmanager
def one_writer(out: Path) -> Iterator[None]:
    """Keep `out`, which is made if it is missing, for this process; of several ranks the first one does so for all.

    Where nothing is written there in the end, the folders that were made for it go again.

    Raises:
        InputError: if another process writes there.
    """
    with contextlib.ExitStack() as stack:
        refused: InputError | None = None
        if rank() == 0:
            stack.callback(remove_empty_folders)
            try:
                stack.enter_context(_locked_folder(out))
            except LockedError as holder:
                refused = InputError(f"{out} is in use by {holder}; wait for it, or choose another --out")
            except FileExistsError:
                refused = InputError(f"{out} exists and is not a run directory; choose another with --out")
            except OSError as reason:
                refused = _cannot_write(out, reason)
        refused = from_rank_0(refused)
        if refused is not None:
            raise refused
        yield


@contextmanager
def _locked_folder(out: Path) -> Iterator[None]:
    """Make the folder and hold its lock; another process may take the empty folder away in between."""
    with contextlib.ExitStack() as stack:
        for tries_left in (2, 1, 0):
            try:
                make_folder(out)
                stack.enter_context(locked(out / LOCK))
                break
            except FileNotFoundError:
                if not tries_left:
                    raise
        yield


def refuse_output_in_data(out: Path, data: str) -> None:
    """Refuse to write into a folder that is read as data.

    Raises:
        InputError: if `out` is inside the folder `data`.
    """
    known, _, path = data.partition(":")  # NAME:FOLDER is a folder too
    read = path if known in BY_NAME else data
    if read and Path(read).is_dir():
        folder = Path(read).resolve()
        if folder in (out.resolve(), *out.resolve().parents):
            raise InputError(
                f"--out {out} is inside the data in {data}, where it would be read as data; choose another folder"
            )


def inspect_run_dir(out: Path, config: Any, *, finished: str) -> Literal["new", "unfinished", "finished"]:
    """What `out` holds of this run; nothing is written.

    A run of the same configuration is gone on with, any other refused, and so is a finished one without `resume`.

    Args:
        out: the run directory.
        config: as `drkd.config.resolve` gives it.
        finished: name of the file that only a finished run has.
    """
    if config.out is not None:  # the default is left out where it is read
        refuse_output_in_data(out, config.data)
    record = out / "config.yaml"
    if not record.exists():
        if out.exists() and (not out.is_dir() or {*out.iterdir()} - {*half_written(out), out / LOCK}):
            raise InputError(f"{out} exists and is not a run directory; choose another with --out")
        return "new"
    changed = differences(read_written(record), config)
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
        make_folder(out)
        for left in half_written(out):
            left.unlink(missing_ok=True)
        if not (out / "config.yaml").exists():
            write_text(out / "config.yaml", as_yaml(config, source))
    except OSError as reason:
        raise _cannot_write(out, reason) from reason


@contextmanager
def opened_run_dir(out: Path, config: Any, source: Mapping[str, str]) -> Iterator[None]:
    """`open_run_dir` for trainings below it, which leave nothing where they are refused."""
    with nothing_left_if_refused(out):
        open_run_dir(out, config, source)
        yield


@contextmanager
def nothing_left_if_refused(out: Path) -> Iterator[None]:
    """Where an input is refused before anything is trained, remove what was written into a new run directory.

    Else the next try, with better options, would find a run with other settings there.
    """
    is_new = not (out / "config.yaml").exists()
    try:
        yield
    except InputError:
        if is_new and rank() == 0 and not any(any(out.rglob(trained)) for trained in ("metrics.csv", "checkpoints")):
            for left in [path for path in out.rglob("*") if path.name in BEFORE_TRAINING and path != out / LOCK]:
                left.unlink(missing_ok=True)  # locks are of workers that were ended
            for folder in sorted(out.glob("*/**/"), reverse=True):
                with contextlib.suppress(OSError):  # it holds something
                    folder.rmdir()
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


def _cannot_write(out: Path, reason: OSError) -> InputError:
    return InputError(f"cannot write to {out}: {reason.strerror or reason}; choose another with --out")
