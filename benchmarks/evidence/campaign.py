"""The papers' networks on Tiny ImageNet and CIFAR-10 in full, with published settings and with ours, on a GPU.

    python benchmarks/evidence/campaign.py --tiny-imagenet FOLDER --cifar10 FOLDER --epochs 40 --jobs 6
    timeout -s INT 9m python benchmarks/evidence/campaign.py ...     # a session of nine minutes; the next resumes it
    python benchmarks/evidence/campaign.py ... --dry-run             # a few images, one epoch, on the processor

Every network on every data set is an ordinary comparison under OUT/DATA/NETWORK, several trainings at a time on one
GPU, with a checkpoint every 30 seconds: a session that ends early loses nothing. The training is that of the
recipes (tf_kd/tiny_imagenet, dr_kd/cifar10) but for its length, its precision and a validation split of 2%, on which
nothing is chosen: the network of the last epoch is measured. The methods of the papers have the settings of the
network's recipes on Tiny ImageNet, those of MobileNetV2 where a network has none; then come the package's defaults.
Prints a table per comparison, with the time that its trainings took.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import minutes, table

from drkd import compare
from drkd.config import METHOD_SETTINGS
from drkd.studies.recipe import load_recipe, recipe_names
from drkd.utils.files import read_json

NETWORKS = ("mobilenetv2", "shufflenetv2", "resnet18")

PUBLISHED = ("mobilenetv2-lsr", "mobilenetv2-reg", "mobilenetv2-self", "mobilenetv2")
"""Where the papers' methods have their settings from, for a network without recipes of its own."""

OURS = ("tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd:source=memory", "online_dr_kd:source=ema")
"""With the package's defaults."""

OF_TRAINING = (
    *("augment", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "schedule", "milestones", "gamma"),
    "warmup_epochs",
)
"""Settings that are taken from the recipe."""

SMALL = {
    "epochs": 1,
    "seeds": 2,
    "limit_train": 100,
    "limit_test": 100,
    "image_size": 32,
    "device": "cpu",
    "precision": "float32",
}
"""What `--dry-run` puts in place of the campaign's."""


def published(network: str) -> list[str]:
    """Label smoothing, Tf-KD_reg, Tf-KD_self and DR-KD with their published settings, as `compare` reads them."""
    variants = []
    for recipe in PUBLISHED:
        own = recipe.replace("mobilenetv2", network)
        paper = "tf_kd" if "-" in recipe else "dr_kd"
        known = f"{paper}/tiny_imagenet/{own}" in recipe_names()
        settings = load_recipe(f"{paper}/tiny_imagenet/{own if known else recipe}").settings
        parts = [f"{name}={settings[name]}" for name in METHOD_SETTINGS if name in settings]
        variants.append(":".join([settings["method"], *parts]))
    return variants


def comparisons(arguments: argparse.Namespace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of each comparison, and its options."""
    data = {
        "tiny_imagenet": (arguments.tiny_imagenet, "tf_kd/tiny_imagenet"),
        "cifar10": (arguments.cifar10, "dr_kd/cifar10"),
    }
    for name, (folder, recipes) in data.items():
        for network in arguments.networks if folder else ():
            recipe = load_recipe(f"{recipes}/{network}").settings
            options = {
                **{setting: recipe[setting] for setting in OF_TRAINING},
                **{"data": folder, "model": network, "methods": [*published(network), *OURS], "label_noise": [0]},
                **{"validation": 0.02, "select": "last", "cache_size": "0", "resume": True},
                **{"epochs": arguments.epochs, "seeds": arguments.seeds, "jobs": arguments.jobs},
                **{"device": arguments.device, "precision": arguments.precision},
            }
            out = arguments.out / "dry-run" if arguments.dry_run else arguments.out
            yield out / name / network, {**options, **(SMALL if arguments.dry_run else {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny-imagenet", help="folder of all its images")
    parser.add_argument("--cifar10", help="folder of all its images")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=4, help="trainings at once")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"))
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.tiny_imagenet or arguments.cifar10):
        parser.error("give --tiny-imagenet FOLDER, --cifar10 FOLDER, or both")
    for folder, options in comparisons(arguments):
        print(f"{folder.parent.name}, {folder.name}", flush=True)
        failures = compare(**options, out=str(folder)).failures
        panel = read_json(folder / "results.json")["panels"][0]
        print(table(panel))
        print(f"{minutes(panel) / 60:.1f} hours of training, several at a time\n", flush=True)
        if failures:
            print(json.dumps(failures, indent=2), flush=True)


if __name__ == "__main__":
    main()
