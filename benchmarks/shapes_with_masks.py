"""Write made images with masks for a comparison of segmenters: forms of random colours before a random ground.

python benchmarks/shapes_with_masks.py FOLDER [--train 240] [--test 120] [--size 64]
drkd compare --task segmentation --data FOLDER --model small_fcn --image-size 64 ...

A class is a form, not a colour: ground, disc, square, triangle, cross. Forms hide each other, and images are noisy.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("ground", "disc", "square", "triangle", "cross")


def corners(form: str, left: int, top: int, side: int) -> list[tuple[int, int]]:
    """The polygon of a form that is not round."""
    third = side // 3
    if form == "square":
        return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]
    if form == "triangle":
        return [(left + side // 2, top), (left + side, top + side), (left, top + side)]
    inner = [(third, 0), (2 * third, 0), (2 * third, third), (side, third), (side, 2 * third), (2 * third, 2 * third)]
    outer = [(2 * third, side), (third, side), (third, 2 * third), (0, 2 * third), (0, third), (third, third)]
    return [(left + across, top + down) for across, down in inner + outer]


def draw(rng: np.random.Generator, size: int) -> tuple[Image.Image, Image.Image]:
    """An image and its mask."""
    image = Image.new("RGB", (size, size), tuple(int(value) for value in rng.integers(60, 196, 3)))
    mask = Image.new("L", (size, size))
    for _ in range(int(rng.integers(2, 7))):
        label, side = int(rng.integers(1, len(CLASSES))), int(rng.integers(size // 6, size // 2))
        left, top = (int(value) for value in rng.integers(-side // 3, size - 2 * side // 3, 2))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        for canvas, fill in ((image, colour), (mask, label)):
            pen = ImageDraw.Draw(canvas)
            if CLASSES[label] == "disc":
                pen.ellipse((left, top, left + side, top + side), fill=fill)
            else:
                pen.polygon(corners(CLASSES[label], left, top, side), fill=fill)
    noisy = np.asarray(image).astype(float) + rng.normal(0, 30, (size, size, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), mask


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
            image, mask = draw(rng, options.size)
            image.save(options.folder / split / "images" / f"{number:04}.png")
            mask.save(options.folder / split / "masks" / f"{number:04}.png")
    (options.folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
