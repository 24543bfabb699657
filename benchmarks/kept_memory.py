"""What keeping freed memory is worth: cross-entropy steps of two processes that take turns, one of which keeps it.

    python benchmarks/kept_memory.py --model mobilenetv2 --rounds 10

See `drkd.training.compilation.set_up_process`. Images of 32x32, 100 classes; medians [ranges], ratios within a round.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from drkd.config import BenchConfig
from drkd.models import MODELS
from drkd.report.speed import describe_machine, describe_spread
from drkd.studies.contenders import Contender
from drkd.utils.device import set_up_process
from drkd.utils.machine import environment
from drkd.utils.timing import ratios, spread, take_turns

contender: Contender


def start(keeps: bool, threads: int, config: BenchConfig) -> None:
    global contender  # noqa: PLW0603  # how an initializer hands something to the work of its process
    if keeps:
        set_up_process(threads)
    torch.set_num_threads(threads)
    contender = Contender("cross_entropy", config)


def step() -> None:
    contender.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="mobilenetv2")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    config = BenchConfig(model=arguments.model, classes=100, batch_size=arguments.batch_size, device="cpu")
    pools = {
        name: ProcessPoolExecutor(1, get_context("spawn"), start, (name == "kept", arguments.threads, config))
        for name in ("kept", "as it comes")
    }
    turns = {name: (lambda pool=pool: pool.submit(step).result()) for name, pool in pools.items()}
    seconds = take_turns(turns, rounds=arguments.rounds, device="cpu")
    print(describe_machine({**environment(), "threads": arguments.threads}, "cpu"))
    for name, taken in seconds.items():
        print(f"{config.model}, memory {name}: {describe_spread(spread([1e3 * one for one in taken]))} ms")
    print(f"kept / as it comes: {describe_spread(ratios(seconds['kept'], seconds['as it comes']))}")
    for pool in pools.values():
        pool.shutdown()


if __name__ == "__main__":
    main()
