"""Write the embedded made images with their masks as a folder, in any number and size; see `drkd.data.shapes`.

python benchmarks/shapes_with_masks.py FOLDER [--train 240] [--test 120] [--size 64]
drkd compare --task segmentation --data FOLDER --model small_fcn --image-size 64 ...
"""

import argparse
from pathlib import Path

import numpy as np

from drkd.data.shapes import CLASSES, draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=240)
    parser.add_argument("--test", type=int, default=120)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for split, count in (("train", options.train), ("test", options.test)):
        for kind in ("images", "masks"):
            (options.folder / split / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            drawn = draw(rng, options.size)
            drawn.image.save(options.folder / split / "images" / f"{number:04}.png")
            drawn.mask.save(options.folder / split / "masks" / f"{number:04}.png")
    (options.folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
