"""drkd beside other people's training loops: images per second, seconds to the first step, memory; and decoding alone.

    python benchmarks/peers.py memory DATA --images 2560 --rounds 5        # DATA: CIFAR-10 as Parquet
    python benchmarks/peers.py photos --photos 192 --rounds 3              # 12-megapixel JPEGs, made here
    python benchmarks/peers.py decode --photos 96 --rounds 5

Every contender trains the same network on the same images in a process of its own, one after the other, in each round
in another order; ratios are taken within a round, so that other work on the machine meets all of them. Contenders that
are not installed are named and left out. Peers run with each of `--workers` (processes of torch's DataLoader), and the
faster one counts.

Seconds to the first step count from the start of the process to the end of its first optimizer step. Rates are those
from there on, and those of the whole training with its start; by the clock, and by seconds of processors, which hardly
depend on what else the machine does. Memory is that of the process and its workers at the most; pages that they share
count once.
"""

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from peer_loops import CONTENDERS, busy_seconds

OURS = ("drkd.fit", "drkd train")
SIZES = {"12 megapixels": (4000, 3000), "500 pixels": (500, 375)}


class Figures(NamedTuple):
    """Of one training.

    Attributes:
        rate, busy_rate: images per second, and per second of a processor, from the end of the first step on.
        whole, busy_whole: the same with all that comes before it.
        first_step, busy_start: seconds to its end, and seconds of processors.
        memory: MiB at the most.
    """

    rate: float
    busy_rate: float
    whole: float
    busy_whole: float
    first_step: float
    busy_start: float
    memory: float


def train(name: str, how: dict[str, Any], images: int) -> Figures:
    """One training of a contender in a process of its own."""
    started = time.time()
    command = [sys.executable, str(Path(__file__).with_name("peer_loops.py")), name, json.dumps(how)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        peak = [0.0]
        watcher = threading.Thread(target=watch, args=(process, peak))
        watcher.start()
        out, errors = process.communicate()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{name} failed:\n{errors[-3000:]}")
    steps = json.loads(out.strip().splitlines()[-1])["steps"]
    (first, first_busy), (last, last_busy) = steps[0], steps[-1]
    served = images * how["epochs"]
    rest = served - how["batch"]
    return Figures(
        rest / (last - first),
        rest / (last_busy - first_busy),
        served / (last - started),
        served / last_busy,
        first - started,
        first_busy,
        peak[0],
    )


def watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    """Note the most memory that a process and its children have at a time, in MiB."""
    while process.poll() is None:
        peak[0] = max(peak[0], sum(proportional(each) for each in family(process.pid)))
        time.sleep(0.3)


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))
    except OSError:  # it has ended
        return


