"""The memory of a fine-tuning: what a process holds after a training, and its peak. Linux only.

    python benchmarks/peak_memory.py --data PHOTOS --weights FOLDER --size 224 --batch 16

An epoch of EfficientNet-Lite0 on 100 images, one thread; 300 are measured after it.
"""

import argparse
import tempfile
from pathlib import Path

import drkd
from drkd.runs.events import Event, RunDone


def megabytes(name: str) -> int:
    """`VmRSS`, what the process holds, or `VmHWM`, the most it ever did."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(name))


def note(event: Event) -> None:
    if isinstance(event, RunDone):
        print(f"{event.run}: holds {megabytes('VmRSS')} MB, peak {megabytes('VmHWM')} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        drkd.compare(
            **{"data": arguments.data, "model": "timm:efficientnet_lite0", "weights": arguments.weights},
            **{"image_size": arguments.size, "batch_size": arguments.batch, "epochs": 1, "validation": 0},
            **{"limit_train": 100, "limit_test": 300, "methods": ["cross_entropy"], "label_noise": [0]},
            **{"seeds": 1, "jobs": 1, "threads": 1, "out": f"{out}/compared", "on_event": note},
        )


if __name__ == "__main__":
    main()
