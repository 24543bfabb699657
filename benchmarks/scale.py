"""What grows with the images, the classes and the processes of a training: the slopes behind docs/scale.md.

    python benchmarks/scale.py --csv benchmarks/evidence/scale.csv       # two minutes of one core, 3 GB of memory

Images are made up. Figures of time are seconds of this process, which other jobs on the machine disturb less, except
those of several processes, which are wall time. Each is measured once or a few times: a slope, no benchmark.

    loader      a training batch of 256 images, and the order of an epoch, over N
    files       a folder and a Parquet file of N images: reading, splits and fingerprint
    memory      the table of PS-KD: bytes of a sample, seconds of a batch of 256, over K
    cache       a teacher's answers on disk: bytes and seconds of an epoch, over K
    checkpoint  seconds and bytes, with the memory in it
    ranks       gathering a batch's logits from 1, 2 and 4 processes, and the memory of such a process
"""

import argparse
import csv
import io
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from PIL import Image

import drkd
from drkd.data import Data, Split
from drkd.data.augment import AUGMENTATIONS
from drkd.data.loader import Loader
from drkd.targets import Memory, StudentBatch
from drkd.targets.teacher_cache import TeacherCache
from drkd.utils.distributed import gather

BATCH = 256
Row = tuple[str, str, int, int, float, str]
"""Part, what, N, K, value, unit."""


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    started = clock()
    work()
    return clock() - started


def loader(folder: Path) -> Iterator[Row]:
    del folder
    for count in (10**4, 10**5, 10**6):
        images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
        train = Split(images, torch.zeros(count, dtype=torch.long))
        none = train.select(torch.arange(0))
        half = (0.5,) * 3
        made = Data(
            "made up", ("a", "b"), train, none, none, augmentation=AUGMENTATIONS["crop_flip"], mean=half, std=half
        )
        serving = Loader(made, train, batch_size=BATCH, training=True)
        batches = serving.batches(1)
        yield "loader", "first batch of an epoch", count, 0, seconds(partial(next, batches)), "s"
        taken = seconds(lambda batches=batches: list(islice(batches, 38)))
        yield "loader", "later batch", count, 0, taken / 38, "s"


def files(folder: Path) -> Iterator[Row]:
    drawn = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(drawn, "JPEG")
    written = 0
    for count in (100, 1000, 4000):  # the first is paid for what is imported
        for number in range(written, count):
            place = folder / "photos" / "train" / f"class-{number % 10}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.jpg").write_bytes(drawn.getvalue() + number.to_bytes(4))
        written = count
        taken = seconds(lambda: drkd.load_data(str(folder / "photos"), image_size=32))
        yield "files", "a folder, all of it", count, 10, taken, "s"
        columns = {
            "image": [{"bytes": drawn.getvalue() + number.to_bytes(4), "path": None} for number in range(count)],
            "label": [number % 10 for number in range(count)],
        }
        place = folder / f"parquet-{count}"
        place.mkdir()
        for split in ("train", "test"):
            pq.write_table(pa.table(columns), place / f"{split}.parquet")
        taken = seconds(lambda place=place: drkd.load_data(str(place), image_size=32))
        yield "files", "Parquet, two splits of N", count, 10, taken, "s"


def memory(folder: Path) -> Iterator[Row]:
    del folder
    for classes in (1000, 21841):
        logits = torch.randn(BATCH, classes)
        for count in (2000, 8000):
            for keep in ("full", "half", 64):
                kept = Memory(count, keep=keep).train()
                index = torch.arange(BATCH)
                kept(StudentBatch(logits, index % classes, index=index))
                kept.update()  # the table has its size from here on

                def visit(kept: Memory = kept, index: torch.Tensor = index, logits: torch.Tensor = logits) -> None:
                    for _ in range(3):
                        kept(StudentBatch(logits, index, index=index))
                        kept.update()

                size = sum(table.nbytes for table in kept.buffers())
                yield "memory", f"{keep}: bytes of a sample", count, classes, size / count, "bytes"
                yield "memory", f"{keep}: a batch of {BATCH}", count, classes, seconds(visit) / 3, "s"


def cache(folder: Path) -> Iterator[Row]:
    for classes, count in ((1000, 20_000), (21841, 4000)):
        kept = TeacherCache(folder / f"cache-{classes}", {"teacher": classes}, limit=10**10)
        answers = np.zeros((count, classes), dtype=np.float16)
        yield "cache", "writing an epoch", count, classes, seconds(partial(kept.write, 0, answers)), "s"
        yield "cache", "finding an epoch", count, classes, seconds(partial(kept.read, 0, rows=count)), "s"
        size = sum(file.stat().st_size for file in kept.folder.glob("*.npy"))
        yield "cache", "bytes of a sample and epoch", count, classes, size / count, "bytes"


def checkpoint(folder: Path) -> Iterator[Row]:
    for count in (1000, 4000):
        data = drkd.load_data("digits", limit_train=200)
        student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        method = drkd.ps_kd()
        (target,) = (part for part in method.modules() if isinstance(part, Memory))
        out = folder / f"run-{count}"
        drkd.fit(student, method, data, epochs=1, out=out)
        target.table = torch.zeros(count, 21841)
        saving = out / "checkpoints" / "last"
        from safetensors.torch import save_file

        taken = seconds(lambda target=target: save_file({"table": target.table}, folder / "table.safetensors"))
        size = (folder / "table.safetensors").stat().st_size
        yield "checkpoint", "the memory's table", count, 21841, taken, "s"
        yield "checkpoint", "the memory's table", count, 21841, size, "bytes"
        small = sum(file.stat().st_size for file in saving.resolve().iterdir())
        yield "checkpoint", "mlp on digits, all else in it", 200, 10, small, "bytes"


def gather_often(rank: int, world: int, port: int, classes: int, answers: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", rank=rank, world_size=world, timeout=timedelta(seconds=60))
    rows = (torch.arange(BATCH // world), torch.zeros(BATCH // world, classes))
    gather(rows)
    taken = seconds(lambda: [gather(rows) for _ in range(3)], time.perf_counter) / 3
    if rank == 0:
        (most,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        answers.put((taken, int(most.split()[1]) / 1024))
    if world > 1:
        dist.destroy_process_group()


def ranks(folder: Path) -> Iterator[Row]:
    del folder
    context = multiprocessing.get_context("spawn")
    for classes in (1000, 21841):
        for world in (1, 2, 4):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            answers = context.Queue()
            workers = [
                context.Process(target=gather_often, args=(rank, world, port, classes, answers))
                for rank in range(world)
            ]
            for worker in workers:
                worker.start()
            taken, mebibytes = answers.get(timeout=300)
            for worker in workers:
                worker.join()
            yield "ranks", f"gathering a batch of {BATCH}, {world} ranks, wall", BATCH, classes, taken, "s"
            yield "ranks", f"a process of {world}, largest memory", BATCH, classes, mebibytes, "MiB"


PARTS = {each.__name__: each for each in (loader, files, memory, cache, checkpoint, ranks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--parts", default=",".join(PARTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, arguments.csv.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "what", "images", "classes", "value", "unit"])
        for part in arguments.parts.split(","):
            for row in PARTS[part](Path(folder)):
                print(*row, flush=True)
                writer.writerow([*row[:4], f"{row[4]:.4g}", row[5]])
                file.flush()


if __name__ == "__main__":
    main()
