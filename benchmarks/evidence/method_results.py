"""What `methods.py` and `rectifiers.py` wrote, read for `method_tables.py` and `method_plots.py`. Nothing to run."""

import csv
from collections import defaultdict
from pathlib import Path

from drkd.studies.statistics import Paired, mean_and_deviation, paired

Key = tuple[str, ...]
"""head, bed, source, rule, alpha, temperature, epochs, lr, weight_decay, decay."""

KEY = ("head", "bed", "source", "rule", "alpha", "temperature", "epochs", "lr", "weight_decay", "decay")
WRONG = {"clean_label": 0.0, "aggre_label": 9.0, "random_label1": 17.2, "worse_label": 40.2}
NAMES = {
    "labels": "cross-entropy",
    "smoothing": "label smoothing",
    "virtual": "no teacher",
    "finished": "finished self-teacher",
    "early1": "self-teacher of 1 epoch",
    "early3": "self-teacher of 3 epochs",
    "folds2": "two-fold self-teachers",
    "average": "running average",
    "memory": "memory",
    "growing": "PS-KD",
}
COLOURS = {"finished": "#0072b2", "early1": "#d55e00", "early3": "#e69f00", "folds2": "#009e73", "average": "#cc79a7"}


class Results:
    """The rows of the test split by training, then by seed.

    The head of rows that `methods.py` wrote ends in `9/10`, as much of the training images as they were trained on.
    """

    def __init__(self, paths: list[Path], without: str = "") -> None:
        self.rows: dict[Key, dict[int, dict[str, str]]] = defaultdict(dict)
        for path in paths:
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    left_out = without and row["bed"].startswith(without)
                    if row.get("split", "test") == "test" and not left_out:
                        head = f"{row['head']}, 9/10" if "head" in row else "linear"
                        full = {**row, "head": head, "decay": row.get("decay", "0.999")}
                        self.rows[tuple(full[name] for name in KEY)][int(row["seed"])] = row
        order = sorted({key[:2] for key in self.rows}, key=lambda panel: (panel[0], kind_of(panel), wrong(panel[1])))
        self.panels = order

    def values(self, key: Key, column: str, seeds: list[int]) -> list[float]:
        return [float(self.rows[key][seed][column]) for seed in seeds]

    def seeds(self, *keys: Key) -> list[int]:
        return sorted(set.intersection(*(set(self.rows[key]) for key in keys)))

    def minus(self, ours: tuple[Key, str], theirs: tuple[Key, str]) -> Paired | None:
        """Training and column each."""
        seeds = self.seeds(ours[0], theirs[0])
        return paired(self.values(*ours, seeds), self.values(*theirs, seeds))

    def mean(self, key: Key, column: str = "accuracy") -> float:
        return mean_and_deviation(self.values(key, column, self.seeds(key)))[0]

    def has(self, panel: Key, column: str) -> bool:
        return all(column in row for key in self.of(panel) for row in self.rows[key].values())

    def of(self, panel: Key, **wanted: str) -> list[Key]:
        return [key for key in self.rows if key[:2] == panel and all(key[KEY.index(n)] == v for n, v in wanted.items())]


def kind_of(panel: Key) -> tuple[str, str]:
    return panel[0], panel[1].partition(":")[0]


def wrong(bed: str) -> float:
    """The fraction of wrong labels, in %."""
    kind = bed.partition(":")[2]
    return WRONG.get(kind, 100 * float(kind) if kind[:1].isdigit() else 0.0)


def soft_of(key: Key) -> str:
    return f"{key[4]}, {key[5]}"
