"""What the gain of `online_dr_kd` with the running average is made of: the average, its teaching, or the rectification.

    python benchmarks/evidence/averages.py --data FOLDER --limit-train 1000 --image-size 16

Beside cross-entropy: the running average of cross-entropy's own weights, which teaches nobody; the average as the
teacher, rectified by the swap, by dropping its mistakes, and not at all; and the average at the end of the swap's
training in place of its student. Decays, or alpha and temperature, are chosen on the validation split with the first
two seeds; the last epoch is then measured on the test split with all seeds. Trainings are as in study.py with `--select
last`; what is measured is kept under OUT, and a second call resumes where the first stopped.
"""

import argparse
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tables import METRICS, points, table
from torch import Tensor, nn

import drkd
from drkd.studies.statistics import paired
from drkd.targets.rectify import drop, swap
from drkd.utils.device import set_up_process
from drkd.utils.files import read_json, write_json

DECAYS = (0.9, 0.98, 0.99, 0.995, 0.998, 0.999)
SOFT = tuple((alpha, temperature) for alpha in (0.1, 0.3, 0.7) for temperature in (1.0, 4.0))


def as_it_is(logits: Tensor, labels: Tensor) -> Tensor:
    del labels
    return logits


RULES: dict[str, Callable[[Tensor, Tensor], Any]] = {"swap": swap, "drop": drop, "none": as_it_is}


def train_one(job: tuple[str, Any, int, argparse.Namespace]) -> dict[str, Any]:
    """Metrics on the validation and the test split of a training's student, and of its averages by decay.

    The job: a rule and (alpha, temperature), or `cross_entropy` and the decays of averages that teach nobody.
    """
    rule, setting, seed, arguments = job
    record = arguments.out / f"{rule}-{'-'.join(map(str, setting))}-seed-{seed}.json"
    if record.exists():
        return dict(read_json(record))
    set_up_process(1)
    warnings.filterwarnings("ignore", message=".* had nothing to rectify")  # the rule `none` never has
    data = drkd.load_data(
        arguments.data,
        image_size=arguments.image_size,
        limit_train=arguments.limit_train,
        validation=arguments.validation,
        augment="none",
        label_noise=arguments.noise,
        seed=seed,
    )
    torch.manual_seed(seed)
    student = drkd.create_model(
        arguments.model, num_classes=len(data.classes), image_size=data.image_size, channels=data.channels
    )
    if rule == "cross_entropy":
        averages = [drkd.Ema(student, decay) for decay in setting]
        silent = [drkd.Term(average, 0.0, name=f"average_{path}") for path, average in enumerate(averages)]
        objective = drkd.Objective("cross_entropy", [drkd.Term(drkd.OneHot(), name="ce"), *silent])
    else:
        averages = [drkd.Ema(student)]
        objective = drkd.online_dr_kd(*setting, source=averages[0], rectify=RULES[rule])
    done = drkd.fit(
        student,
        objective,
        data,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=seed,
        select="last",
        memory_format=arguments.memory_format,
    )
    networks: dict[str, nn.Module] = {"student": student, **{str(a.decay): a.average for a in averages}}
    measured = {
        name: {split: asdict(drkd.evaluate(network, data, split)) for split in ("val", "test")}
        for name, network in networks.items()
    }
    rectified = [row["rectified"] for row in done.history if "rectified" in row]
    result = {
        **measured,
        "train_accuracy": done.history[-1]["train_accuracy"],
        "rectified": sum(rectified) / len(rectified) if rectified else None,
    }
    write_json(record, {**result, "seconds": done.seconds})
    return dict(read_json(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="small_cnn")
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--validation", type=float, default=0.02)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--memory-format", default="auto")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/averages"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    asked = {name: value for name, value in vars(arguments).items() if name not in ("out", "jobs", "seeds")}
    if (arguments.out / "asked.json").exists() and read_json(arguments.out / "asked.json") != asked:
        parser.error(f"{arguments.out} holds trainings with other options; choose another --out")
    write_json(arguments.out / "asked.json", asked)
    seeds = range(arguments.seeds)
    with ProcessPoolExecutor(arguments.jobs) as pool:

        def trained(rule: str, setting: Any, seeds: range) -> list[dict[str, Any]]:
            return list(pool.map(train_one, [(rule, setting, seed, arguments) for seed in seeds]))

        plain = trained("cross_entropy", DECAYS, seeds)
        decay = max(map(str, DECAYS), key=lambda decay: validation(plain[:2], decay))
        methods = {"cross_entropy": lists(plain, "student"), f"its average, decay={decay}": lists(plain, decay)}
        chosen = {}
        for rule in RULES:
            best = max(SOFT, key=lambda setting: validation(trained(rule, setting, seeds[:2]), "student"))
            chosen[rule] = done = trained(rule, best, seeds)
            called = f"taught by the average, {rule}, alpha={best[0]}, temperature={best[1]:g}"
            methods[called] = lists(done, "student")
            if rule == "swap":
                (average,) = (name for name in done[0] if name.startswith("0."))
                methods[f"{called}: the average"] = lists(done, average)
        print(table({"name": f"{100 * arguments.noise:g}% label noise", "seeds": list(seeds), "methods": methods}))
        by_rule = {rule: lists(done, "student")["accuracy"] for rule, done in chosen.items()}
        for rule in ("drop", "none"):
            print(f"swap - {rule}: {points(paired(by_rule['swap'], by_rule[rule]))} points")
    spent = [read_json(record)["seconds"] for record in arguments.out.glob("*-seed-*.json")]
    print(f"{sum(spent) / 60:.0f} processor minutes, the search included")


def validation(done: list[dict[str, Any]], network: str) -> float:
    return sum(each[network]["val"]["accuracy"] for each in done)


def lists(done: list[dict[str, Any]], network: str) -> dict[str, list[Any]]:
    """What `table` reads."""
    return {
        **{metric: [each[network]["test"][metric] for each in done] for metric in METRICS},
        "rectified_fraction": [each["rectified"] for each in done],
        "train_accuracy": [each["train_accuracy"] if network == "student" else None for each in done],
    }


if __name__ == "__main__":
    main()
