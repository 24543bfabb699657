"""Suspect labels against real human noise (CIFAR-10N), beside cleanlab's rankings of the same probabilities.

    python benchmarks/suspects.py DATA --features FILE --table CSV [--labels worse_label,aggre_label] [--seeds 3]

DATA holds `cifar10/train.parquet`, `cifar10n/labels.npz` and `weights/efficientnet_lite0.safetensors`. The classifier
learns from features of EfficientNet-Lite0, which are asked once and kept in FILE. `--labels uniform20,similar20,...`
makes labels wrong instead: so many percent moved to any class, or to the class that looks most alike. The ranking was
chosen on those, and measured on the human ones. Needs cleanlab. A row is written as soon as it is known.
"""

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cleanlab
import numpy as np
import torch
from evidence.beds import features
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

import drkd
from drkd.config.photos import FROZEN
from drkd.data import Data, Split
from drkd.data.augment import Augmentation
from drkd.studies.ranking import contradictions
from drkd.targets.answers import watch

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ALIKE = np.array([2, 9, 0, 5, 7, 3, 3, 4, 0, 1])
"""The class that each is taken for most easily; a usual choice for CIFAR-10."""

AT = (100, 500, 5000)

SOFT = {"alpha": 0.9, "temperature": 4.0}
Labels = NDArray[np.int64]


def labels_of(name: str, clean: Labels, human: dict[str, Labels]) -> Labels:
    """Human labels, or clean ones of which some are made wrong."""
    if name in human:
        return human[name].astype(np.int64)
    kind, percent = name[:-2], int(name[-2:])
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(clean))[: len(clean) * percent // 100]
    wrong = clean.copy()
    wrong[rows] = ALIKE[clean[rows]] if kind == "similar" else (clean[rows] + rng.integers(1, 10, len(rows))) % 10
    return wrong


class Trainer:
    """Trains classifiers on features; remembers the settings."""

    def __init__(self, inputs: Tensor, labels: Labels, seed: int, epochs: int, batch_size: int) -> None:
        self.inputs, self.labels, self.seed = inputs, torch.from_numpy(labels), seed
        self.settings = {**FROZEN, "epochs": epochs, "batch_size": batch_size, "seed": seed, "select": "last"}
        del self.settings["augment"]

    def fit(self, rows: Tensor, method: Callable[[nn.Module], drkd.Objective]) -> tuple[nn.Linear, Tensor]:
        """A classifier trained on some rows, and what it said of each of them meanwhile."""
        torch.manual_seed(self.seed)
        head = nn.Linear(self.inputs.shape[1], 10)
        few, none = rows[:10], rows[:0]
        parts = [Split(self.inputs[part], self.labels[part]) for part in (rows, none, few)]
        objective = method(head)
        answers = watch(objective)
        drkd.fit(head, objective, Data("features", CLASSES, *parts, Augmentation(), (0.0,), (1.0,)), **self.settings)
        return head, answers.probabilities

    def student(self, name: str, rows: Tensor) -> tuple[nn.Linear, Tensor]:
        """`fit` with a method, its self-teacher first."""
        if name in ("tf_kd_self", "dr_kd"):
            teacher, _ = self.fit(rows, lambda _: drkd.cross_entropy())
            method = drkd.dr_kd if name == "dr_kd" else drkd.tf_kd_self
            return self.fit(rows, lambda _: method(teacher, **SOFT))
        others: dict[str, Callable[[nn.Module], drkd.Objective]] = {
            "cross_entropy": lambda _: drkd.cross_entropy(),
            "label_smoothing": lambda _: drkd.label_smoothing(0.1),
            "ps_kd": lambda _: drkd.ps_kd(),
            "online_dr_kd": lambda _: drkd.online_dr_kd(**SOFT),
            "online_dr_kd:ema": lambda head: drkd.online_dr_kd(**SOFT, source=drkd.Ema(head, 0.999)),
        }
        return self.fit(rows, others[name])

    def folds(self, name: str, folds: int = 5) -> Tensor:
        """Out-of-fold probabilities (N, K)."""
        fold = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(self.seed)) % folds
        found = torch.zeros(len(self.labels), 10)
        for number in range(folds):
            head, _ = self.student(name, (fold != number).nonzero().flatten())
            with torch.no_grad():
                found[fold == number] = head(self.inputs[fold == number]).softmax(dim=1)
        return found

    def memory(self, name: str) -> Tensor:
        """What one training on all said of them (N, K)."""
        return self.student(name, torch.arange(len(self.labels)))[1]


