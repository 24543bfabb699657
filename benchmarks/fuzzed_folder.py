"""The folder that command lines of fuzz.py run in: runs, a comparison, a search, exports, data, and them damaged."""

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from command_lines import SOUND, Line
from sabotage import harm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

MADE = (
    *("train --out run", "export run", "compare --out comparison"),
    *("export run --format torch", "tune --out tuned"),
)
"""Command lines whose results others are about; each gets the small options of its command."""


def set_up(root: Path, run: Callable[[list[str]], Any]) -> None:
    """Make what the lines are about, in `root`: runs of all kinds, data, files; `run` runs a command line there."""
    from image_files import noise, write_set
    from shapes import write_coco, write_voc

    write_set(root / "pets")
    write_coco(root / "coco", train=3, val=2, test=0)
    write_voc(root / "voc", train=3, val=2, test=0)
    noise(0).save(root / "image.png")
    (root / "empty").mkdir()
    (root / "text.txt").write_text("text")
    (root / "options.yaml").write_text("epochs: 1\n")
    for line in MADE:
        outcome = run([*line.split(), *SOUND[line.split()[0]].split()])
        assert outcome.what == "accepted", outcome
    for checkpoints in [*root.rglob("checkpoints")]:  # of finished trainings; hundreds of files
        shutil.rmtree(checkpoints)
    for name in ("run", "comparison", "tuned", "pets", "coco"):
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "damaged" / name)


def place(made: Path, work: Path, line: Line, rng: random.Random) -> None:
    """Make the folder that a line runs in: what it names of `made`, damaged where it says so."""
    text = " ".join([*line.words, line.options or ""])
    everything = {".", ".."} & {*line.words}
    for entry in sorted([*made.iterdir(), *(made / "damaged").iterdir()]):
        copy = work / entry.relative_to(made)
        if entry.name == "damaged":
            copy.mkdir(parents=True)
        elif everything or str(entry.relative_to(made)) in text:
            (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, copy)
    os.mkfifo(work / "pipe")
    for folder in sorted((work / "damaged").iterdir()):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        harm(rng, rng.choice(files), flip=rng.random() < 0.5)
    if line.options is not None:
        (work / "options.yaml").write_bytes(line.options.encode("utf-8", "surrogateescape"))
