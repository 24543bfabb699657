"""Which rectifier, for which teacher, with how many wrong labels?

    python benchmarks/evidence/rectifiers.py tune   --data DATA --kept KEPT --table tune.csv
    python benchmarks/evidence/rectifiers.py choose --data DATA --kept KEPT --table choose.csv
    python benchmarks/evidence/rectifiers.py weights --data DATA --kept KEPT --table weights.csv
    python benchmarks/evidence/rectifiers.py tuned-wrong --data DATA --kept KEPT --table tuned.csv --beds cub50:0.4
    python benchmarks/evidence/rectifiers.py tuned-right --data DATA --kept KEPT --table tuned.csv --beds cub50
    python benchmarks/evidence/rectifiers.py final  --data DATA --kept KEPT --table final.csv --seeds 10

`tune`, `choose` and `weights` judge settings, rules, their alpha and temperature on a fifth of the training images,
whose labels are as wrong as the rest; `final` and `tuned-...` measure what was chosen on the test split, with all
training images. A row of CSV is written as soon as it is known, and rows that are there are skipped.
`rectifier_tables.py` prints them. DATA has `cub100`, `cifar10`, `cifar10n` and `weights`; KEPT keeps the features.
`check` compares the training with drkd's own.
"""

import argparse
import csv
import time
from functools import partial
from pathlib import Path

import torch
from beds import Bed, bed_of
from heads import DECAY, Row, answers_of, logits_of, train
from rules import corrected
from torch import Tensor, nn

import drkd
from drkd.training.metrics import calibration_error, risk_coverage_area

SOFT = ((0.5, 1.0), (0.9, 4.0))
"""alpha and temperature."""

RULES = (
    *("none", "swap", "drop", "plausible:0.01", "plausible:0.05", "plausible:0.2", "top:5", "mean:0.05", "soft"),
    *("bayes:0.05", "bayes:0.2", "bayes:0.4", "corrected:0.2"),
)
FINAL = ("none", "swap", "drop", "plausible:0.05", "bayes:0.2")

JUDGED = ("tune", "choose", "weights")
"""Stages that look at no test split."""

KEYS = ("bed", "seed", "source", "rule", "alpha", "temperature", "epochs", "lr", "weight_decay")
METRICS = ("accuracy", "nll", "ece", "aurc")
COLUMNS = (
    *KEYS,
    *METRICS,
    *(f"average_{metric}" for metric in METRICS),
    *("rectified", "swaps_right", "teacher_right", "seconds"),
)


def rows_of(stage: str) -> list[list[Row]]:
    """What is trained, in groups that are trained at once."""
    if stage == "tune":
        return [
            [Row(epochs=epochs, lr=lr, weight_decay=decay) for lr in (0.003, 0.01, 0.03) for decay in (0.05, 0.5, 2.0)]
            for epochs in (3, 12, 30)
        ]
    if stage.startswith("tuned"):  # as `tune` finds it, with wrong labels and with right ones
        epochs, lr, decay = (30, 0.003, 0.5) if stage == "tuned-wrong" else (30, 0.01, 2.0)
        taught = [("labels", "none", 0.0, 1.0), ("virtual", "bayes:0.2", *SOFT[1])]
        taught += [
            (source, rule, *SOFT[1]) for source in ("folds2", "average") for rule in ("none", "swap", "bayes:0.2")
        ]
        return [[Row(*each, epochs, lr, decay) for each in taught]]
    if stage == "weights":
        sources, rules = ("virtual", "folds2", "average"), ("none", "swap", "bayes:0.2")
        soft = [(alpha, heat) for alpha in (0.3, 0.6, 0.9, 1.0) for heat in (1.0, 4.0)]
        groups = [[Row(source, rule, *pair) for rule in rules for pair in soft] for source in sources]
        return [[Row(), *(row for row in groups[0] if row.rule == "bayes:0.2")], *groups[1:]]
    sources, rules = (("folds2", "average"), RULES) if stage == "choose" else (("finished", "folds2", "average"), FINAL)
    groups = [[Row(source, rule, *soft) for rule in rules for soft in SOFT] for source in sources]
    if stage == "final":
        groups[0] += [Row("smoothing", alpha=0.1), *(Row("virtual", "bayes:0.2", *soft) for soft in SOFT)]
    groups[0] = [Row(), *groups[0]]
    return groups


def measured(logits: Tensor, labels: Tensor) -> list[float]:
    confidence, guess = logits.softmax(dim=1).max(dim=1)
    right = guess == labels
    nll = nn.functional.cross_entropy(logits, labels).item()
    return [
        right.float().mean().item(),
        nll,
        calibration_error(confidence, right),
        risk_coverage_area(confidence, right),
    ]


