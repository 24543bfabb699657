"""What something costs: times of contenders that take turns in one process, and the memory that one of them holds."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

WARM_UP = 2
"""Rounds that are not counted: caches fill, memory is allocated, an accelerator chooses its kernels."""

Clock = Callable[[], float]
Spread = dict[str, float]
"""`median`, `min` and `max` of what was measured over the rounds."""
Name = TypeVar("Name", bound=Hashable)


def take_turns(
    contenders: Mapping[Name, Callable[[], object]],
    *,
    rounds: int,
    device: torch.device | str = "cpu",
    clock: Clock = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of each contender in each round; in a round every contender is called once, in their order.

    So whatever else the machine does meets all of them alike, and times of one round can be divided by each other.

    Args:
        contenders: by name, each to be called without arguments.
        rounds: how many are counted, after `WARM_UP` that are not.
        device: an accelerator is waited for before and after each call.
        clock: seconds from any start.

    Example:
        >>> times = iter(range(100))
        >>> take_turns({"a": lambda: None, "b": lambda: None}, rounds=2, clock=lambda: next(times))
        {'a': [1, 1], 'b': [1, 1]}
    """
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for turn in range(WARM_UP + rounds):
        for name, contender in contenders.items():
            wait_for(device)
            started = clock()
            contender()
            wait_for(device)
            if turn >= WARM_UP:
                seconds[name].append(clock() - started)
    return seconds


def wait_for(device: torch.device | str) -> None:
    """Wait until an accelerator has done its work; a processor always has."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)


def spread(values: Sequence[float]) -> Spread:
    """Median and range.

    Example:
        >>> spread([3.0, 1.0, 2.0])
        {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Median and range of the quotients round by round.

    Example:
        >>> ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
        {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    return spread([a / b for a, b in zip(above, below, strict=True)])


def peak_bytes(step: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most that a call of `step` holds at once, beyond what stood there before.

    On a processor from every allocation and release that `torch.profiler` records, which a library's own scratch memory
    is not among; on a GPU from its allocator.

    Example:
        >>> peak_bytes(lambda: torch.zeros(1000).add_(torch.ones(1000)))
        8000
    """
    if torch.device(device).type == "cuda":
        wait_for(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        wait_for(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler reports its own start and stop on standard error
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    with tempfile.TemporaryDirectory() as folder:
        profile.export_chrome_trace(str(Path(folder) / "trace.json"))
        trace = json.loads((Path(folder) / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    held = most = 0
    for event in sorted((event for event in trace if event["name"] == "[memory]"), key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most
