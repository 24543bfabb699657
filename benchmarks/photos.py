"""What a person with photos gets: accuracy and time of each start, and the sweeps that chose the defaults for photos.

    python benchmarks/photos.py starts --data PARQUET --classes 6 --weights FILE --seeds 3
    python benchmarks/photos.py sweep --data PARQUET ANOTHER --classes 20 --images 20 --seeds 2 \\
        --fixed "model=timm:efficientnet_lite0 weights=FILE image_size=128 epochs=8" \\
        --settings "optimizer=adamw lr=0.0003" "optimizer=sgd lr=0.01"

`starts` writes the photos of the first classes into a folder per class, and trains as a person would, with the commands
that it prints: from random weights, with the pretrained backbone frozen, and fine-tuned. It reads the test split.

`sweep` trains with each of the settings and prints validation accuracy, of each seed and the mean; the test split is
not looked at. A quarter of the training photos is for validation. `--jobs` trainings run at a time, a thread each.
"""

import argparse
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
    "random weights": "",
    "pretrained, backbone frozen": "--weights FILE --freeze backbone --augment none",
    "pretrained, fine-tuned": "--weights FILE",
}


def unpack(source: Path, out: Path, classes: int, images: int | None) -> None:
    """Write the images of the first classes of Parquet files as files, a folder per class; `images` of each at most."""
    import pyarrow.parquet as pq

    for split in ("train", "test", "val"):
        for file in sorted(source.glob(f"{split}*.parquet")):
            table = pq.read_table(file)
            features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
            names = features["label"]["names"]
            counts = dict.fromkeys(range(classes), 0)
            for row, (image, label) in enumerate(
                zip(*(table[each].to_pylist() for each in ("image", "label")), strict=True)
            ):
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
            chosen = [str(arguments.weights) if word == "FILE" else word for word in options.split()]
            accuracies, seconds = [], []
            for seed in range(arguments.seeds):
                out = Path(scratch) / f"{name}-{seed}"
                options_of_all = f"--data {photos} --model {MODEL} --image-size {arguments.size} --method cross_entropy"
                command = ["drkd", "train", *options_of_all.split(), *chosen, "--seed", str(seed), "--out", str(out)]
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


def settings_of(text: str) -> dict[str, object]:
    """`lr=0.1 schedule=cosine` as options."""
    import yaml

    return {name: yaml.safe_load(value) for name, _, value in (part.partition("=") for part in text.split())}


def sweep(arguments: argparse.Namespace) -> None:
    """Train with each of the settings on every data set, with every seed."""
    fixed = {"method": "cross_entropy", "threads": 1, "validation": 0.25, **settings_of(arguments.fixed)}
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(arguments.jobs) as pool:
        for source in arguments.data:
            photos = Path(scratch) / source.name
            unpack(source, photos, arguments.classes, arguments.images)
            cells = [(text, seed) for text in arguments.settings for seed in range(arguments.seeds)]
            jobs = [(photos, {**fixed, **settings_of(text), "seed": seed}) for text, seed in cells]
            found: dict[str, list[float]] = {}
            for (text, _), accuracy in zip(cells, pool.map(validation_accuracy, jobs), strict=True):
                found.setdefault(text, []).append(accuracy)
                print(f"{source.name}: {text}: {accuracy:.1f}", flush=True)
            for text, values in found.items():
                each = ", ".join(f"{value:.1f}" for value in values)
                print(f"| {source.name} | {text} | {statistics.mean(values):.1f} | {each} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("starts", "sweep"))
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of Parquet files")
    parser.add_argument("--classes", type=int, default=6, help="the first so many")
    parser.add_argument("--images", type=int, help="training images of each class at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="of sweep: trainings at a time")
    parser.add_argument("--weights", type=Path, help=f"of starts: for {MODEL}")
    parser.add_argument("--size", type=int, default=160, help="of starts: side length")
    parser.add_argument("--fixed", default="", help="of sweep: options of every training")
    parser.add_argument("--settings", nargs="+", default=[""], help="of sweep: options of one training each")
    arguments = parser.parse_args()
    (starts if arguments.what == "starts" else sweep)(arguments)


if __name__ == "__main__":
    main()
