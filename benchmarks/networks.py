"""Parameters and multiply-adds of every network, beside what the papers' public code has.

    python benchmarks/networks.py

Multiply-adds are those of convolutions and linear layers, for one image: 32x32 with 100 classes, and 64x64 with 200.
The published side is tests/models/published.py; a dash stands where it has nothing. Exits 1 if a number differs.
"""

import sys
from pathlib import Path

import torch

from drkd import create_model
from drkd.models import MODELS
from drkd.models.counting import count_macs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))

from published import PUBLISHED

HEADER = ("network", "parameters", "published", "MACs, 32x32", "published", "MACs, 64x64", "published", "")


def counts(name: str, num_classes: int, image_size: int) -> tuple[int, int]:
    """Parameters and multiply-adds."""
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes, image_size=image_size)
    return sum(p.numel() for p in model.parameters()), count_macs(model, (3, image_size, image_size))


def main() -> int:
    rows = []
    for name in MODELS:
        parameters, small = counts(name, 100, 32)
        _, large = counts(name, 200, 64)
        ours = [f"{parameters:,}", f"{small / 1e6:,.1f}M", f"{large / 1e6:,.1f}M"]
        theirs = ["-", "-", "-"]
        if published := PUBLISHED.get(name):
            macs = [None if count is None else f"{count:,.1f}M" for count in (published.macs32, published.macs64)]
            theirs = [f"{published.parameters:,}", *(count or "-" for count in macs)]
        differs = any(theirs[i] not in ("-", ours[i]) for i in range(3))
        pairs = [cell for pair in zip(ours, theirs, strict=True) for cell in pair]
        rows.append([name, *pairs, "differs" if differs else ""])
    for cells in (HEADER, ["---", *["---:"] * 6, "---"], *rows):
        print("| " + " | ".join(cells) + " |")
    return int(any(row[-1] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
