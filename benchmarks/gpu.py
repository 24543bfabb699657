"""What a GPU is asked when one is at hand, within eight minutes; each figure is written as soon as it is known.

    python benchmarks/gpu.py --out runs/gpu                       # everything, the most important first
    timeout 8m python benchmarks/gpu.py --out runs/gpu            # where the machine is counted by the second
    python benchmarks/gpu.py --out runs/gpu --parts tests,sync --minutes 3
    python benchmarks/gpu.py --out runs/gpu --dry-run             # on the processor, with tiny settings

    tests      `pytest -m gpu`
    sync       how often a step of the training loop waits for the GPU: target 0
    steps      a step of DR-KD, its teacher live (target 1.30) and cached (1.03), over one of cross-entropy
    epochs     images per second of `drkd.fit`, loader and all, over those of its bare steps: target 0.95
    processes  images per second of several trainings at once over those of one
    large_k    losses of many classes over `F.cross_entropy`, with the Triton kernel and without

Networks have 100 classes and train in bfloat16, channels last, on batches of 128; plain, then compiled. OUT/gpu.csv has
a row per figure (part, what, median, least, most, unit, target, met), OUT/setting.json the machine. A part ends between
two figures when its time is over (compiling may take a minute longer); what no longer fits is named at the end. Without
a GPU the script runs dry.

drkd needs pydantic, torchvision, torchmetrics, safetensors, timm, typer and rich (pip names them). Where a GPU machine
has no network, carry those it lacks in a folder that git ignores. On a machine with a network, for Python 3.12:

    pip download --only-binary=:all: --python-version 3.12 --no-deps -d wheels \\
        pydantic pydantic-core==VERSION typing-inspection annotated-types       # VERSION: `pip show pydantic` names it
    pip install --no-index --find-links wheels --no-deps --target site pydantic pydantic-core typing-inspection \\
        annotated-types                                                         # on the GPU machine
    PYTHONPATH=src:site python3 benchmarks/gpu.py --out runs/gpu

Torch 2.10 or newer and the Python that has it are used as they are.
"""

import argparse
import csv
import json
import sys
import time
from dataclasses import fields
from pathlib import Path

import torch
from gpu_parts import DRY, PARTS, Figure, Setting

from drkd.utils.machine import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    if strangers := set(arguments.parts.split(",")) - set(PARTS):
        parser.error(f"unknown parts {', '.join(strangers)}; known are {', '.join(PARTS)}")
    started, dry = time.perf_counter(), arguments.dry_run or not torch.cuda.is_available()
    setting = DRY if dry else Setting("cuda")
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {**environment(), "dry_run": dry}
    (arguments.out / "setting.json").write_text(json.dumps(about, indent=2) + "\n")
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    left_out, names = [], [*(field.name for field in fields(Figure)), "met"]
    with (arguments.out / "gpu.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for part in arguments.parts.split(","):
            run, seconds = PARTS[part]
            left = 60 * arguments.minutes - (time.perf_counter() - started)
            if left < min(seconds, 15):
                left_out.append(part)
                continue
            try:
                for row in run(setting, min(left, seconds)):
                    cells = [*(getattr(row, name) for name in names[:-1]), "dry" if dry else row.met]
                    writer.writerow(cells)
                    file.flush()
                    print(
                        f"{row.part:10} {row.what:52} {row.median:12.4g} {row.unit} {row.target} {cells[-1]}",
                        flush=True,
                    )
            except Exception as reason:  # the other parts are still worth their time
                print(f"{part} failed: {type(reason).__name__}: {reason}", flush=True)
                left_out.append(part)
            print(f"-- {part}: {time.perf_counter() - started:.0f} s since the start", flush=True)
    print(f"left out or failed: {', '.join(left_out) or 'nothing'}")
    sys.exit(bool(left_out))


if __name__ == "__main__":
    main()
