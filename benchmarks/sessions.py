"""Processes of faults.py that train, search or compare, and that may be killed."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

INTERVAL = 5
OPTIONS = {
    "resume": True,
    "limit_train": 150,
    "epochs": 3,
    "batch_size": 25,
    "checkpoint_every": str(INTERVAL),
    "method": "dr_kd",
}
FILES = ("model.safetensors", "metrics.csv", "teacher/model.safetensors", "teacher/metrics.csv")

LIMIT = 300
"""Seconds after which a process hangs."""

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "drkd.runs.training",
        "drkd.studies.tuning",
        "drkd.cli.training",
        "drkd.report",
        "optuna",
        "sklearn.datasets",
        "sklearn.model_selection",
        "torch._dynamo",
        "torch.fx.experimental.optimization",
    ]
)


def train(out: Path, steps: Any, said: Any, sabotage: Callable[[], None] | None) -> None:
    """What the process does: the training, with what is to go wrong in it."""
    import torch

    from drkd.cli import _terminate
    from drkd.config import TrainConfig, resolve
    from drkd.runs.training import train as run
    from drkd.training.step import Stepper

    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, _terminate)
    take_step = Stepper.step

    def counted(stepper: Any, batch: Any) -> bool:
        stepped = take_step(stepper, batch)
        steps.value += 1
        return stepped

    Stepper.step = counted
    if sabotage is not None:
        sabotage()
    try:
        summary = run(*resolve(TrainConfig, OPTIONS), out)
    except Exception as reason:
        said.put(f"{type(reason).__name__}: {reason}")
        raise SystemExit(1) from None
    said.put(summary.notes)


class Session:
    """One process that trains into `out`; `steps` counts its optimizer steps."""

    def __init__(self, out: Path, sabotage: Callable[[], None] | None = None) -> None:
        self.steps, self.said = context.Value("i", 0), context.Queue()
        self.process = context.Process(target=train, args=(out, self.steps, self.said, sabotage))
        self.process.start()

    def end(self) -> int:
        """Wait for its end; the exit code."""
        self.process.join(timeout=LIMIT)
        assert self.process.exitcode is not None, "a training hangs"
        return self.process.exitcode

    def message(self) -> Any:
        return self.said.get(timeout=10)


def finish(out: Path) -> int:
    """Train until it is through; the steps made."""
    session = Session(out)
    assert session.end() == 0, session.message()
    return session.steps.value


def content(out: Path) -> list[bytes]:
    return [(out / file).read_bytes() for file in FILES]


def run_command(arguments: Sequence[str], folder: Path, log: Path, start: Any, sabotage: Any) -> None:
    """The command line, as in a terminal whose folder is `folder`; all start together."""
    import torch

    from drkd.cli import main

    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    sys.argv = ["drkd", *arguments]
    if sabotage is not None:
        sabotage()
    if start is not None:
        start.wait()
    main()


class Command:
    """One process with a command of drkd in `folder`; `start` is a barrier that others wait at too."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, *, log: str = "log", start: Any = None, sabotage: Any = None
    ) -> None:
        self.log = folder / log
        self.process = context.Process(target=run_command, args=(arguments, folder, self.log, start, sabotage))
        self.process.start()

    def end(self) -> tuple[int, str]:
        """Wait for its end; the exit code, and what it printed."""
        self.process.join(timeout=LIMIT)
        assert self.process.exitcode is not None, "a command hangs"
        return self.process.exitcode, self.log.read_text()
