"""The average, the map of rectification, cross-entropy tuned as carefully, and defaults: four questions, one loop.

    python benchmarks/evidence/methods.py average --data DATA --kept KEPT --table average.csv --beds cub100,cub100:0.4
    python benchmarks/evidence/methods.py map     --data DATA --kept KEPT --table map.csv --head mlp
    python benchmarks/evidence/methods.py tuned   --data DATA --kept KEPT --table tuned.csv --beds cub100,cub100:0.4
    python benchmarks/evidence/methods.py online  --data DATA --kept KEPT --table online.csv

`average` and `tuned` first try settings on a fifth of the training images, with `--tried` seeds (split `validation` in
the table), then measure what was chosen on the test split with `--seeds`. `map` has nothing to choose, and `online`
measures the same rows on both splits. A tenth of the
training images is never trained on in the rows of the test split: temperatures are fitted there. Labels of both are as
wrong as the rest. A row of CSV is written as soon as it is known, and rows that are there are skipped.
`method_tables.py` prints them. DATA has `cub100`, `cifar10`, `cifar10n` and `weights`; KEPT keeps the features.
"""

import argparse
import csv
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from beds import bed_of
from heads import Row, answers_of, logits_of, train
from rectifiers import METRICS, SOFT, measured

from drkd.training.calibration import fit_temperature

HIDDEN = {"linear": 0, "mlp": 512}
PLAIN = {"linear": (Row(), Row(epochs=6, lr=0.005)), "mlp": (Row(lr=0.005), Row(epochs=6, lr=0.002))}
"""Cross-entropy by head: on beds of up to 10,000 images, and on `cifar10-96`, which has 50,000."""

KEYS = (
    *("split", "head", "bed", "seed", "source", "rule", "alpha", "temperature"),
    *("epochs", "lr", "weight_decay", "decay"),
)
AFTER = (*METRICS[1:], "fitted")
"""After the temperature, which is the last."""

COLUMNS = (
    *KEYS,
    *METRICS,
    *(f"after_{name}" for name in AFTER),
    *(f"average_{name}" for name in METRICS),
    *(f"average_after_{name}" for name in AFTER),
    *("rectified", "seconds"),
)
RULES = ("none", "swap", "bayes:0.2")