def proportional(pid: int) -> float:
    """MiB of a process; of what several share, its part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def contenders(arguments: Namespace) -> dict[str, tuple[str, int]]:
    """Who takes part, by the name in the table: contender, and workers."""
    found = {}
    for name in arguments.contenders or CONTENDERS:
        if importlib.util.find_spec(CONTENDERS[name][1]) is None:
            print(f"{name}: {CONTENDERS[name][1]} is not installed; left out")
        elif name in OURS:
            found[name] = (name, 0)
        else:
            found |= {f"{name}, {workers} workers": (name, workers) for workers in arguments.workers}
    return found


def rounds(arguments: Namespace, folder: Path, images: int, classes: int) -> None:
    """Train in turns with each network, and print a table of each."""
    taking_part = contenders(arguments)
    same = {key: getattr(arguments, key) for key in ("size", "batch", "epochs", "threads", "channels_last")}
    for model in arguments.networks:
        how = {**same, "folder": str(folder.absolute()), "model": model, "classes": classes}
        measured: dict[str, list[Figures]] = {label: [] for label in taking_part}
        for number in range(arguments.rounds):
            order = list(taking_part)
            random.Random(number).shuffle(order)
            for label in order:
                name, workers = taking_part[label]
                measured[label].append(train(name, how | {"workers": workers}, images))
                print(f"  round {number} {model} {label}: {measured[label][-1]}", file=sys.stderr, flush=True)
        print(f"\n{model}, {images} images, batches of {arguments.batch}, {arguments.epochs} epochs, {load()}\n")
        table(measured, taking_part)


COLUMNS = {
    "images/s": "rate",
    "images/s of a processor": "busy_rate",
    "with its start": "busy_whole",
    "first step, s": "first_step",
    "the same of a processor": "busy_start",
    "MiB": "memory",
}


def table(measured: dict[str, list[Figures]], taking_part: dict[str, tuple[str, int]]) -> None:
    """Medians [ranges], and the last of ours over each peer, within rounds."""
    ours = next((name for name in reversed(OURS) if name in measured), None)
    best: dict[str, str] = {}
    for label, (name, _) in taking_part.items():  # of a peer's settings, the faster one
        if name not in best or median(measured, label, "rate") > median(measured, best[name], "rate"):
            best[name] = label
    tell("", *COLUMNS)
    print("|---|" + "---:|" * len(COLUMNS))
    for label in best.values():
        tell(label, *(spread([getattr(row, key) for row in measured[label]]) for key in COLUMNS.values()))
    if ours is None:
        return
    print()
    tell(f"{ours} over", *COLUMNS)
    print("|---|" + "---:|" * len(COLUMNS))
    for label, (name, _) in taking_part.items():
        if name not in OURS:
            pairs = list(zip(measured[ours], measured[label], strict=True))
            keys = COLUMNS.values()
            tell(label, *(spread([getattr(one, key) / getattr(other, key) for one, other in pairs]) for key in keys))


def tell(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def median(measured: dict[str, list[Figures]], label: str, key: str) -> float:
    return statistics.median(getattr(row, key) for row in measured[label])


def spread(values: list[float]) -> str:
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def load() -> str:
    return f"load average {os.getloadavg()[1]:.1f}"


def decode(arguments: Namespace, scratch: Path) -> None:
    """Images per second of the loaders alone: decoded, scaled, cropped, mirrored, normalised, in batches."""
    import torch
    from peer_data import loader_of, make_photos, timm_loader

    from drkd.data.augment import AUGMENTATIONS
    from drkd.data.datasets import Data, Split
    from drkd.data.images import load_images
    from drkd.data.loader import Loader

    for name, (width, height) in SIZES.items():
        folder = scratch / name.replace(" ", "-")
        if not folder.exists():
            make_photos(folder, arguments.photos * (1 if width > 1000 else 8), width, height)
        files = sorted((folder / "train").glob("*/*.jpg"))
        for size in arguments.sizes:
            images = load_images(files, size, lazy=True)
            split = Split(images, torch.zeros(len(files), dtype=torch.int64))
            data = Data("photos", ("a",), split, split, split, AUGMENTATIONS["crop_flip"], (0.5,) * 3, (0.2,) * 3)
            ours = Loader(data, split, batch_size=arguments.batch, training=True)
            loaders: dict[str, Callable[[], Any]] = {"drkd": ours.batches}
            for workers in arguments.workers:
                loaders[f"torchvision, {workers} workers"] = loader_of(folder, size, arguments.batch, workers).__iter__
                if importlib.util.find_spec("timm"):
                    loaders[f"timm, {workers} workers"] = timm_loader(folder, size, arguments.batch, workers).__iter__
            print(f"\n{name}, {len(files)} JPEGs to {size} pixels, batches of {arguments.batch}, {load()}\n")
            compare_loaders(loaders, arguments.rounds)


def compare_loaders(loaders: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Let loaders serve an epoch in turns, and print a table; the first one is ours."""
    rates: dict[str, list[tuple[float, float]]] = {label: [] for label in loaders}
    for number in range(rounds):
        order = list(loaders)
        random.Random(number).shuffle(order)
        for label in order:
            began, busy = time.perf_counter(), busy_seconds()
            served = sum(len(batch[1]) for batch in loaders[label]())
            rates[label].append((served / (time.perf_counter() - began), served / (busy_seconds() - busy)))
    ours = rates[next(iter(rates))]
    tell("", "images/s", "images/s of a processor", "ours over it", "the same of a processor")
    print("|---|" + "---:|" * 4)
    for label, row in rates.items():
        pairs = list(zip(ours, row, strict=True))
        own = (spread([each[kind] for each in row]) for kind in (0, 1))
        tell(label, *own, *(spread([one[kind] / other[kind] for one, other in pairs]) for kind in (0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "photos", "decode"))
    parser.add_argument(
        "data",
        nargs="?",
        type=Path,
        help="of memory: a folder with train.parquet and test.parquet; of photos: train/CLASS/*.jpg, test/CLASS/*.jpg; "
        "of decode: a folder of two such folders, 12-megapixels and 500-pixels",
    )
    parser.add_argument("--networks", default="small_cnn,mobilenetv2", type=names)
    parser.add_argument("--contenders", type=names, help=", ".join(CONTENDERS))
    parser.add_argument("--images", type=int, default=1280, help="of memory")
    parser.add_argument("--photos", type=int, default=96, help="large photos that are made; of decode 8 times as small")
    parser.add_argument("--size", type=int, help="to which photos are scaled for a training (default: 64)")
    parser.add_argument("--sizes", type=numbers, default="64,128,224", help="the same, of decode")
    parser.add_argument("--batch", type=int, help="default: 128, of photos 32")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of torch (default: as it chooses)")
    parser.add_argument("--workers", type=numbers, default="0,2", help="processes that load, for peers")
    parser.add_argument("--channels-last", action="store_true", help="give peers the memory order that drkd takes")
    arguments = parser.parse_args()
    in_memory = arguments.what == "memory"
    if in_memory and arguments.data is None:
        parser.error("memory needs DATA")
    arguments.batch = arguments.batch or (128 if in_memory else 32)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        if arguments.what == "decode":
            decode(arguments, arguments.data or Path(scratch))
            return
        from peer_data import first_rows, make_photos

        if in_memory:
            first_rows(arguments.data, folder, arguments.images)
            arguments.size = 32
            rounds(arguments, folder, arguments.images, classes=10)
            return
        arguments.size = arguments.size or 64
        if arguments.data is None:
            make_photos(folder, arguments.photos, *SIZES["12 megapixels"])
        folder = arguments.data or folder
        files = len(list((folder / "train").glob("*/*.jpg")))
        rounds(arguments, folder, files, classes=len(list((folder / "train").iterdir())))


def names(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
