"""What `drkd check` prints: a line per finding, and what was counted."""

import json
import time
from collections import Counter
from dataclasses import asdict

from drkd.cli.printing import say
from drkd.data.checking import Findings
from drkd.data.problems import shown
from drkd.tasks import get_task
from drkd.utils.progress import Meter
from drkd.utils.text import counted

ALIKE = 3
"""Notes of one wording that are printed one by one; `--json` has all."""


def check_with_progress(data: str, task: str) -> Findings:
    """The check of a task; it reports its progress, as other passes over data do."""
    meter: Meter | None = None

    def report(done: int, total: int) -> None:
        nonlocal meter
        meter = meter or Meter("check", total, "images")
        if time.perf_counter() >= meter.due or (meter.was_due and done == total):
            meter.report(done)

    return get_task(task).check(data, report)


def as_json(found: Findings) -> str:
    """All findings, in the order in which they are printed."""
    return json.dumps({**asdict(found), "counts": {name: found.count(name) for name in ("error", "warning", "note")}})


def print_findings(found: Findings) -> None:
    """A line per finding; of notes that say the same, the first few and their number."""
    alike: Counter[str] = Counter()
    for problem in found.problems:
        alike[problem.reason] += problem.severity == "note"
        if alike[problem.reason] <= ALIKE:
            say(f"{problem.severity:<8} {problem.location}: {problem.reason}")
    for reason, count in alike.items():
        if count > ALIKE:
            say(f"{'note':<8} {count - ALIKE} more: {reason}")
    images = ", ".join(f"{split} {count:,}" for split, count in found.images.items()) or "no"
    print(f"looked at: {images} images, {len(found.classes):,} class{'es' * (len(found.classes) != 1)}")
    for severity, meaning in (
        ("error", "a training would stop"),
        ("warning", "figures are doubtful"),
        ("note", "how images are read"),
    ):
        counts = found.count(severity)  # type: ignore[arg-type]
        kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        print(f"{counted(sum(counts.values()), severity)} ({meaning}){': ' + kinds if kinds else ''}")


def verdict(found: Findings) -> str:
    """One line on what stops a training."""
    errors = found.count("error")
    skippable = {"unreadable image", "oversized image"} >= set(errors)
    number = sum(errors.values())
    it, verb = ("it", "stops") if number == 1 else ("them", "stop")
    way = f"fix {it} as said above"
    if skippable:
        way = f"remove or replace {it}, or leave {it} out with --skip-bad-images"
    return f"{counted(number, 'error')} in {shown(found.data)} {verb} a training; {way}"
