"""What a process holds that loads a file and answers a batch: `python -m drkd.export.memory FILE BATCH_SIZE THREADS`.

A process of its own, because memory once asked for is seldom given back, and one runtime would count for another.
"""

import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from drkd.export.runtimes import input_shape, open_session, session_class
from drkd.utils.errors import InputError

STATUS = Path("/proc/self/status")
"""Where Linux reports what a process holds."""


@dataclass(frozen=True)
class Memory:
    """What a process held.

    Attributes:
        process_mib: the most that the whole process held, interpreter and runtime included.
        file_mib: how much more that is than before the file was opened, with the runtime already imported.
    """

    process_mib: float
    file_mib: float


def measure_memory(path: Path, *, batch_size: int, threads: int, allow_code: bool = False) -> Memory | None:
    """Peak memory of a fresh process that loads `path` and answers a batch twice; None where there is no /proc.

    Raises:
        InputError: if that process fails.
    """
    if not STATUS.is_file():
        return None
    command = [sys.executable, "-m", "drkd.export.memory", str(path), str(batch_size), str(threads)]
    command += ["--allow-code"] * allow_code
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(f"{path} cannot be measured in a process of its own: {last[0]}")
    return Memory(**json.loads(done.stdout))


def measure_here(path: Path, *, batch_size: int, threads: int, allow_code: bool = False) -> Memory:
    """The same for this process; it is exact only for the first file of a process."""
    import_module(session_class(path).module)
    before = _mib("VmRSS")
    session = open_session(path, threads=threads, allow_code=allow_code)
    pixels = np.zeros((batch_size, *input_shape(session)), dtype=np.uint8)
    for _ in range(2):
        session(pixels)
    most = _mib("VmHWM")
    return Memory(most, max(0.0, most - before))


def _mib(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    file, batch, cores, *allowed = sys.argv[1:]
    measured = measure_here(Path(file), batch_size=int(batch), threads=int(cores), allow_code=bool(allowed))
    print(json.dumps(asdict(measured)))
