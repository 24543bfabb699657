"""How fast and how large exported files are, in the runtime that a device would use, side by side in one process."""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from drkd.export.manifest import Manifest
from drkd.export.memory import measure_memory
from drkd.export.records import LATENCY, BenchedFile, CallTimes, LatencyResults, LatencySettings, MemorySetting
from drkd.export.runtimes import Session, files_of, input_shape, is_exported, open_session, runs_code
from drkd.models.files import model_file
from drkd.tasks import get_task
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.files import write_checked_json
from drkd.utils.machine import check_threads, environment, processor_name
from drkd.utils.timing import WARM_UP, Clock, take_turns

BURST = 10
"""Calls that a file makes in each of its turns, after one that is not counted: a runtime's threads may still be busy
waiting when the next one starts, and its caches are cold."""


def bench_files(
    sources: Sequence[str | Path],
    *,
    threads: Sequence[int] = (1,),
    batch_sizes: Sequence[int] = (1,),
    calls: int = 100,
    allow_code: bool = False,
    memory: bool = True,
    clock: Clock = time.perf_counter,
) -> LatencyResults:
    """Measure files, in turns, on made-up images.

    Args:
        sources: exported files, model files or run directories; for a run directory its network in torch and
            everything in its `exports` are measured. Given one run directory alone, the figures are also kept there.
        threads: processor threads, each number in turn.
        batch_sizes: images per call, each number in turn.
        calls: how many are counted of each file in each setting, rounded up to tens.
        allow_code: see `open_session`; without it, files of a run's `exports` that can run code are left out.
        memory: whether to measure it too, in a process for each file.
        clock: seconds from any start.

    Returns:
        What each file costs in each setting; memory at the largest batch and number of threads.

    Raises:
        InputError: for a missing or damaged file, one that can run code, numbers below 1, or more threads than this
            machine has.

    Example:
        >>> bench_files(["model.onnx"], threads=[0])
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: --threads should be 1 or more, got 0
    """
    check_arguments(bench_files, locals())
    for name, values in (("--threads", threads), ("--batch-sizes", batch_sizes), ("--calls", [calls])):
        if not values or min(values) < 1:
            raise InputError(f"{name} should be 1 or more, got {', '.join(map(str, values)) or 'nothing'}")
    check_threads("--threads", max(threads))
    paths = [file for source in sources for file in _files(Path(source), allow_code)]
    figures: dict[Path, list[CallTimes]] = {path: [] for path in paths}
    opened: dict[Path, tuple[str, str | None]] = {}
    for cores in threads:
        sessions = {path: open_session(path, threads=cores, allow_code=allow_code) for path in paths}
        for path, session in sessions.items():
            most = get_task(session.info.task).most_images
            if most is not None and max(batch_sizes) > most:
                raise InputError(f"{path} takes {most} image per call; leave out --batch-sizes")
        opened.update({path: (session.runtime, _quantize(session)) for path, session in sessions.items()})
        for batch_size in batch_sizes:
            for path, seconds in _measure(sessions, batch_size, calls, clock).items():
                p50, p95 = (float(value) for value in np.percentile(seconds, [50, 95]))
                figures[path].append(CallTimes(cores, batch_size, 1e3 * p50, 1e3 * p95, batch_size / p50))
        del sessions
    largest = MemorySetting(batch_size=max(batch_sizes), threads=max(threads))
    found = LatencyResults(
        environment={**environment(), "processor": processor_name()},
        settings=LatencySettings(list(threads), list(batch_sizes), calls, largest),
        files=[
            BenchedFile(
                file=str(path),
                runtime=opened[path][0],
                quantize=opened[path][1],
                bytes=sum(part.stat().st_size for part in files_of(path)),
                memory=measure_memory(
                    path, batch_size=largest.batch_size, threads=largest.threads, allow_code=allow_code
                )
                if memory
                else None,
                figures=figures[path],
            )
            for path in paths
        ],
    )
    run = Path(sources[0])
    if len(sources) == 1 and (run / "exports").is_dir():
        write_checked_json(run / "exports" / LATENCY, found.to_json())
    return found


def _quantize(session: Session) -> str | None:
    return session.info.quantize if isinstance(session.info, Manifest) else None


def _measure(sessions: dict[Path, Session], batch_size: int, calls: int, clock: Clock) -> dict[Path, list[float]]:
    """Seconds of each counted call of each file."""
    seconds: dict[Path, list[float]] = {path: [] for path in sessions}

    def burst(path: Path, session: Session) -> Callable[[], None]:
        pixels = np.random.default_rng(0).integers(0, 256, (batch_size, *input_shape(session)), dtype=np.uint8)

        def call() -> None:
            session(pixels)
            for _ in range(BURST):
                started = clock()
                session(pixels)
                seconds[path].append(clock() - started)

        return call

    take_turns({path: burst(path, session) for path, session in sessions.items()}, rounds=-(-calls // BURST))
    return {path: values[WARM_UP * BURST :] for path, values in seconds.items()}


def _files(source: Path, allow_code: bool) -> list[Path]:
    """All files of a source that may be loaded; a run's own network first."""
    if not source.is_dir():
        return [source]
    exports = sorted(path for path in (source / "exports").glob("*") if is_exported(path))
    if left := [path.name for path in exports if runs_code(path) and not allow_code]:
        warnings.warn(
            f"{', '.join(left)} is left out: it can run code when it is loaded; measure it with --allow-code if you "
            "trust its source",
            stacklevel=3,
        )
    return [model_file(source), *(path for path in exports if path.name not in left)]
