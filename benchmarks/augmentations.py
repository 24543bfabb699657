"""Augmented images per second of one core, ours beside torchvision's own transforms image by image.

    python benchmarks/augmentations.py
    python benchmarks/augmentations.py --rounds 9

Both get uint8 tensors and give normalised float32 batches. They take turns in one process with one thread, and what
counts is the time of the processor: other work on the machine does not. Figures are medians [ranges] over the rounds,
ratios are taken within a round.
"""

import argparse
import time
from collections import deque
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from drkd.data.augment_names import parse_augmentation
from drkd.data.datasets import Data, Split
from drkd.data.loader import Loader
from drkd.utils.timing import ratios, spread, take_turns

CASES = {
    "crop_flip": [v2.RandomHorizontalFlip()],
    "trivial": [v2.TrivialAugmentWide()],
    "randaugment": [v2.RandAugment()],
    "jitter": [v2.ColorJitter(0.4, 0.4, 0.4)],
    "resized_crop": [],
    "erasing": [],
}
SIZES = {32: 1024, 224: 64}
"""Images per round, by side length."""

BATCH = 64

MEAN, STD = (0.5,) * 3, (0.25,) * 3


def theirs(name: str, size: int) -> v2.Compose:
    """What users of torchvision would write."""
    crops = {"crop_flip": [v2.RandomCrop(size, padding=4)], "resized_crop": [v2.RandomResizedCrop(size)]}
    last = [v2.RandomErasing(0.5)] if name == "erasing" else []
    pixels = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose([*crops.get(name, []), *CASES[name], *pixels, *last])


def one_by_one(images: Tensor, transform: v2.Compose) -> None:
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    for first in range(0, len(order), BATCH):
        torch.stack([transform(images[row]) for row in order[first : first + BATCH]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{'size':>4} {'augmentation':14} {'ours, images/s':>24} {'torchvision':>24}   ratio")
    for size, count in SIZES.items():
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (count, 3, size, size), generator=draw, dtype=torch.uint8)
        split = Split(images, torch.zeros(count, dtype=torch.int64))
        for name in CASES:
            how = parse_augmentation(name)
            data = Data("noise", ("a",), split, split, split, augmentation=how, mean=MEAN, std=STD)
            loader = Loader(data, split, batch_size=BATCH, training=True, workers=0)
            turns = {
                "ours": partial(lambda loader: deque(loader.batches(), maxlen=0), loader),
                "theirs": partial(one_by_one, images, theirs(name, size)),
            }
            seconds = take_turns(turns, rounds=rounds, clock=time.process_time)
            ours, other = (describe([count / taken for taken in seconds[who]]) for who in turns)
            ratio = ratios(seconds["theirs"], seconds["ours"])["median"]
            print(f"{size:4} {name:14} {ours:>24} {other:>24}   {ratio:.2f}", flush=True)


def describe(values: list[float]) -> str:
    found = spread(values)
    return f"{found['median']:.0f} [{found['min']:.0f}, {found['max']:.0f}]"


if __name__ == "__main__":
    main()
