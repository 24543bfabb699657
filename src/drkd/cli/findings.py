"""What `drkd check` prints: a line per finding, and what was counted."""

import json
from collections import Counter
from dataclasses import asdict

from rich.console import Console
from rich.progress import Progress

from drkd.cli.printing import say
from drkd.data.checking import Findings
from drkd.data.problems import shown
from drkd.tasks import get_task

ALIKE = 3
"""Notes of one wording that are printed one by one; `--json` has all."""


def check_with_progress(data: str, task: str) -> Findings:
    """The check of a task, with a progress bar where standard error is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task("images")
        return get_task(task).check(data, lambda done, total: bar.update(line, completed=done, total=total))


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
    images = ", ".join(f"{split} {count:,}" for split, count in found.images.items()) or "none"
    print(f"looked at: {images} images, {len(found.classes):,} classes")
    for severity, meaning in (
        ("error", "stop a training"),
        ("warning", "make results doubtful"),
        ("note", "say how images are read"),
    ):
        counts = found.count(severity)  # type: ignore[arg-type]
        kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        print(f"{sum(counts.values())} {severity}s ({meaning}){': ' + kinds if kinds else ''}")


def verdict(found: Findings) -> str:
    """One line on what stops a training."""
    errors = found.count("error")
    skippable = {"unreadable image", "oversized image"} >= set(errors)
    way = "remove or replace them" + (", or skip them with --skip-bad-images" if skippable else "")
    return f"{sum(errors.values())} errors in {shown(found.data)} stop a training; {way}"
