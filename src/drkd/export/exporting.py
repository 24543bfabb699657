"""A run's network as a file for a device, checked against the network before it is kept."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from drkd.export.box_parity import FLOAT_BOXES, INT8_BOXES, BoxParity, boxes_of, compare_boxes, refuse_boxes_beyond
from drkd.export.checksums import checksums, seal
from drkd.export.manifest import Manifest
from drkd.export.mask_parity import FLOAT_MASKS, INT8_MASKS, MaskParity, compare_masks, masks_of, refuse_masks_beyond
from drkd.export.parity import FLOAT, INT8, Parity, Tolerance, compare_logits, logits_of, refuse_beyond
from drkd.export.quantizing import Calibration, evenly, quantize_onnx
from drkd.export.records import Calibrated, ExportRecord
from drkd.export.runtimes import NetworkSession, Pixels, Session, files_of, session_class
from drkd.export.writing import FORMATS, Format, write_onnx
from drkd.runs.evaluating import data_of
from drkd.targets import state_hash
from drkd.tasks import Task, TaskData, get_task
from drkd.tasks.loading import load_model
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_count
from drkd.utils.errors import InputError
from drkd.utils.files import cannot_write, replacing
from drkd.utils.locks import LockedError, locked
from drkd.utils.machine import environment

SCRATCH, LOCK = ".scratch", "lock"
"""How an export's temporary folder ends, and the file in it that the export locks."""

Pair = tuple[Session, Session]
"""The network, and the file made from it."""


def export_run(
    run: str | Path,
    format: str = "onnx",
    *,
    quantize: Literal["int8"] | None = None,
    out: str | Path | None = None,
    data: str | None = None,
    split: str | None = None,
    samples: int = 1000,
    calibration: Calibration = "minmax",
    calibration_samples: int = 256,
    tolerance: Tolerance | Mapping[str, float] | None = None,
) -> ExportRecord:
    """Write a run's network as a file of another format, and keep it only if it answers as the network does.

    Args:
        run: a run directory, or its `model.safetensors`.
        format: one of `drkd.export.writing.FORMATS`.
        quantize: `int8` for 8-bit weights and activations, their ranges measured on training images.
        out: the file (default: in the folder `exports` of the run).
        data: data to check and calibrate on (default: the run's).
        split: `val` or `test`, to check on (default: val, or test where there is none).
        samples: how many images of it, evenly spaced.
        calibration: how int8 chooses its ranges: minmax or percentile.
        calibration_samples: on how many training images int8 measures them.
        tolerance: what may differ, or some of its fields (default: `FLOAT` or `INT8` of `drkd.export.parity`, of
            detectors `FLOAT_BOXES` or `INT8_BOXES` of `drkd.export.box_parity`, of segmenters `FLOAT_MASKS` or
            `INT8_MASKS` of `drkd.export.mask_parity`).

    Returns:
        Where the file is, and what was found; it is also written beside the file, as FILE.json.

    Raises:
        InputError: for unknown names, a missing extra, or a network that cannot be traced.
        ParityError: if the file differs from the network beyond the tolerance; then nothing is kept.

    Example:
        >>> from drkd.config import TrainConfig, resolve
        >>> from drkd.runs.training import train
        >>> options = {"method": "cross_entropy", "model": "mlp", "epochs": 1, "limit_train": 100}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(*resolve(TrainConfig, options), Path(folder) / "run")
        ...     export_run(Path(folder) / "run", "torch").parity.agreement
        1.0
    """
    check_arguments(export_run, locals())
    for what, count in (("samples", samples), ("calibration_samples", calibration_samples)):
        check_count(what, count)
    source = Path(run)
    chosen = _format(format, quantize, calibration)
    model, info = load_model(source)
    task = get_task(info.task)
    deployed, check = task.deploy(model, info), CHECKS[task.outputs[0]]
    target = Path(out) if out is not None else _default_path(source, f"model{'-int8' if quantize else ''}")
    target = target if target.suffix == chosen.suffix else target.with_name(target.name + chosen.suffix)
    known = data_of(source, info, data, split or "either")
    name, part = _split(known, split)
    manifest = Manifest.of(info, sha256=state_hash(model), quantize=quantize)
    usual = check.int8 if quantize else check.float
    allowed = tolerance if isinstance(tolerance, Tolerance) else replace(usual, **dict(tolerance or {}))
    seen = task.pixels(known.train, _spread(known.train, calibration_samples)) if quantize else None
    with _scratch(target) as folder:
        fresh = folder / target.name
        _write(deployed, manifest, fresh, chosen, seen, calibration)
        seal(fresh)
        sessions = NetworkSession(source), session_class(fresh)(fresh)
        parity = check.compare(sessions, task, part, _spread(part, samples))
        check.refuse(allowed, parity, target.name, "try another --calibration, or " if quantize else "")
        record = ExportRecord(
            path=target,
            file=target.name,
            format=format,
            bytes=sum(file.stat().st_size for file in files_of(fresh)),
            checksums=checksums(files_of(fresh)),
            manifest=manifest,
            split=name,
            parity=parity,
            tolerance=allowed,
            calibration=None if seen is None else Calibrated(calibration, len(seen)),
            environment=environment(),
        )
        for file in reversed(files_of(fresh)):
            with replacing(target.with_name(file.name)) as beside:
                file.replace(beside)
        record.write()
    return record


