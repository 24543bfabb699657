"""What the objectives cost where there are many classes: time and memory beside `F.cross_entropy`.

    python benchmarks/large_k.py                                   # 256x21841 and 8192x32000 (needs 7 GB)
    python benchmarks/large_k.py --shapes 256x21841 --threads 1 --clock cpu --plain
    python benchmarks/large_k.py --json

One step is a forward and a backward pass to the gradient of float32 logits; the teacher's logits are given. Methods
take turns, and times are medians over the repeats, divided by the median of `F.cross_entropy`. `--clock cpu` counts the
process's own seconds, which other jobs on the machine disturb less; meaningful with one thread.

Memory is the peak of what one step holds at once, less the gradient, in units of B x K x 4 bytes, from every
allocation and release that `torch.profiler` records; logits, labels and the teacher's answer stood there before. On
glibc, whether the pages of a freed block are kept is decided by MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_:
with both very large no step pays for fresh pages, which is to the advantage of whoever allocates most.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import drkd
from drkd.objective import chunked as large
from drkd.utils.timing import peak_bytes, wait_for

BASE = "F.cross_entropy"


def steps(rows: int, classes: int, device: str = "cpu") -> tuple[Tensor, dict[str, Callable[[], Tensor]]]:
    """The student's logits, and each method's loss; the teacher is wrong nearly everywhere."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(rows, classes, generator=draw).to(device).requires_grad_()
    v = torch.randn(rows, classes, generator=draw).to(device)
    y = torch.randint(0, classes, (rows,), generator=draw).to(device)

    def teacher(_: Tensor) -> Tensor:
        return v

    methods = {
        "cross_entropy": drkd.cross_entropy(),
        "label_smoothing": drkd.label_smoothing(0.1),
        "kd": drkd.kd(teacher, 0.5, 4.0),
        "kd, T 1": drkd.kd(teacher, 0.5, 1.0),
        "dr_kd": drkd.dr_kd(teacher, 0.5, 4.0),
        "tf_kd_reg": drkd.tf_kd_reg(alpha=0.5, temperature=4.0),
    }
    losses_of = {name: lambda method=method: method(z, y, inputs=y)["loss"] for name, method in methods.items()}
    return z, {BASE: lambda: F.cross_entropy(z, y), **losses_of}


def seconds(step: Callable[[], Tensor], z: Tensor, clock: Callable[[], float], block: int = 1) -> float:
    """Of `block` steps one after the other: a GPU is waited for at both ends only."""
    wait_for(z.device)
    start = clock()
    for _ in range(block):
        z.grad = None
        step().backward()
    wait_for(z.device)
    return (clock() - start) / block


def held_bytes(step: Callable[[], Tensor], z: Tensor) -> int:
    """The most that one forward and backward pass holds at once."""
    z.grad = None
    return peak_bytes(lambda: step().backward(), z.device)


def extra_memory(method: str, rows: int, classes: int) -> float:
    """Peak memory of a step beyond the gradient, in units of B x K x 4 bytes."""
    z, made = steps(rows, classes)
    return held_bytes(made[method], z) / (4 * z.numel()) - 1


def measure(
    rows: int,
    classes: int,
    repeats: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    plain: bool = False,
    device: str = "cpu",
    kernels: bool = True,
    block: int = 1,
) -> list[dict[str, Any]]:
    z, made = steps(rows, classes, device)
    contestants = {(name, False): step for name, step in made.items()}
    if plain:
        contestants |= {(name, True): step for name, step in made.items() if name != BASE}
    times: dict[tuple[str, bool], list[float]] = {contestant: [] for contestant in contestants}
    memory = {}
    size, large.USE_KERNELS = large.LARGE_SIZE, kernels
    try:
        for turn in range(repeats + 1):  # the first warms up, and is the one whose memory is counted
            for contestant, step in contestants.items():
                large.LARGE_SIZE = 2**62 if contestant[1] else size
                if turn:
                    times[contestant].append(seconds(step, z, clock, block))
                else:
                    memory[contestant] = held_bytes(step, z) / (4 * z.numel()) - 1
    finally:
        large.LARGE_SIZE, large.USE_KERNELS = size, True
    base = statistics.median(times[BASE, False])
    return [
        {
            "shape": [rows, classes],
            "method": name + (" (plain)" if is_plain else ""),
            "seconds": statistics.median(taken),
            "ratio": statistics.median(taken) / base,
            "ratio_of_fastest": min(taken) / min(times[BASE, False]),
            "extra_memory": memory[name, is_plain],
        }
        for (name, is_plain), taken in times.items()
    ]


def setting(clock: str, repeats: int) -> dict[str, object]:
    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    return {
        "machine": models[0].split(":", 1)[1].strip() if models else platform.processor() or platform.machine(),
        "cores": len(models) or None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "drkd": drkd.__version__,
        "clock": clock,
        "repeats": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["256x21841", "8192x32000"], metavar="BxK")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--plain", action="store_true", help="also without pieces (several more B x K tensors)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    found = {"setting": setting(arguments.clock, arguments.repeats), "rows": []}
    for shape in arguments.shapes:
        rows, classes = (int(part) for part in shape.split("x"))
        found["rows"] += measure(rows, classes, arguments.repeats, clock=clock, plain=arguments.plain)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in found["setting"].items()))
    print(f"{'shape':<12} {'method':<24} {'median s':>9} {'x F.cross_entropy':>18} {'fastest':>8} {'extra memory':>13}")
    for row in found["rows"]:
        print(
            f"{'x'.join(map(str, row['shape'])):<12} {row['method']:<24} {row['seconds']:>9.4f} {row['ratio']:>18.2f} "
            f"{row['ratio_of_fastest']:>8.2f} {row['extra_memory']:>13.2f}"
        )


if __name__ == "__main__":
    main()
