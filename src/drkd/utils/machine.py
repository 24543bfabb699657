"""What this machine is: its processors, and the versions that numbers are measured with."""

import os
import platform
from datetime import datetime
from pathlib import Path

from drkd._version import __version__
from drkd.utils.errors import InputError

Environment = dict[str, str | int | None]
"""What numbers were measured with, and when, by name."""


def processor_count() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(option: str, threads: int | None) -> None:
    """Refuse more threads than this machine has processors: they would only wait for each other, or end the process.

    Raises:
        InputError: that names `option`.
    """
    there = os.cpu_count() or 1
    if threads is not None and threads > there:
        raise InputError(
            f"{option} {threads} is more than the {there} processors of this machine; use {there} or fewer"
        )


def processor_name() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def environment() -> Environment:
    """What numbers are measured with, and when."""
    import torch

    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": platform.machine(),
        "system": platform.system(),
        "processors": processor_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "drkd": __version__,
    }
