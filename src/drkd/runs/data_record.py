"""Whether a run's data are still those that it was trained on: `data.json` in its directory says which they were."""

import warnings
from pathlib import Path

from drkd.config import TrainConfig
from drkd.data.record import DataRecord, describe_changes, first_names
from drkd.tasks import TaskData, get_task
from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_json

FILE = "data.json"


def write_record(out: Path, data: TaskData) -> None:
    """Keep in the run directory `out` what `data` are, unless it is there already."""
    if data.record is not None and not (out / FILE).exists():
        write_json(out / FILE, data.record.to_json())


def read_record(out: Path) -> DataRecord | None:
    """What the run in `out` was trained on; None where it does not say.

    Raises:
        InputError: if the file is damaged.
    """
    if not (out / FILE).is_file():
        return None
    content = read_json(out / FILE, needs=("fingerprint", "classes", "files", "rows"))
    try:
        record = DataRecord.from_json(content)
    except (AttributeError, TypeError, ValueError) as reason:
        raise InputError(f"{out / FILE} is not in drkd's format: {reason}; give another run") from reason
    if record.fingerprint != content["fingerprint"]:
        raise InputError(f"{out / FILE} was changed after it was written; give another run")
    return record


def refuse_changed_data(out: Path, config: TrainConfig, *, finished: bool) -> None:
    """Refuse to resume the run in `out` with other files than it began with; nothing is decoded.

    Args:
        out: the run directory.
        config: of the run.
        finished: whether it is; then it needs no data, and those that are gone are not missed.

    Raises:
        InputError: that says what changed.
    """
    record = read_record(out)
    if record is None:
        return
    try:
        files = get_task(config.task).list_files(config.data)
    except InputError:
        if finished:
            return
        raise
    if changes := describe_changes(record.files, files):
        raise InputError(
            f"the data in {config.data} has changed since the training in {out} began: {changes}; give the original "
            "data, or choose another --out"
        )


def check_data(run: Path, data: TaskData, *, same: bool, split: str) -> None:
    """Warn of data that have changed since the training; never measure on what was trained on.

    Where samples are no files, none can be found again in data that have changed: those are refused as a whole.

    Args:
        run: the run directory.
        data: what is used now.
        same: whether these are the data that the run names, and no others.
        split: which one is measured on; `either` for that of validation or that of test.

    Raises:
        InputError: if images of `split` were trained on, or may have been.
    """
    record = read_record(run)
    if record is None or data.record is None or record.fingerprint == data.record.fingerprint:
        return
    changes = describe_changes(record.files, data.record.files) or "its splits differ"
    changed = f"the data in {data.name} has changed since the training: {changes}"
    if same:
        warnings.warn(changed, stacklevel=3)
    for measured in {"either": ("val", "test"), "train": ()}.get(split, (split,)):
        trained = record.trained_on(data.record, measured)
        some = f"{len(trained)} images of the {measured} split of {data.name} were trained on: {first_names(trained)}"
        if trained and not same:
            warnings.warn(some, stacklevel=3)
        elif same and (trained or not record.images("train")):
            reason = f"{changed}, so its {measured} split may hold samples that were trained on"
            reason = some if trained else reason
            raise InputError(f"{reason}; give the original data, other data with --data, or train again")
