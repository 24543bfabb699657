"""Which rectifier, for which teacher, with how many wrong labels?

    python benchmarks/evidence/rectifiers.py choose --data DATA --kept KEPT --table choose.csv --beds cub100,cub100:0.4
    python benchmarks/evidence/rectifiers.py final --data DATA --kept KEPT --table final.csv --beds ... --seeds 10

`choose` judges many rules on a fifth of the training images; `final` the rows that were chosen, on the test split, with
all training images. Both write a row of CSV as soon as it is known and skip the rows that are there.
`rectifier_tables.py` prints them. The beds are described in `beds.py`.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from beds import DECAY, Bed, Settings, bed_of, train
from torch import Tensor, nn

import drkd
from drkd.targets import StudentBatch, Target, TargetOutput
from drkd.targets.rectify import swap
from drkd.training.metrics import calibration_error, risk_coverage_area

SOFT = ((0.5, 1.0), (0.9, 4.0))
"""alpha and temperature."""

METRICS = ("accuracy", "nll", "ece", "aurc")
COLUMNS = (
    *("bed", "seed", "source", "rule", "alpha", "temperature", "epochs", "lr", "weight_decay"),
    *METRICS,
    *(f"average_{metric}" for metric in METRICS),
    *("rectified", "swaps_right", "teacher_right", "seconds"),
)


class Table(Target):
    """Answers about every training sample that do not change while the student learns."""

    needs = frozenset({"index"})

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, batch: StudentBatch) -> TargetOutput:
        return TargetOutput(self.answers[batch.index_for(self)])


def probability(logits: Tensor, labels: Tensor) -> Tensor:
    """That a teacher gives to the label, (B, 1)."""
    return logits.softmax(dim=1).gather(1, labels[:, None])


def where(keep: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor) -> Tensor:
    """The swap in the rows that `keep` names."""
    return swap(logits, labels).where(keep(logits, labels), logits)


def in_top(count: int, logits: Tensor, labels: Tensor) -> Tensor:
    return (logits > logits.gather(1, labels[:, None])).sum(dim=1, keepdim=True) < count


def of_mean(share: float, logits: Tensor, labels: Tensor) -> Tensor:
    found = probability(logits, labels)
    return found >= share * found.mean()


def at_least(share: float, logits: Tensor, labels: Tensor) -> Tensor:
    return probability(logits, labels) >= share


def of_class(share: float, logits: Tensor, labels: Tensor) -> Tensor:
    """Thresholds per class as in confident learning, over the batch."""
    found = probability(logits, labels)
    sums = torch.zeros(logits.shape[1], 2).index_add_(0, labels, torch.cat([found, torch.ones_like(found)], dim=1))
    return found >= share * (sums[:, :1] / sums[:, 1:])[labels]


def softly(logits: Tensor, labels: Tensor) -> Tensor:
    """Both answers, mixed by how plausible the label is beside the first choice."""
    share = probability(logits, labels) / logits.softmax(dim=1).amax(dim=1, keepdim=True)
    mixed = share * swap(logits, labels).softmax(dim=1) + (1 - share) * logits.softmax(dim=1)
    return mixed.clamp(min=1e-30).log()


def rule(name: str) -> Callable[[Tensor, Tensor], Tensor] | str | None:
    """A rectifier by name; None leaves the teacher as it is."""
    kind, _, number = name.partition(":")
    value = float(number or 0)
    return {
        "none": None,
        "swap": "swap",
        "drop": "drop",
        "plausible": name,
        "top": partial(where, partial(in_top, int(value))),
        "mean": partial(where, partial(of_mean, value)),
        "least": partial(where, partial(at_least, value)),
        "class": partial(where, partial(of_class, value)),
        "soft": softly,
    }[kind]


RULES = (
    *("none", "swap", "drop", "plausible:0.01", "plausible:0.05", "plausible:0.2"),
    *("top:2", "top:5", "mean:0.05", "mean:0.5", "class:0.5", "least:0.05", "soft"),
)


USUAL = Settings()


@dataclass(frozen=True)
class Row:
    """A training: who teaches, corrected how, with which weight."""

    source: str
    rule: str = "none"
    alpha: float = 0.0
    temperature: float = 1.0
    settings: Settings = USUAL


def plain(_: nn.Module) -> drkd.Objective:
    return drkd.cross_entropy()


def method_of(row: Row, answers: Tensor | None) -> Callable[[nn.Module], drkd.Objective]:
    """From the student to the objective."""
    if row.source == "labels":
        return plain
    if row.source == "smoothing":
        return lambda _: drkd.label_smoothing(row.alpha)
    rectify = rule(row.rule)

    def make(head: nn.Module) -> drkd.Objective:
        target = drkd.Ema(head, DECAY) if row.source == "average" else Table(answers)
        if rectify is None:
            return drkd.tf_kd_self(target, row.alpha, row.temperature)
        return drkd.dr_kd(target, row.alpha, row.temperature, rectify=rectify)

    return make


def answers_of(source: str, bed: Bed, settings: Settings, seed: int) -> Tensor | None:
    """What the self-teachers say of the training images, (N, K)."""
    if source == "finished":
        head, _, _ = train(bed.inputs, bed.labels, bed.classes, plain, settings, seed)
        with torch.no_grad():
            return head(bed.inputs)
    if not source.startswith("folds"):
        return None
    count = int(source.removeprefix("folds"))
    fold = bed.folds(count, seed)
    answers = torch.zeros(len(bed.labels), bed.classes)
    for number in range(count):
        rows = (fold != number).nonzero().flatten()
        head, _, _ = train(bed.inputs, bed.labels, bed.classes, plain, settings, seed, rows)
        with torch.no_grad():
            answers[fold == number] = head(bed.inputs[fold == number])
    return answers


def measured(head: nn.Module, bed: Bed) -> list[float]:
    with torch.no_grad():
        logits = head(bed.judged)
    confidence, guess = logits.softmax(dim=1).max(dim=1)
    right = guess == bed.judged_labels
    nll = nn.functional.cross_entropy(logits, bed.judged_labels).item()
    return [
        right.float().mean().item(),
        nll,
        calibration_error(confidence, right),
        risk_coverage_area(confidence, right),
    ]


def swaps(row: Row, answers: Tensor, bed: Bed) -> tuple[float, float]:
    """Of the answers that the rule changes, how many towards a true label; how many answers are true."""
    right = (answers.argmax(dim=1) == bed.true).float().mean().item()
    if row.rule in ("none", "drop"):
        return float("nan"), right
    changed = drkd.Rectified(Table(answers), rule(row.rule))(
        StudentBatch(torch.zeros_like(answers), bed.labels, index=torch.arange(len(answers)))
    ).changed
    return (bed.labels == bed.true)[changed].float().mean().item(), right


def run(rows: list[Row], options: argparse.Namespace, *, validation: bool) -> None:
    """All rows on all beds with all seeds, those that are missing."""
    torch.set_num_threads(1)
    options.table.parent.mkdir(parents=True, exist_ok=True)
    known = set()
    if options.table.exists():
        with options.table.open(newline="") as file:
            known = {tuple(row[name] for name in COLUMNS[:9]) for row in csv.DictReader(file)}
    with options.table.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(COLUMNS)
        for seed in range(options.seeds):
            for name in options.beds.split(","):
                bed = bed_of(options.data, options.kept, name, seed, validation=validation)
                answers: dict[tuple[str, Settings], Tensor | None] = {}
                for row in rows:
                    how = row.settings
                    numbers = (row.alpha, row.temperature, how.epochs, how.lr, how.weight_decay)
                    key = (name, str(seed), row.source, row.rule, *(f"{number:g}" for number in numbers))
                    if key in known:
                        continue
                    started = time.process_time()
                    if (row.source, how) not in answers:
                        answers[row.source, how] = answers_of(row.source, bed, how, seed)
                    said = answers[row.source, how]
                    head, average, rectified = train(
                        bed.inputs, bed.labels, bed.classes, method_of(row, said), how, seed
                    )
                    found = [*measured(head, bed), *measured(average, bed), rectified]
                    found += (float("nan"),) * 2 if said is None else swaps(row, said, bed)
                    seconds = time.process_time() - started
                    writer.writerow([*key, *(f"{value:.5f}" for value in found), f"{seconds:.2f}"])
                    file.flush()


def to_choose() -> Iterator[Row]:
    """Every rule with two sources of targets."""
    yield Row("labels")
    for source in ("folds2", "average"):
        for alpha, temperature in SOFT:
            yield from (Row(source, each, alpha, temperature) for each in RULES)


def to_tune() -> Iterator[Row]:
    """Cross-entropy, as well as it goes."""
    for epochs in (3, 10, 30):
        for lr in (0.0015, 0.005, 0.015):
            for weight_decay in (0.05, 0.3, 1.0):
                yield Row("labels", settings=replace(USUAL, epochs=epochs, lr=lr, weight_decay=weight_decay))


FINAL = ("none", "swap", "drop", "plausible:0.05")


def at_last() -> Iterator[Row]:
    """What the tables show."""
    yield Row("labels")
    yield Row("smoothing", alpha=0.1)
    for source in ("finished", "folds2", "average"):
        for alpha, temperature in SOFT:
            yield from (Row(source, each, alpha, temperature) for each in FINAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["choose", "tune", "final"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True, help="folder for the features")
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--beds", default="cub100,cub100:0.2,cub100:0.4")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = {"choose": to_choose, "tune": to_tune, "final": at_last}[options.stage]()
    run(list(rows), options, validation=options.stage != "final")


if __name__ == "__main__":
    main()