def rankings(probs: Tensor, labels: Labels) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Scores of each ranking: the higher, the more suspect."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    yield "drkd suspects", contradictions(probs, torch.from_numpy(labels))[0].numpy()
    values = probs.double().numpy()
    values /= values.sum(axis=1, keepdims=True)
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        yield f"cleanlab {method}", -get_label_quality_scores(labels, values, method=method)
    for method in ("self_confidence", "normalized_margin"):
        yield (
            f"cleanlab {method}, adjusted",
            -get_label_quality_scores(labels, values, method=method, adjust_pred_probs=True),
        )
    for by in ("self_confidence", "normalized_margin"):
        order = find_label_issues(labels, values, return_indices_ranked_by=by, n_jobs=1)
        scores = np.full(len(labels), -1.0)
        scores[order] = -np.arange(len(order)) / len(order)
        yield f"cleanlab find_label_issues by {by}", scores


def measure(scores: NDArray[np.float64], wrong: NDArray[np.bool_]) -> list[float]:
    """Precision at 100, 500, 5,000; recall at as many as are wrong; average precision."""
    order = np.argsort(-scores, kind="stable")
    found = [float(wrong[order[:number]].mean()) for number in AT]
    return [*found, float(wrong[order[: wrong.sum()]].mean()), float(average_precision_score(wrong, scores))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--labels", default="worse_label,aggre_label")
    parser.add_argument("--methods", default="cross_entropy,label_smoothing,tf_kd_self,dr_kd,ps_kd,online_dr_kd")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=50_000, help="the first so many images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=512)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = features(options.data, "cifar10", options.features, options.image_size, first_test=100)
    inputs = kept["train"][: options.limit]
    human = {name: all_[: options.limit] for name, all_ in np.load(options.data / "cifar10n" / "labels.npz").items()}
    clean = human["clean_label"].astype(np.int64)
    columns = ["labels", "asked", "method", "seed", "ranking", *(f"p{n}" for n in AT), "recall", "ap", "accuracy"]
    with options.table.open("a", newline="") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow([*columns, "seconds"])

        def note(labels: str, asked: str, method: str, seed: str, probs: Tensor, seconds: float) -> None:
            given = labels_of(labels, clean, human)
            accuracy = float((probs.argmax(dim=1).numpy() == clean).mean())
            for ranking, scores in rankings(probs, given):
                row = [*measure(scores, given != clean), accuracy]
                cells = [labels, asked, method, seed, ranking, *(f"{x:.4f}" for x in row)]
                writer.writerow([*cells, f"{seconds:.0f}"])
                print(*(str(cell) for cell in cells), flush=True)
            file.flush()

        for labels in options.labels.split(","):
            for method in options.methods.split(","):
                for asked in ("folds", "memory"):
                    sums: list[Tensor] = []
                    for seed in range(options.seeds):
                        started = time.perf_counter()
                        given = labels_of(labels, clean, human)
                        trainer = Trainer(inputs, given, seed, options.epochs, options.batch_size)
                        sums.append(trainer.folds(method) if asked == "folds" else trainer.memory(method))
                        note(labels, asked, method, str(seed), sums[-1], time.perf_counter() - started)
                    if len(sums) > 1:
                        note(labels, asked, method, "mean of all", torch.stack(sums).mean(dim=0), 0)
    print(f"cleanlab {cleanlab.__version__}, drkd {drkd.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