def about_teacher(row: Row, answers: Tensor | None, bed: Bed) -> list[float]:
    """Of the answers that the rule changes, how many labels are true; how many answers are true."""
    if answers is None:
        return [float("nan")] * 2
    _, changed, _ = corrected(row.rule, answers, bed.labels)
    return [
        (bed.labels == bed.true)[changed].float().mean().item(),
        (answers.argmax(dim=1) == bed.true).float().mean().item(),
    ]


def as_text(row: Row) -> list[str]:
    values = [getattr(row, name) for name in KEYS[2:]]
    return [value if isinstance(value, str) else f"{value:g}" for value in values]


def run(options: argparse.Namespace) -> None:
    """All rows on all beds with all seeds, those that are missing."""
    known = set()
    if options.table.exists():
        with options.table.open(newline="") as file:
            known = {tuple(row[name] for name in KEYS) for row in csv.DictReader(file)}
    options.table.parent.mkdir(parents=True, exist_ok=True)
    with options.table.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(COLUMNS)
        for seed in range(options.seeds):
            for name in options.beds.split(","):
                bed: Bed | None = None
                for group in rows_of(options.stage):
                    keys = [(name, str(seed), *as_text(row)) for row in group]
                    if all(key in known for key in keys):
                        continue
                    started = time.process_time()
                    bed = bed or bed_of(options.data, options.kept, name, seed, validation=options.stage in JUDGED)
                    answers = {row.source: answers_of(row.source, bed, seed) for row in group}
                    found = train(bed, group, answers, seed)
                    heads, averages = logits_of(bed.judged, found.heads), logits_of(bed.judged, found.averages)
                    seconds = (time.process_time() - started) / len(group)
                    for number, (row, key) in enumerate(zip(group, keys, strict=True)):
                        values = measured(heads[:, number], bed.judged_labels)
                        values += measured(averages[:, number], bed.judged_labels)
                        values += [float(found.rectified[number]), *about_teacher(row, answers[row.source], bed)]
                        if key not in known:
                            writer.writerow([*key, *(f"{value:.5f}" for value in values), f"{seconds:.2f}"])
                    file.flush()


def check(options: argparse.Namespace) -> None:
    """The same trainings with drkd's own objectives and torch's AdamW, one by one."""
    bed = bed_of(options.data, options.kept, "cub100:0.4", 0, validation=True)
    rules = ("none", "swap", "drop", "bayes:0.2")
    rows = [Row(source, rule, *SOFT[1], epochs=2) for source in ("finished", "average", "memory") for rule in rules]
    rows.append(Row("growing", "none", 0.8, 1.0, epochs=2))
    answers = {"finished": answers_of("finished", bed, 0)}
    found = train(bed, rows, answers, 0)
    for number, row in enumerate(rows):
        torch.manual_seed(0)
        head = nn.Linear(bed.inputs.shape[1], bed.classes)
        average = drkd.Ema(head, DECAY)
        finished = partial(nn.functional.embedding, weight=answers["finished"])
        teacher = {"finished": finished, "average": average, "memory": drkd.Memory()}.get(row.source)
        method = drkd.tf_kd_self if row.rule == "none" else partial(drkd.dr_kd, rectify=row.rule)
        objective = drkd.ps_kd(row.alpha) if teacher is None else method(teacher, row.alpha, row.temperature)
        optimizer = torch.optim.AdamW(head.parameters(), row.lr, weight_decay=row.weight_decay)
        generator = torch.Generator().manual_seed(0)
        order = [(e, p) for e in range(2) for p in torch.randperm(len(bed.labels), generator=generator).split(256)]
        for step, (epoch, part) in enumerate(order):
            optimizer.param_groups[0]["lr"] = row.lr * (1 + torch.cos(torch.tensor(torch.pi * step / len(order)))) / 2
            inputs = bed.inputs[part] if row.source == "average" else part
            loss = objective(head(bed.inputs[part]), bed.labels[part], inputs=inputs, index=part)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            objective.update(progress=(step + 1) / len(order), epoch=epoch)
        own = found.heads[0][:, number]
        theirs = torch.cat([head.weight.T, head.bias[None]]).detach()
        print(f"{row.source:10} {row.rule:16} largest difference of a weight {float((own - theirs).abs().max()):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["tune", "choose", "weights", "final", "tuned-wrong", "tuned-right", "check"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--beds", default="cub50:0.4,cub50,cub50:0.2")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    check(options) if options.stage == "check" else run(options)


if __name__ == "__main__":
    main()
