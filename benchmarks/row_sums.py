"""What it costs to count a term's rows over all processes: two on this machine, gloo, DLB on digits.

    python benchmarks/row_sums.py

DLB's soft target teaches some rows of a batch only, so that every step adds two numbers up over the processes
(`drkd.objective.objective.Objective._rows_of_term`). Trainings with and without that take turns.
"""

import socket
import statistics
import time
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

TRAININGS, EPOCHS, BATCH_SIZE, CALLS = 12, 2, 64, 1500


def own_rows(_: Any, taught: Tensor, __: int | Tensor) -> Tensor:
    """What a term is divided by where nobody is asked."""
    return taught.clamp(min=1)


def work(rank: int, port: int) -> None:
    """What each process does; the first one prints."""
    import drkd
    from drkd.methods.registry import create
    from drkd.objective.objective import Objective
    from drkd.utils.distributed import add_up

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    ways = {"over all processes": Objective._rows_of_term, "its own only": own_rows}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    data, steps = drkd.load_data("digits"), 0.0
    for _ in range(TRAININGS):
        for name, way in ways.items():
            Objective._rows_of_term = way  # type: ignore[method-assign]
            student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
            objective = create("dlb", {}, epochs=EPOCHS)
            done = drkd.fit(student, objective, data, epochs=EPOCHS, batch_size=BATCH_SIZE)
            seconds[name].append(min(done.seconds_per_epoch))
            steps = done.step / EPOCHS
    pair, calls = torch.zeros(2, dtype=torch.float64), []
    for _ in range(CALLS):
        started = time.perf_counter()
        add_up(pair)
        calls.append(time.perf_counter() - started)
    if rank == 0:
        for name, values in seconds.items():
            least, median = (1000 * value / steps for value in (min(values), statistics.median(values)))
            print(f"rows of {name}: {least:.2f} ms a step at best, {median:.2f} in the median of {TRAININGS}")
        print(f"one sum alone: {1e6 * min(calls):.0f} us at best, {1e6 * statistics.median(calls):.0f} in the median")
    dist.destroy_process_group()


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, args=(port,), nprocs=2)


if __name__ == "__main__":
    main()
