"""From a folder of photos to a file for a device, step by step.

The photos are drawn here; give your own folder to use that.

python examples/own_photos.py [FOLDER]      (half a minute on one core; needs drkd[onnx])
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SMALL = ["--model", "small_cnn", "--image-size", "32", "--epochs", "6", "--batch-size", "16", "--lr", "0.05"]
"""Enough for drawings. For photos leave this out: drkd then starts from pretrained weights, if they are there."""


def draw(folder: Path, per_class: int = 40) -> None:
    """Discs and squares on noise, one folder per class."""
    random = np.random.default_rng(0)
    for name in ("disc", "square"):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            image = Image.fromarray(random.integers(0, 120, (48, 48, 3), dtype=np.uint8))
            left, top, size = (int(value) for value in random.integers((4, 4, 16), (16, 16, 28)))
            shape = ImageDraw.Draw(image).ellipse if name == "disc" else ImageDraw.Draw(image).rectangle
            shape((left, top, left + size, top + size), fill=tuple(map(int, random.integers(120, 255, 3))))
            image.save(folder / name / f"{number:03}.png")


def drkd(*words: object) -> None:
    """A command as you would type it."""
    line = [str(word) for word in words]
    print("\n$ drkd", *line, flush=True)
    subprocess.run([sys.executable, "-m", "drkd", *line], check=True)


def main(photos: Path, out: Path, options: list[str]) -> None:
    """Check the images, train with DR-KD, look at the result, export it, and ask the exported file."""
    run = out / "run"
    drkd("check", photos)
    drkd("train", "--data", photos, "--method", "dr_kd", *options, "--out", run, "--quiet")
    drkd("evaluate", run)
    drkd("export", run, "--quantize", "int8")
    drkd("predict", run / "exports" / "model-int8.onnx", next(photos.rglob("*.png")))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:]:
            main(Path(sys.argv[1]), Path(folder), [])
        else:
            draw(Path(folder) / "photos")
            main(Path(folder) / "photos", Path(folder), SMALL)
