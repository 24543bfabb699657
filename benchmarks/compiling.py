"""What compiling costs, and who pays: the first training, the next in its process, the first of another process.

    python benchmarks/compiling.py --model mobilenetv2

Every training has a network of its own with other random weights, as those of a comparison have. The compiler's files
lie in a folder of their own, so the first process finds none; drkd itself leaves them where torch keeps them, from one
run to the next. Seconds of processor time up to the end of the first step, less those of a step; the compiler's own
processes count.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import torch

from drkd.config import BenchConfig
from drkd.studies.contenders import Contender
from drkd.utils.device import set_up_process


def spent() -> float:
    """Processor time of this process and of those that it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def first_steps(model: str, batch_size: int, trainings: int) -> list[float]:
    """Seconds that the first step of each of so many trainings takes beyond a step."""
    from torch._inductor.async_compile import shutdown_compile_workers

    config = BenchConfig(model=model, classes=100, batch_size=batch_size, device="cpu", compile="on")
    taken = []
    for seed in range(trainings):
        torch.manual_seed(seed)
        contender = Contender("cross_entropy", config)
        started = spent()
        contender.step()
        shutdown_compile_workers()  # their time counts once they have ended
        first, started = spent() - started, spent()
        contender.step()
        taken.append(first - (spent() - started))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inner:
        set_up_process(1)
        print(json.dumps(first_steps(arguments.model, arguments.batch_size, 2)))
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder}
        command = [sys.executable, __file__, "--inner", "--model", arguments.model]
        command += ["--batch-size", str(arguments.batch_size)]
        for process in ("first", "second"):
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            training, following = json.loads(done.stdout.splitlines()[-1])
            print(f"{process} process: first training {training:.1f} s, next training {following:.1f} s", flush=True)


if __name__ == "__main__":
    main()
