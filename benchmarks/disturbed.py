"""Two kinds of faults.py: searches that are killed, and two processes that write into the same run directory."""

import json
import random
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from sabotage import at_call
from sessions import Command, context

COMMON = ["--model", "mlp", "--limit-train", "100", "--epochs", "2", "--batch-size", "25", "--checkpoint-every", "3"]
SEARCH = ["tune", "--methods", "label_smoothing,dr_kd", "--trials", "6", "--round", "2", "--jobs", "1", *COMMON]
SHORT_SEARCH = ["tune", "--methods", "label_smoothing", "--trials", "3", "--jobs", "1", *COMMON, "--epochs", "1"]
TRAINING = ["train", "--method", "dr_kd", *COMMON]
COMPARISON = ["compare", "--methods", "dr_kd", "--label-noise", "0", "--seeds", "2", "--jobs", "1", *COMMON]


def found(out: Path) -> Any:
    """What came out of a run directory, without times."""
    models = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("model.safetensors"))}
    trials = None
    if (out / "tune.json").is_file():
        results = json.loads((out / "tune.json").read_text())
        timeless = [{key: value for key, value in trial.items() if key != "seconds"} for trial in results["trials"]]
        trials = [timeless, results["best"], results["baselines"]]
    return models, trials


def killed_searches(folder: Path, draw: random.Random, *, short: bool) -> dict[str, int]:
    """Searches killed at 20 random moments, each up to three times, and right before 20 calls that change the disk.

    If `short`, a smaller one is killed once at a call.
    """
    search_for = SHORT_SEARCH if short else SEARCH
    row = {"searches": 0, "faults": 0, "equal": 0}
    undisturbed, out = folder / "search", folder / "killed-search"
    counter = context.Value("i", 0)
    started = time.monotonic()
    code, said = Command(
        [*search_for, "--out", str(undisturbed)], folder, sabotage=partial(at_call, 0, counter=counter)
    ).end()
    assert code == 0, said
    seconds, calls = time.monotonic() - started, counter.value
    expected = found(undisturbed)

    def finish(faults: int) -> None:
        code, said = Command([*search_for, "--out", str(out), "--resume"], folder).end()
        assert code == 0, said
        row["searches"] += 1
        row["faults"] += faults
        row["equal"] += found(out) == expected
        shutil.rmtree(out)

    left = 0 if short else 20
    while left > 0:
        faults = 0
        for _ in range(min(3, left)):
            search = Command([*search_for, "--out", str(out), "--resume"], folder)
            time.sleep(draw.uniform(0, seconds))
            search.process.kill()
            faults += search.end()[0] != 0
        finish(faults)
        left -= max(1, faults)
    at_calls = 1 if short else 20
    for number in range(at_calls):
        position = 1 + (number * calls + draw.randrange(calls)) // at_calls
        sabotage = partial(at_call, position, torn=number % 2 == 1)
        code, said = Command([*search_for, "--out", str(out), "--resume"], folder, sabotage=sabotage).end()
        finish(int(code != 0))
    return row


def two_writers(folder: Path, *, short: bool) -> dict[str, dict[str, int]]:
    """Two starts in the same moment: in one run directory one trains, with default names both do.

    Five times each, default names of comparisons and searches once; if `short`, trainings in one directory once.
    """
    rows = {}
    commands = {"train": TRAINING} if short else {"train": TRAINING, "compare": COMPARISON, "tune": SEARCH}
    for name, arguments in commands.items():
        code, said = Command([*arguments, "--out", str(folder / name)], folder).end()
        assert code == 0, said
        expected = found(folder / name)
        row = rows[f"writers, {name}"] = {"starts": 0, "trained": 0, "refused": 0, "equal": 0}
        for _ in range(1 if short else 5):
            out = folder / f"{name}-twice"
            _count_ends(_both([*arguments, "--out", str(out)], folder), row)
            row["equal"] += found(out) == expected
            shutil.rmtree(out)
        if short:
            continue
        row = rows[f"writers, {name}, default names"] = {"starts": 0, "trained": 0, "refused": 0, "equal": 0}
        for _ in range(5 if name == "train" else 1):
            home = folder / "home"
            home.mkdir()
            _count_ends(_both(arguments, home), row)
            row["equal"] += sum(found(out) == expected for out in sorted((home / "runs").glob(f"{name}-*")))
            shutil.rmtree(home)
    return rows


def _both(arguments: list[str], folder: Path) -> list[tuple[int, str]]:
    start = context.Barrier(2)
    commands = [Command(arguments, folder, log=f"log-{number}", start=start) for number in range(2)]
    return [command.end() for command in commands]


def _count_ends(ends: list[tuple[int, str]], row: dict[str, int]) -> None:
    for code, said in ends:
        row["starts"] += 1
        row["trained"] += code == 0
        row["refused"] += code == 2 and ("is in use by" in said or "holds a finished run" in said)
