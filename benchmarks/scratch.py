"""A small network from random weights on CIFAR-10 in full, on a processor, over days: what is done is kept.

    python benchmarks/scratch.py rates --data FOLDER --out runs/scratch     # learning rates, on validation images
    python benchmarks/scratch.py clean_label --data FOLDER --out runs/scratch
    python benchmarks/scratch.py worse_label --data FOLDER --out runs/scratch

`clean_label` has CIFAR-10's own labels, `worse_label` those of CIFAR-10N, of which 40% are wrong; test labels are
right. The network has 9.3 million multiply-adds. Stop it whenever you like: the same command resumes from the
checkpoints, and OUT/LABELS/results.csv and the report are written when all seeds are there. The last epoch is
measured, nothing is chosen on the test split, and no validation images are held out.

FOLDER holds `cifar10/{train,test}.parquet` and `cifar10n/labels.npz`.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from papers_gpu import with_human_labels
from torch import Tensor, nn

import drkd

METHODS = (
    *("cross_entropy", "cross_entropy:average=ema", "label_smoothing", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"),
    *("online_dr_kd:rectify=bayes:alpha=0.9:temperature=4", "online_dr_kd:source=ema:average=ema"),
)
OPTIONS: dict[str, Any] = {
    **{"batch_size": 128, "weight_decay": 5e-4, "schedule": "cosine", "augment": "crop_flip", "resume": True},
    **{"threads": 1, "checkpoint_every": "120s", "precision": "bfloat16", "memory_format": "channels_last"},
}


class Residual(nn.Module):
    """A block beside the identity."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def block(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU())


def small_resnet(num_classes: int) -> nn.Sequential:
    """Six 3x3 convolutions, two of them residual: 9.3 million multiply-adds at 32 pixels, 0.26 million weights."""
    return nn.Sequential(
        *(block(3, 16), nn.MaxPool2d(2), block(16, 40), nn.MaxPool2d(2), block(40, 64), Residual(block(64, 64))),
        *(nn.MaxPool2d(2), block(64, 128), Residual(block(128, 128))),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, num_classes)),
    )


def rates(arguments: argparse.Namespace) -> None:
    """Cross-entropy for a third of the epochs at several learning rates, one seed, a tenth held out."""
    data = drkd.load_data(str(arguments.data / "cifar10"), augment="crop_flip", validation=0.1, seed=0, limit_test=100)
    epochs = max(1, arguments.epochs // 3)
    for rate in (0.025, 0.05, 0.1, 0.2, 0.4, 0.8):
        torch.manual_seed(0)
        network = small_resnet(10)
        run = drkd.fit(
            **{"student": network, "objective": drkd.cross_entropy(), "data": data, "epochs": epochs, "lr": rate},
            **{"batch_size": 128, "weight_decay": 5e-4, "schedule": "cosine", "warmup_epochs": 0.15 * epochs},
            **{"precision": "bfloat16", "memory_format": "channels_last"},
        )
        print(f"learning rate {rate:g}: validation accuracy {100 * run.history[-1]['val_accuracy']:.2f}%", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", choices=["rates", "clean_label", "worse_label"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.labels == "rates":
        rates(arguments)
        return
    data = arguments.data / "cifar10"
    if arguments.labels != "clean_label":
        data = with_human_labels(arguments.data, arguments.labels, arguments.out)
    found = drkd.compare(
        **{**OPTIONS, "data": str(data), "model": small_resnet, "methods": list(METHODS), "label_noise": [0]},
        **{"epochs": arguments.epochs, "warmup_epochs": 0.15 * arguments.epochs, "lr": arguments.lr},
        **{"validation": 0, "select": "last", "seeds": arguments.seeds, "jobs": arguments.jobs},
        out=str(arguments.out / arguments.labels),
    )
    print(found)


if __name__ == "__main__":
    main()