class Table:
    """Trainings that are done, in a file; what is missing is trained.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows: dict[tuple[str, ...], dict[str, str]] = {}
        if options.table.exists():
            with options.table.open(newline="") as file:
                self.rows = {tuple(row[name] for name in KEYS): row for row in csv.DictReader(file)}

    def key(self, split: str, bed: str, seed: int, row: Row) -> tuple[str, ...]:
        values = [getattr(row, name) for name in KEYS[4:]]
        settings = [value if isinstance(value, str) else f"{value:g}" for value in values]
        return split, self.options.head, bed, str(seed), *settings

    def fill(self, split: str, bed: str, seed: int, rows: list[Row], plain: Row) -> None:
        """Train the rows that are missing; `plain` is how their self-teachers are trained."""
        missing = defaultdict(list)
        for row in dict.fromkeys(rows):
            if self.key(split, bed, seed, row) not in self.rows:
                missing[row.epochs].append(row)
        for group in missing.values():
            self._train(split, bed, seed, group, plain)

    def _train(self, split: str, name: str, seed: int, rows: list[Row], plain: Row) -> None:
        hidden, started = HIDDEN[self.options.head], time.process_time()
        judging = split == "validation"
        bed = bed_of(self.options.data, self.options.kept, name, seed, validation=judging, hold=not judging)
        sources = dict.fromkeys(row.source for row in rows)
        answers = {source: answers_of(source, bed, seed, plain=plain, hidden=hidden) for source in sources}
        found = train(bed, rows, answers, seed, hidden=hidden)
        both = [logits_of(bed.judged, layers) for layers in (found.heads, found.averages)]
        held = [] if bed.held is None else [logits_of(bed.held, layers) for layers in (found.heads, found.averages)]
        seconds = (time.process_time() - started) / len(rows)
        self.options.table.parent.mkdir(parents=True, exist_ok=True)
        with self.options.table.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not file.tell():
                writer.writerow(COLUMNS)
            for number, row in enumerate(rows):
                values = []
                for place, logits in enumerate(both):
                    values += measured(logits[:, number], bed.judged_labels)
                    if not held:
                        values += [float("nan")] * len(AFTER)
                        continue
                    temperature = fit_temperature(held[place][:, number], bed.held_labels)
                    values += [*measured(logits[:, number] / temperature, bed.judged_labels)[1:], temperature]
                values.append(float(found.rectified[number]))
                cells = [*self.key(split, name, seed, row), *(f"{value:.5f}" for value in values), f"{seconds:.2f}"]
                writer.writerow(cells)
                self.rows[tuple(cells[: len(KEYS)])] = dict(zip(COLUMNS, cells, strict=True))
        print(f"{split} {name} seed {seed}: {len(rows)} trainings, {time.process_time() - started:.1f} s", flush=True)

    def best(self, bed: str, rows: list[Row], column: str = "accuracy") -> Row:
        """The row with the best mean on validation, the first of equals."""

        def mean(row: Row) -> float:
            keys = [self.key("validation", bed, seed, row) for seed in range(self.options.tried)]
            return sum(float(self.rows[key][column]) for key in keys) / len(keys)

        return max(rows, key=mean)


def plain_of(head: str, bed: str) -> Row:
    return PLAIN[head][bed.startswith("cifar10-96")]


def taught(plain: Row, source: str, rule: str, pairs: tuple[tuple[float, float], ...]) -> list[Row]:
    return [replace(plain, source=source, rule=rule, alpha=alpha, temperature=heat) for alpha, heat in pairs]


def average(table: Table, bed: str) -> None:
    """Cross-entropy and its average; the average as the teacher, at the best of several rules and weights."""
    plain = plain_of(table.options.head, bed)
    few = ((0.3, 1.0), (0.6, 4.0), (0.9, 4.0))
    pairs = few if table.options.head == "mlp" else (*few, (0.6, 1.0), (0.9, 1.0), (0.3, 4.0))
    tried = [row for rule in RULES for row in taught(plain, "average", rule, pairs)]
    baselines = [plain, replace(plain, decay=0.99)]
    for seed in range(table.options.tried):
        table.fill("validation", bed, seed, [*baselines, *tried], plain)
    chosen = [table.best(bed, tried), table.best(bed, tried, "average_accuracy")]
    chosen += [table.best(bed, baselines, "average_accuracy")]
    for seed in range(table.options.seeds):
        table.fill("test", bed, seed, [plain, *chosen], plain)


def mapped(table: Table, bed: str) -> None:
    """Every teacher with and without the swap, at equal settings."""
    plain, mlp = plain_of(table.options.head, bed), table.options.head == "mlp"
    soft = SOFT[:1] if mlp and bed.startswith("cifar") else SOFT
    rows = [plain, replace(plain, source="smoothing", alpha=0.1), *taught(plain, "virtual", "bayes:0.2", soft)]
    for source in ("finished", "early1", *(("early3",) if plain.epochs > 6 else ()), "folds2", "average"):
        for rule in RULES[:2] if mlp or source.startswith("early") else RULES:
            rows += taught(plain, source, rule, soft)
    for seed in range(table.options.seeds):
        table.fill("test", bed, seed, rows, plain)


def tuned(table: Table, bed: str) -> None:
    """Cross-entropy at the best of 27 settings; every method at these, with the best of its own."""
    tried = range(table.options.tried)
    sweep = [
        Row(epochs=epochs, lr=lr, weight_decay=decay)
        for epochs in (3, 12, 30)
        for lr in (0.003, 0.01, 0.03)
        for decay in (0.05, 0.5, 2.0)
    ]
    for seed in tried:
        table.fill("validation", bed, seed, sweep, Row())
    plain, averaged = table.best(bed, sweep), table.best(bed, sweep, "average_accuracy")
    pairs = tuple((alpha, heat) for alpha in (0.3, 0.6, 0.9) for heat in (1.0, 4.0))
    families = [[replace(plain, source="smoothing", alpha=alpha) for alpha in (0.05, 0.1, 0.2, 0.4)]]
    families.append(taught(plain, "virtual", "bayes:0.2", pairs))
    families += [
        taught(plain, source, rule, pairs) for source in ("finished", "folds2", "average", "memory") for rule in RULES
    ]
    for seed in tried:
        table.fill("validation", bed, seed, [row for family in families for row in family], plain)
    chosen = [table.best(bed, family) for family in families]
    for seed in range(table.options.seeds):
        table.fill("test", bed, seed, [plain, averaged, *chosen], plain)


def online(table: Table, bed: str) -> None:
    """The memory and the average as teachers, with every rectifier, at drkd's defaults and a large alpha; and PS-KD."""
    plain = plain_of(table.options.head, bed)
    rows = [plain, *taught(plain, "growing", "none", ((0.8, 1.0),))]
    for source in ("memory", "average"):
        for rule in RULES:
            rows += taught(plain, source, rule, ((0.3, 1.0), (0.9, 4.0)))
    for split in ("validation", "test"):
        for seed in range(table.options.seeds):
            table.fill(split, bed, seed, rows, plain)


QUESTIONS = {"average": average, "map": mapped, "tuned": tuned, "online": online}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=[*QUESTIONS])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--beds", default="cub100,cub100:0.2,cub100:0.4")
    parser.add_argument("--head", choices=[*HIDDEN], default="linear")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tried", type=int, default=3, help="seeds on validation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(options)
    for bed in options.beds.split(","):
        QUESTIONS[options.question](table, bed)


if __name__ == "__main__":
    main()
