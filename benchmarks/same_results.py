"""Whether a change of the code changes any result: some eighteen small runs, and a SHA-256 of what each of them gave.

    python benchmarks/same_results.py > before.txt      # before the change
    python benchmarks/same_results.py > after.txt       # after it
    diff before.txt after.txt

Every run is a command in a process of its own: all kinds of targets, pairs and replay, a cache, an interrupted training
that is resumed, detection, two processes that share each batch, a comparison. Each row has the run's name, the hash of
its weights (names, shapes, types and bytes) and the hash of its `metrics.csv`. About three minutes on two cores; equal
rows are to be expected on one machine and one version of torch only.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

DIGITS = ["--data", "digits", "--model", "mlp", "--limit-train", "200", "--epochs", "4", "--threads", "1"]
CNN = ["--data", "digits", "--model", "small_cnn", "--limit-train", "120", "--epochs", "3", "--threads", "1"]
PHOTOS = ["--data", "photos", "--model", "mobilenetv2", "--epochs", "2", "--batch-size", "16", "--threads", "1"]
BOXES = ["--task", "detection", "--data", "boxes", "--model", "small_ssd", "--image-size", "64", "--epochs", "2"]

RUNS: dict[str, list[str]] = {
    "cross_entropy": [*DIGITS, "--method", "cross_entropy"],
    "label_smoothing": [*DIGITS, "--method", "label_smoothing", "--label-noise", "0.2"],
    "tf_kd_reg_reference": [*DIGITS, "--method", "tf_kd_reg", "--convention", "reference", "--multiplier", "2"],
    "tf_kd_self": [*DIGITS, "--method", "tf_kd_self", "--alpha", "0.5", "--temperature", "4"],
    "dr_kd": [*DIGITS, "--method", "dr_kd", "--label-noise", "0.2"],
    "dr_kd_cached_drop": [*CNN, "--method", "dr_kd", "--rectify", "drop", "--cache-size", "1MB", "--augment", "cifar"],
    "kd": [*DIGITS, "--method", "kd", "--teacher", "cross_entropy", "--select", "last"],
    "ps_kd_half": [*CNN, "--method", "ps_kd", "--keep", "half", "--schedule", "constant", "--lr", "0.01"],
    "online_dr_kd_memory": [*DIGITS, "--method", "online_dr_kd", "--keep", "3"],
    "online_dr_kd_ema": [*CNN, "--method", "online_dr_kd", "--source", "ema", "--decay", "0.9"],
    "ols": [*DIGITS, "--method", "ols"],
    "max_sup": [*DIGITS, "--method", "max_sup", "--validation", "0"],
    "cs_kd_pairs": [*DIGITS, "--method", "cs_kd"],
    "dlb_replay": [*CNN, "--method", "dlb"],
    "clean_view_bfloat16": [
        *(*PHOTOS, "--method", "dr_kd_clean_view", "--optimizer", "adamw", "--lr", "0.001", "--clip-norm", "1"),
        *("--precision", "bfloat16", "--schedule", "cosine", "--warmup-epochs", "1"),
    ],
    "photos_imagenet_crops": [*PHOTOS, "--method", "label_smoothing", "--augment", "imagenet", "--lr", "0.01"],
    "resumed": [*CNN, "--method", "dr_kd", "--epochs", "40", "--checkpoint-every", "3"],
    "detection": [*BOXES, "--method", "dr_kd", "--threads", "1"],
    "detection_memory": [*BOXES, "--method", "online_dr_kd", "--threads", "1", "--select", "last"],
    "two_processes": [*DIGITS, "--method", "online_dr_kd", "--devices", "2"],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_photos(root / "photos")
        draw_boxes(root / "boxes")
        for name, options in RUNS.items():
            train(root, name, options)
            print(f"{name:24} {weights_hash(root / name)} {file_hash(root / name / 'metrics.csv')}", flush=True)
        print(f"{'comparison':24} {compare(root)}", flush=True)


def train(root: Path, name: str, options: list[str]) -> None:
    """One training; `resumed` is ended by SIGTERM in the middle and resumed."""
    command = [sys.executable, "-m", "drkd", "train", *options, "--out", name]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if name == "resumed":
        first = subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.DEVNULL)
        while not list((root / name / "checkpoints").glob("step-*")):
            assert first.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.01)
        first.send_signal(signal.SIGTERM)
        assert first.wait() == 143, "it was not interrupted; make it longer"
        command.append("--resume")
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}"


def compare(root: Path) -> str:
    """The numbers of a comparison's results, times and versions aside."""
    options = ["--methods", "label_smoothing,dr_kd,dr_kd:alpha=0.7", "--seeds", "2", "--label-noise", "0,0.2"]
    size = ["--model", "small_cnn", "--limit-train", "100", "--epochs", "2", "--jobs", "2", "--out", "comparison"]
    command = [sys.executable, "-m", "drkd", "compare", "--data", "digits", *size, *options]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    results = json.loads((root / "comparison" / "results.json").read_text())
    kept = ("accuracy", "nll", "ece", "aurc", "val_accuracy", "train_accuracy", "rectified_fraction_per_epoch")
    panels = [
        {method: {key: lists[key] for key in kept} for method, lists in panel["methods"].items()}
        for panel in results["panels"]
    ]
    differences = [
        [row["method"], row["metric"], row["mean_difference"], row["p_value"]] for row in results["comparisons"]
    ]
    return hashlib.sha256(json.dumps([panels, differences]).encode()).hexdigest()[:16]


def weights_hash(run: Path) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(load_file(run / "model.safetensors").items()):
        digest.update(f"{name} {array.shape} {array.dtype};".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def draw_photos(folder: Path) -> None:
    """Two classes of 40x30 images of noise, one brighter."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 32), ("test", 8)):
        for level, name in ((60, "dark"), (120, "light")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (30, 40, 3), dtype=np.uint8) + np.uint8(level)
                Image.fromarray(pixels).save(folder / split / name / f"{number:02}.png")


def draw_boxes(folder: Path) -> None:
    """Twenty-four 96x64 images of noise with a bright rectangle, in COCO layout."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    images, annotations = [], []
    for number in range(24):
        pixels = rng.integers(0, 100, (64, 96, 3), dtype=np.uint8)
        left, top = int(rng.integers(0, 50)), int(rng.integers(0, 30))
        pixels[top : top + 24, left : left + 30] += np.uint8(150)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        images.append({"id": number, "file_name": f"{number:02}.png", "width": 96, "height": 64})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [left, top, 30, 24]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "block"}]}
    (folder / "boxes.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
