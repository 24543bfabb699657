"""What class weights and balanced sampling do where half of the classes are rare: digits, five paired seeds.

    python benchmarks/imbalance.py
    python benchmarks/imbalance.py --fraction 0.05 --seeds 10

Digits 5 to 9 keep a fraction of their training and validation samples; the test split has all classes alike.
Differences are paired over seeds, to cross-entropy as it is, in points, with their 95% interval.
"""

import argparse
from dataclasses import replace

import torch

import drkd
from drkd.data.datasets import Data, Split
from drkd.studies.statistics import paired

WAYS: dict[str, dict[str, str]] = {
    "as it is": {},
    "--class-weights balanced": {"class_weights": "balanced"},
    "--sampler balanced": {"sampler": "balanced"},
}
METHODS = {"cross_entropy": drkd.cross_entropy, "ps_kd": drkd.ps_kd}
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "nll")


def rare(split: Split, fraction: float) -> Split:
    """Of each of the classes 5 to 9 its first samples only."""
    kept = []
    for label in split.labels.unique().tolist():
        rows = (split.labels == label).nonzero().flatten()
        kept.append(rows if label < 5 else rows[: max(1, round(fraction * len(rows)))])
    return split.select(torch.cat(kept).sort().values)


def trained(
    data: Data, method: str, seed: int, class_weights: str | None = None, sampler: str = "shuffled"
) -> list[float]:
    torch.manual_seed(seed)
    student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    objective = METHODS[method](class_weights=class_weights)
    plan = {"epochs": 40, "batch_size": 50, "schedule": "cosine", "select": "last"}
    drkd.fit(student, objective, data, seed=seed, sampler=sampler, **plan)
    measured = drkd.evaluate(student, data)
    return [getattr(measured, name) for name in METRICS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(arguments.seeds):
        whole = drkd.load_data("digits", seed=seed)
        splits = {name: rare(getattr(whole, name), arguments.fraction) for name in ("train", "val")}
        for method in METHODS:
            for way, options in WAYS.items():
                results = trained(replace(whole, **splits), method, seed, **options)
                found.setdefault((method, way), []).append(results)
    for (method, way), results in found.items():
        means = [sum(column) / len(column) for column in zip(*results, strict=True)]
        cells = [
            f"{name} {100 * mean:.2f}" if name != "nll" else f"nll {mean:.3f}"
            for name, mean in zip(METRICS, means, strict=True)
        ]
        base = found["cross_entropy", "as it is"]
        test = paired([row[1] for row in results], [row[1] for row in base])
        ends = "" if test is None or test.ci95 is None else f" [{100 * test.ci95[0]:+.2f}, {100 * test.ci95[1]:+.2f}]"
        change = "" if test is None else f"; balanced accuracy {100 * test.mean_difference:+.2f}{ends}"
        print(f"{method:14} {way:25} {', '.join(cells)}{change}")


if __name__ == "__main__":
    main()
