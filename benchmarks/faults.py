"""What a training survives: kills, signals, damaged files, a full disk. Every run must end as the undisturbed one did.

    python benchmarks/faults.py               # the whole campaign, some ten minutes on two cores
    python benchmarks/faults.py --short       # a few of each kind
    python benchmarks/faults.py --kinds term damage --json faults.json

Each training is a process of its own: DR-KD on digits with its self-teacher trained first, a checkpoint every five
steps. After every fault the same call is made again until it is through. Then models and metrics, the teacher's too,
are compared byte for byte with those of a training that nothing happened to.

    random     SIGKILL at a random moment, again and again
    call       SIGKILL right before every single write, flush, rename, link and removal; and in the middle of a write
    term       SIGTERM at a random moment: exit code 143, and not a step lost
    damage     a bit flipped, or the file cut, anywhere in the newest checkpoint; in a finished model
    full       the disk takes no more than a few bytes; a folder that cannot be written to
    tune       a search killed at random moments and right before writes, resumed until it is through
    writers    two starts in the same moment, in one run directory and with default names
    data       files added, removed, renamed, moved to another class, changed; then everything that uses the run
    bits       a bit flipped, or the file cut, in every file that drkd reads of a run and around it

Of the last two, each reading is `refused`, `said` (a note tells of it), `unaffected` (the same content was read) or
`silent`, which must not be; `crashed` is a refusal without a sentence.

"Lost" counts steps that were made twice, in the worst case of each kind; an interval is five steps, and a killed
training may be in the middle of the step after it.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from damaged import flipped_bits
from disturbed import killed_searches, two_writers
from moved import changed_data
from sabotage import at_call, harm, no_room
from sessions import INTERVAL, Session, content, finish


class Campaign:
    """All kinds of faults, counted.

    Args:
        folder: where trainings go.
        draw: the random moments and places.
    """

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        finish(folder / "first")  # the process that the others are copies of has to start
        started = time.monotonic()
        self.steps = finish(folder / "undisturbed")
        self.seconds = time.monotonic() - started
        self.expected = content(folder / "undisturbed")
        self.results: dict[str, dict[str, Any]] = {}

    def _check(self, kind: str, out: Path, *, faults: int, lost: int, told: int | None = None) -> None:
        row = self.results.setdefault(kind, {"trainings": 0, "faults": 0, "equal": 0, "most_lost": 0})
        row["trainings"] += 1
        row["faults"] += faults
        row["equal"] += content(out) == self.expected
        row["most_lost"] = max(row["most_lost"], lost)
        if told is not None:
            row["told"] = row.get("told", 0) + told
        shutil.rmtree(out)

    def random_kills(self, count: int) -> None:
        """Each training is killed up to five times."""
        left = count
        while left > 0:
            out, worst, faults, needed = self.folder / "killed", 0, 0, self.steps
            for _ in range(min(5, left)):
                session = Session(out)
                time.sleep(self.draw.uniform(0, self.seconds))
                session.process.kill()
                if session.end() == 0:
                    needed -= session.steps.value
                    break
                faults += 1
                kept = needed - self._left(out)
                worst, needed = max(worst, session.steps.value - kept), needed - kept
            finish(out)
            left -= max(1, faults)
            self._check("random", out, faults=faults, lost=worst)

    def _left(self, out: Path) -> int:
        """How many steps a training in `out` still needs, by its newest checkpoints."""
        each = self.steps // 2
        newest = [
            each
            if (location / "summary.json").is_file()
            else max((int(path.name[5:]) for path in location.glob("checkpoints/step-*")), default=0)
            for location in (out / "teacher", out)
        ]
        return self.steps - sum(newest)

    def kills_at_calls(self, most: int | None) -> None:
        """At every call, or at `most` of them, evenly spread."""
        number, spacing = 1, 1
        if most is not None:
            spacing = max(1, 2 * self._calls() // most)
        while True:
            for torn in (False, True):
                out = self.folder / "call"
                session = Session(out, partial(at_call, number, torn=torn))
                if session.end() == 0:
                    shutil.rmtree(out)
                    return
                lost = session.steps.value - (self.steps - self._left(out))
                finish(out)
                self._check("call", out, faults=1, lost=lost)
            number += spacing

    def _calls(self) -> int:
        """About how many calls change the disk: they are alike for every checkpoint."""
        return 45 * (self.steps // INTERVAL)

    def terminations(self, count: int) -> None:
        done = 0
        while done < count:
            out = self.folder / "term"
            session = Session(out)
            while not session.steps.value and session.process.is_alive():
                time.sleep(0.01)
            time.sleep(self.draw.uniform(0, self.seconds / 3))
            session.process.terminate()
            code = session.end()
            made = session.steps.value
            if code == 0:
                shutil.rmtree(out)
                continue
            assert code == 143, f"exit code {code}"
            again = finish(out)
            done += 1
            self._check("term", out, faults=1, lost=made + again - self.steps)

    def damage(self, checkpoints: int, models: int) -> None:
        """Flip a bit of a file of the newest checkpoint, or cut it; then of a finished model."""
        from drkd import InputError
        from drkd.tasks.loading import load_model

        unfinished = self.folder / "unfinished"
        session = Session(unfinished)
        while session.steps.value < self.steps - 4:
            time.sleep(0.001)
        session.process.kill()
        session.end()
        for number in range(checkpoints):
            out = self.folder / "damaged"
            shutil.copytree(unfinished, out, symlinks=True)
            newest = max(out.glob("checkpoints/step-*"), key=lambda path: int(path.name[5:]))
            harm(self.draw, self.draw.choice(sorted(newest.iterdir())), flip=number % 2 == 0)
            session = Session(out)
            notes = session.message()
            assert session.end() == 0, notes
            told = any("is damaged" in note for note in notes)
            self._check("damage, checkpoint", out, faults=1, lost=0, told=told)
        row = {"trainings": 0, "faults": models, "equal": 0, "most_lost": 0, "told": 0}
        for number in range(models):
            shutil.copy(self.folder / "undisturbed" / "model.safetensors", self.folder / "model.safetensors")
            harm(self.draw, self.folder / "model.safetensors", flip=number % 2 == 0)
            try:
                load_model(self.folder / "model.safetensors")
            except InputError:
                row["told"] += 1
        self.results["damage, model"] = row

    def full_disk(self, limits: list[int]) -> None:
        for limit in limits:
            out = self.folder / "full"
            session = Session(out, partial(no_room, limit))
            message = session.message()
            assert session.end() == 1, message
            finish(out)
            self._check("full", out, faults=1, lost=0, told="cannot write" in message)
        blocked = self.folder / "file"
        blocked.write_text("in the way")
        session = Session(blocked / "run")
        row = self.results["full"]
        row["faults"] += 1
        row["told"] += "cannot write" in session.message() and session.end() == 1


KINDS = ("random", "call", "term", "damage", "full", "tune", "writers", "data", "bits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few faults of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    arguments = parser.parse_args()
    results = campaign(short=arguments.short, seed=arguments.seed, kinds=arguments.kinds)
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def campaign(*, short: bool, seed: int, kinds: Sequence[str] = KINDS) -> dict[str, dict[str, Any]]:
    """Counts by kind: trainings, faults, how many ended equal, the most steps lost, how many damages were told."""
    warnings.simplefilter("ignore")
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), {}
        if set(kinds) & {"random", "call", "term", "damage", "full"}:
            run = Campaign(folder, draw)
            stages: dict[str, Callable[[], None]] = {
                "random": lambda: run.random_kills(4 if short else 100),
                "call": lambda: run.kills_at_calls(4 if short else None),
                "term": lambda: run.terminations(2 if short else 20),
                "damage": lambda: run.damage(*((4, 20) if short else (150, 50))),
                "full": lambda: run.full_disk([3000] if short else [0, 100, 1000, 3000, 20_000, 45_000]),
            }
            for kind in [kind for kind in kinds if kind in stages]:
                stages[kind]()
            results = run.results
        if "tune" in kinds:
            results["tune"] = killed_searches(folder, draw, short=short)
        if "writers" in kinds:
            results |= two_writers(folder, short=short)
        if "data" in kinds:
            results |= changed_data(folder / "data", draw, short=short)
        if "bits" in kinds:
            results |= flipped_bits(folder / "bits", draw, short=short)
        return results


if __name__ == "__main__":
    main()
