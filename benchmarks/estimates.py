"""The estimate that five commands print, beside the time that they took afterwards.

    python benchmarks/estimates.py --photos ../shared/data/cub100 --images ../shared/data/cifar10 \
        --weights ../shared/data/weights/efficientnet_lite0.safetensors

Each runs in a process of its own, as on the command line. `user` is the processor time of all its processes: where it
is far below the time that passed times the processors, other programs had the rest.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def commands(photos: str, weights: str, images: str) -> dict[str, list[str]]:
    """The command lines, by what they are about."""
    start = ["--data", photos, "--weights", weights, "--model", "timm:efficientnet_lite0", "--limit-test", "100"]
    few = [
        "--data",
        images,
        "--image-size",
        "32",
        "--validation",
        "0.01",
        "--limit-train",
        "256",
        "--limit-test",
        "300",
    ]
    return {
        "train, digits": ["train"],
        "compare, digits": ["compare"],
        "train, photos, frozen backbone": ["train", *start, "--freeze", "backbone", "--limit-train", "400"],
        "train, photos, fine-tuned, 2 epochs": [
            *("train", *start, "--method", "cross_entropy", "--limit-train", "100", "--epochs", "2"),
            *("--warmup-epochs", "0", "--validation", "0.05"),
        ],
        "train, ResNet-18 from scratch, 2 epochs": ["train", *few, "--model", "resnet18", "--epochs", "2"],
    }


def seconds_in(text: str) -> float | None:
    """What `about 12 minutes: ...` says."""
    match = re.match(r"about ([\d.,]+) (second|minute|hour|day)s?: ", text)
    return float(match[1].replace(",", "")) * UNITS[match[2]] if match else None


def run(command: list[str], out: Path) -> tuple[float, float, float, float, float]:
    """The first word, the estimate, when it came, how long the rest took, and the processor time."""
    started, before = time.monotonic(), os.times()
    line = [sys.executable, "-u", "-m", "drkd", *command, "--out", str(out)]
    first = told = estimate = 0.0
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for text in process.stdout or ():
            first = first or time.monotonic() - started
            if (found := seconds_in(text)) is not None:
                estimate, told = found, time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(line)} exited {process.returncode}")
    after = os.times()
    return first, estimate, told, time.monotonic() - started - told, after.children_user - before.children_user


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", required=True, help="folder of photos, a folder per class")
    parser.add_argument("--weights", required=True, help="of timm's efficientnet_lite0")
    parser.add_argument("--images", required=True, help="folder of small images, or cifar10:FOLDER")
    parser.add_argument("--only", default="", help="commands whose description has this in it")
    chosen = parser.parse_args()
    print("| command | first word s | estimate s | true s | true / estimate | told after s | user s |")
    print("|---|---|---|---|---|---|---|")
    for what, command in commands(chosen.photos, chosen.weights, chosen.images).items():
        if chosen.only in what:
            with tempfile.TemporaryDirectory() as folder:
                first, estimate, told, rest, user = run(command, Path(folder) / "run")
            numbers = f"{first:.1f} | {estimate:.0f} | {rest:.0f} | {rest / max(estimate, 0.1):.2f}"
            print(f"| {what} | {numbers} | {told:.0f} | {user:.0f} |", flush=True)


if __name__ == "__main__":
    main()
