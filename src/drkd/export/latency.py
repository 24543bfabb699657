"""How fast and how large exported files are, in the runtime that a device would use, side by side in one process."""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drkd.export.memory import measure_memory
from drkd.export.runtimes import Pixels, Session, files_of, is_exported, open_session
from drkd.models.loading import model_file
from drkd.studies.results import environment
from drkd.utils.errors import InputError
from drkd.utils.files import write_json
from drkd.utils.timing import WARM_UP, Clock, take_turns

BURST = 10
"""Calls that a file makes in each of its turns, after one that is not counted: a runtime's threads may still be busy
waiting when the next one starts, and its caches are cold."""

FILE = "latency.json"
"""Where the figures of a run's exports are kept, beside them."""


def bench_files(
    sources: Sequence[str | Path],
    *,
    threads: Sequence[int] = (1,),
    batch_sizes: Sequence[int] = (1,),
    calls: int = 100,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Measure files, in turns, on made-up images.

    Args:
        sources: exported files, model files or run directories; a run directory stands for its network in torch and
            everything in its `exports`. Given one run directory alone, the figures are also kept there.
        threads: processor threads, each number in turn.
        batch_sizes: images per call, each number in turn.
        calls: how many are counted of each file in each setting, rounded up to tens.
        clock: seconds from any start.

    Returns:
        `environment`, `settings` and `files`: for each `file`, `runtime`, `quantize`, `bytes`, `memory` (see
        `drkd.export.memory.Memory`, at the largest batch and number of threads) and `figures`, a list of `threads`,
        `batch_size`, `p50_ms`, `p95_ms`, `images_per_second` (at the median).

    Raises:
        InputError: for a missing or damaged file, or numbers below 1.

    Example:
        >>> bench_files(["model.onnx"], threads=[0])
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: --threads should be 1 or more, got 0
    """
    for name, values in (("--threads", threads), ("--batch-sizes", batch_sizes), ("--calls", [calls])):
        if not values or min(values) < 1:
            raise InputError(f"{name} should be 1 or more, got {', '.join(map(str, values)) or 'nothing'}")
    paths = [file for source in sources for file in _files(Path(source))]
    figures: dict[Path, list[dict[str, float]]] = {path: [] for path in paths}
    about = {}
    for cores in threads:
        sessions = {path: open_session(path, threads=cores) for path in paths}
        about.update({path: (session.runtime, session.about.get("quantize")) for path, session in sessions.items()})
        for batch_size in batch_sizes:
            for path, seconds in _measure(sessions, batch_size, calls, clock).items():
                p50, p95 = (float(value) for value in np.percentile(seconds, [50, 95]))
                row = {"threads": cores, "batch_size": batch_size, "p50_ms": 1e3 * p50, "p95_ms": 1e3 * p95}
                figures[path].append({**row, "images_per_second": batch_size / p50})
        del sessions
    largest = {"batch_size": max(batch_sizes), "threads": max(threads)}
    found = {
        "environment": {**environment(), "processor": processor()},
        "settings": {"threads": list(threads), "batch_sizes": list(batch_sizes), "calls": calls, "memory": largest},
        "files": [
            {
                "file": str(path),
                "runtime": about[path][0],
                "quantize": about[path][1],
                "bytes": sum(part.stat().st_size for part in files_of(path)),
                "memory": measure_memory(path, **largest),
                "figures": figures[path],
            }
            for path in paths
        ],
    }
    run = Path(sources[0])
    if len(sources) == 1 and (run / "exports").is_dir():
        write_json(run / "exports" / FILE, found)
    return found


def processor() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _measure(sessions: dict[Path, Session], batch_size: int, calls: int, clock: Clock) -> dict[Path, list[float]]:
    """Seconds of each counted call of each file."""
    seconds: dict[Path, list[float]] = {path: [] for path in sessions}

    def burst(path: Path, session: Session) -> Callable[[], None]:
        pixels = _noise(session, batch_size)

        def call() -> None:
            session(pixels)
            for _ in range(BURST):
                started = clock()
                session(pixels)
                seconds[path].append(clock() - started)

        return call

    take_turns({path: burst(path, session) for path, session in sessions.items()}, rounds=-(-calls // BURST))
    return {path: values[WARM_UP * BURST :] for path, values in seconds.items()}


def _noise(session: Session, batch_size: int) -> Pixels:
    side = session.about["image_size"]
    shape = (batch_size, session.about["channels"], side, side)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _files(source: Path) -> list[Path]:
    """The files that `source` stands for; a run's own network first."""
    if not source.is_dir():
        return [source]
    exports = sorted(path for path in (source / "exports").glob("*") if is_exported(path))
    return [model_file(source), *exports]
