"""What a person with photos gets: the accuracy and the time of each start, and how the fine-tuning defaults were chosen.

    python benchmarks/photos.py starts --data PARQUET --classes 6 --weights FILE --seeds 3
    python benchmarks/photos.py sweep --data PARQUET ANOTHER --classes 20 --images 20 --weights FILE --seeds 2

`starts` writes the photos of the first classes into a folder per class, and trains as a person would, with the commands
that it prints: from random weights, with the pretrained backbone frozen, and fine-tuned. It reads the test split.

`sweep` fine-tunes with each optimizer and learning rate and prints validation accuracy, mean over seeds; the test split
is not looked at. Two trainings run at a time, with one thread each.
"""

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

MODEL = "timm:efficientnet_lite0"
STARTS = {
    "random weights": [],
    "pretrained, backbone frozen": ["--weights", "FILE", "--freeze", "backbone", "--augment", "none"],
    "pretrained, fine-tuned": ["--weights", "FILE"],
}
RATES = {"adamw": (1e-4, 3e-4, 1e-3), "sgd": (0.003, 0.01, 0.03)}


def unpack(source: Path, out: Path, classes: int, images: int | None) -> None:
    """Write the images of the first classes of Parquet files as files, a folder per class; `images` of each at most."""
    import pyarrow.parquet as pq

    for split in ("train", "test", "val"):
        for file in sorted(source.glob(f"{split}*.parquet")):
            table = pq.read_table(file)
            features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
            names = features["label"]["names"]
            counts = dict.fromkeys(range(classes), 0)
            for row, (image, label) in enumerate(zip(*(table[name].to_pylist() for name in ("image", "label")))):
                if label < classes and (images is None or split != "train" or counts[label] < images):
                    counts[label] += 1
                    folder = out / split / re.sub(r"\W", "_", names[label])
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / f"{row}.jpg").write_bytes(image["bytes"])


def starts(arguments: argparse.Namespace) -> None:
    """Train from each start with each seed, through the command line."""
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        unpack(arguments.data[0], photos, arguments.classes, arguments.images)
        for name, options in STARTS.items():
            chosen = [str(arguments.weights) if word == "FILE" else word for word in options]
            accuracies, seconds = [], []
            for seed in range(arguments.seeds):
                out = Path(scratch) / f"{name}-{seed}"
                command = [
                    "drkd",
                    "train",
                    "--data",
                    str(photos),
                    "--model",
                    MODEL,
                    "--image-size",
                    str(arguments.size),
                ]
                command += ["--method", "cross_entropy", *chosen, "--seed", str(seed), "--out", str(out)]
                started = time.perf_counter()
                subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
                seconds.append(time.perf_counter() - started)
                accuracies.append(100 * json.loads((out / "summary.json").read_text())["test"]["accuracy"])
            shown = " ".join(command).replace(str(photos), "PHOTOS").replace(str(arguments.weights), "FILE")
            spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
            print(f"{name}: {statistics.mean(accuracies):.1f} +- {spread:.1f} %, {statistics.mean(seconds):.0f} s each")
            print(f"  {shown.rpartition(' --seed')[0]}", flush=True)


def validation_accuracy(job: tuple[Path, dict[str, object]]) -> float:
    """Of one training."""
    from drkd.config import TrainConfig, resolve
    from drkd.runs.training import train

    folder, options = job
    with tempfile.TemporaryDirectory() as scratch:
        summary = train(*resolve(TrainConfig, {**options, "data": str(folder)}), Path(scratch) / "run")
    assert summary.val is not None
    return 100 * summary.val.accuracy


def sweep(arguments: argparse.Namespace) -> None:
    """Fine-tune with each optimizer and rate on every data set."""
    from drkd.config import TrainConfig, resolve  # noqa: F401  # before the processes begin

    fixed = {
        **{"model": MODEL, "weights": str(arguments.weights), "method": "cross_entropy", "image_size": arguments.size},
        **{"schedule": "cosine", "warmup_epochs": 1.0, "epochs": arguments.epochs, "batch_size": 32, "threads": 1},
        **{"augment": arguments.augment, "validation": 0.25, "no_norm_decay": True},
    }
    settings = [{"optimizer": name, "lr": lr} for name, rates in RATES.items() for lr in rates]
    for one in settings:
        one["weight_decay"] = 0.05 if one["optimizer"] == "adamw" else 5e-4
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(2) as pool:
        for source in arguments.data:
            photos = Path(scratch) / source.name
            unpack(source, photos, arguments.classes, arguments.images)
            cells = list(itertools.product(settings, range(arguments.seeds)))
            found = pool.map(validation_accuracy, [(photos, {**fixed, **one, "seed": seed}) for one, seed in cells])
            by_setting: dict[str, list[float]] = {}
            for (one, _), accuracy in zip(cells, found, strict=True):
                key = f"{one['optimizer']} {one['lr']:g}"
                by_setting.setdefault(key, []).append(accuracy)
                print(source.name, key, f"{accuracy:.1f}", flush=True)
            for key, values in by_setting.items():
                print(f"| {source.name} | {key} | {statistics.mean(values):.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("starts", "sweep"))
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of Parquet files")
    parser.add_argument("--weights", type=Path, required=True, help=f"of {MODEL}")
    parser.add_argument("--classes", type=int, default=6, help="the first so many")
    parser.add_argument("--images", type=int, help="training images of each class at most")
    parser.add_argument("--size", type=int, default=160, help="side length")
    parser.add_argument("--epochs", type=int, default=10, help="of the sweep")
    parser.add_argument("--augment", default="imagenet", help="of the sweep")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    (starts if arguments.what == "starts" else sweep)(arguments)


if __name__ == "__main__":
    main()
