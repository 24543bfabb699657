"""Every recipe in miniature: whether it runs here, and how long that takes.

    python benchmarks/miniatures.py [--recipes dr_kd/cifar10]

The test suite runs one for each method and network; this runs all, one after another in this process, each with the
teacher and the baseline that it needs where no earlier one has trained them.
"""

import argparse
import tempfile
import time

import torch

from drkd.studies.recipe import recipe_names
from drkd.studies.reproduction import reproduce


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default="", help="those whose names begin like this (default: all)")
    names = [name for name in recipe_names() if name.startswith(parser.parse_args().recipes)]
    torch.set_num_threads(1)
    failed, started, computed = [], time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        for name in names:
            begun = time.perf_counter()
            done = reproduce(name, miniature=True, seeds=1, jobs=1, out=out)
            failed += done.failures
            print(f"{time.perf_counter() - begun:6.2f} s  {name}  {'; '.join(done.failures.values())}", flush=True)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - computed
    print(f"{len(names)} miniatures, {len(failed)} failed, in {seconds:.0f} s ({cpu_seconds:.0f} s of one processor)")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
