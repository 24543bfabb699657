"""Whether a classifier on a frozen backbone gains where each photo has several augmented views.

    python benchmarks/views.py --data PARQUET --weights FOLDER --seeds 3 --views 1 4 8 --augment imagenet

The features of N augmented views of each training photo are computed once; a linear classifier is then trained on all
of them, with as many steps and the same settings whatever N is (`--freeze backbone`: 64 passes over the photos, each
view in one pass of N). One view is the photo as it is, which is what drkd does. Prints validation and test accuracy of
the last epoch with cross-entropy: choose by the first.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import drkd
from drkd.config.photos import FROZEN
from drkd.data import Data
from drkd.data.keys import image_keys
from drkd.data.loader import Loader
from drkd.models.parts import classifier_of
from drkd.training.features import BATCH, features_of, with_features

PASSES = 64


@torch.no_grad()
def view_of(network: torch.nn.Module, data: Data, number: int) -> torch.Tensor:
    """The features (N, F) of the training photos as epoch `number` augments them."""
    _, head = classifier_of(network)
    given: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    features = torch.zeros(len(data.train), head.in_features)
    for batch in Loader(data, data.train, batch_size=BATCH, training=True).batches(epoch=number):
        given.clear()
        network(batch.inputs)
        features[batch.index] = given[0]
    hook.remove()
    return features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Parquet files, or a folder per class")
    parser.add_argument("--model", default="timm:efficientnet_lite0")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--views", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--augment", nargs="+", default=["imagenet"])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.4])
    arguments = parser.parse_args()
    start = drkd.find_start(arguments.model, weights=arguments.weights)
    assert start is not None
    assert start.preprocessing is not None
    wanted = replace(start.preprocessing, image_size=arguments.size)

    def load(**options: object) -> Data:
        return drkd.load_data(arguments.data, image_size=wanted, **options)

    whole = load(validation=0, augment="none")
    network = drkd.create_model(
        arguments.model, num_classes=len(whole.classes), image_size=arguments.size, weights=arguments.weights
    ).eval()
    clean = {name: features_of(network, whole, name) for name in ("train", "test")}
    row_of = {key.tobytes(): row for row, key in enumerate(image_keys(whole.train))}
    cells = [("none", 1)] + [(name, views) for name in arguments.augment for views in arguments.views if views > 1]
    views = {"none": clean["train"][None]}
    for name in arguments.augment:
        started = time.perf_counter()
        augmented = load(validation=0, augment=name)
        views[name] = torch.stack([view_of(network, augmented, number) for number in range(max(arguments.views))])
        print(f"{name}: {time.perf_counter() - started:.0f} s for {len(views[name])} views", flush=True)
    for noise in arguments.noise:
        found: dict[tuple[str, int], list[tuple[float, float]]] = {cell: [] for cell in cells}
        for seed in range(arguments.seeds):
            data = load(seed=seed, label_noise=noise, augment="none")
            rows = {
                name: [row_of[key.tobytes()] for key in image_keys(getattr(data, name))] for name in ("train", "val")
            }
            for name, count in cells:
                inputs = {
                    "train": views[name][:count, rows["train"]].flatten(0, 1),
                    "val": clean["train"][rows["val"]],
                    "test": clean["test"],
                }
                ours = replace(data, train=replace(data.train, labels=data.train.labels.repeat(count), names=()))
                ours = with_features(ours, inputs, "views")
                torch.manual_seed(seed)
                head = torch.nn.Linear(inputs["test"].shape[1], len(data.classes))
                settings = {option: value for option, value in FROZEN.items() if option not in ("augment", "epochs")}
                drkd.fit(head, drkd.cross_entropy(), ours, epochs=PASSES // count, seed=seed, select="last", **settings)
                measured = [100 * drkd.evaluate(head, ours, split).accuracy for split in ("val", "test")]
                found[name, count].append((measured[0], measured[1]))
        print(f"{100 * noise:g}% wrong labels")
        for (name, count), pairs in found.items():
            val, test = zip(*pairs, strict=True)
            gains = [
                [ours - base for ours, base in zip(mine, theirs, strict=True)]
                for mine, theirs in zip((val, test), zip(*found["none", 1], strict=True), strict=True)
            ]
            print(
                f"| {name}, {count} | "
                + " | ".join(
                    f"{statistics.mean(values):.2f} ({statistics.mean(gain):+.2f} +- "
                    f"{np.std(gain, ddof=1) / len(gain) ** 0.5:.2f})"
                    for values, gain in zip((val, test), gains, strict=True)
                )
                + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