def _format(name: str, quantize: str | None, calibration: str) -> Format:
    """The format, if all of this goes together."""
    chosen = FORMATS.get(name)
    if chosen is None:
        raise InputError(f"--format should be one of {', '.join(FORMATS)}, got {name!r}")
    if quantize not in (None, "int8"):
        raise InputError(f"--quantize should be int8, got {quantize!r}")
    if quantize and chosen.convert is None:
        able = ", ".join(other for other in FORMATS if FORMATS[other].convert is not None)
        raise InputError(f"--quantize is for {able}, not for {name}; leave it out")
    if calibration not in ("minmax", "percentile"):
        raise InputError(f"--calibration should be minmax or percentile, got {calibration!r}")
    return chosen


def _write(
    deployed: nn.Module,
    manifest: Manifest,
    path: Path,
    chosen: Format,
    pixels: Sequence[Pixels] | Pixels | None,
    calibration: Calibration,
) -> None:
    """The file, in int8 if there are pixels to calibrate on."""
    if chosen.write is not None and pixels is None:
        chosen.write(deployed, manifest, path)
        return
    assert chosen.convert is not None  # _format refuses int8 without it
    source = path.with_name("float.onnx")
    write_onnx(deployed, replace(manifest, quantize=None), source)
    if pixels is not None:
        in_float, source = source, path.with_name("int8.onnx")
        quantize_onnx(in_float, source, manifest, pixels, calibration)
    chosen.convert(source, manifest, path)


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`; an error leaves nothing behind, and what killed exports left there goes."""
    existed = target.parent.is_dir()
    try:
        target.parent.mkdir(exist_ok=True)
        for left in target.parent.glob(f".*{SCRATCH}"):
            with contextlib.suppress(LockedError):  # an export that is running holds it
                with locked(left / LOCK):
                    pass
                shutil.rmtree(left, ignore_errors=True)  # only now: Windows removes no open file
        with (
            tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=SCRATCH, dir=target.parent) as folder,
            locked(Path(folder) / LOCK),
        ):
            yield Path(folder)
    except OSError as reason:
        raise cannot_write(target, reason) from reason
    finally:
        if not existed and target.parent.is_dir() and not any(target.parent.iterdir()):
            target.parent.rmdir()


def _default_path(run: Path, name: str) -> Path:
    return (run if run.is_dir() else run.parent) / "exports" / name


def _split(data: TaskData, split: str | None) -> tuple[str, Sized]:
    """The split to check on, with its name."""
    if split not in (None, "val", "test"):
        raise InputError(f"--split should be val or test, got {split!r}")
    name = split or ("val" if len(data.val) else "test")
    part: Sized = getattr(data, name)
    if not len(part):
        raise InputError(f"the {name} split of {data.name} is empty; check on the other one with --split")
    inputs = getattr(part, "inputs", None)
    if isinstance(inputs, torch.Tensor) and inputs.dtype != torch.uint8:
        raise InputError(
            f"exports take images, and {data.name} holds rows of a table; export drkd.load_model(run)[0] with torch"
        )
    return name, part


def _spread(split: Sized, count: int) -> torch.Tensor:
    """Evenly spaced positions of a split."""
    return torch.from_numpy(evenly(len(split), count))


def _check_logits(sessions: Pair, task: Task, part: Any, positions: torch.Tensor) -> Parity:
    pixels = cast("Pixels", task.pixels(part, positions))
    before, after = (logits_of(session, pixels) for session in sessions)
    return compare_logits(before, after, task.truth(part, positions), sessions[0].info.temperature)


def _check_boxes(sessions: Pair, task: Task, part: Any, positions: torch.Tensor) -> BoxParity:
    pixels = task.pixels(part, positions)
    before, after = (boxes_of(session, list(pixels)) for session in sessions)
    return compare_boxes(before, after, task.truth(part, positions))


def _check_masks(sessions: Pair, task: Task, part: Any, positions: torch.Tensor) -> MaskParity:
    """The first image alone, the rest in batches, so that another batch size is seen as well."""
    bounds = [0, *range(1, len(positions), task.batch), len(positions)]
    groups = (positions[start:end] for start, end in pairwise(bounds))
    answered = [masks_of(sessions, np.stack(list(task.pixels(part, group)))) for group in groups]
    before, after = (np.concatenate(masks) for masks in zip(*answered, strict=True))
    return compare_masks(before, after, task.truth(part, positions), sessions[0].info.classes)


class Check(NamedTuple):
    """How a file is compared with its network.

    Attributes:
        compare: the two sessions, on images of a split.
        refuse: raises where what was found exceeds a tolerance.
        float, int8: what may differ.
    """

    compare: Callable[[Pair, Task, Any, torch.Tensor], Any]
    refuse: Callable[[Tolerance, Any, str, str], None]
    float: Tolerance
    int8: Tolerance


CHECKS = {
    "logits": Check(_check_logits, refuse_beyond, FLOAT, INT8),
    "boxes": Check(_check_boxes, refuse_boxes_beyond, FLOAT_BOXES, INT8_BOXES),
    "mask": Check(_check_masks, refuse_masks_beyond, FLOAT_MASKS, INT8_MASKS),
}
"""By the first of what a task's networks answer."""
