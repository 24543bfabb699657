"""Commands of drkd in processes of their own that are forked with everything imported, so that they start at once.

What needs a fresh interpreter is started by `subprocess` in tests/cli/test_cli.py.
"""

import contextlib
import os
import re
import signal
import sys
import time
import warnings
from multiprocessing import forkserver
from pathlib import Path

from drkd.utils.workers import worker_context

LIMIT = 120
"""Seconds after which a command hangs."""


class Command:
    """`drkd ARGUMENTS` in `folder`, leader of a process group of its own.

    The process that all are copies of imports what a comparison does, and it is shared with the comparison's workers.
    """

    def __init__(self, *arguments, folder):
        self.output, self.errors = folder / "stdout.txt", folder / "stderr.txt"
        context = worker_context("drkd.studies.comparison")
        words = [str(argument) for argument in arguments]
        self.process = context.Process(target=run, args=(words, folder, self.output, self.errors))
        self.process.start()
        self.pid = self.process.pid

    def wait_for(self, happened):
        """Wait until `happened()`, or until the command is over."""
        deadline = time.monotonic() + LIMIT
        while not happened() and self.process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)

    def workers(self):
        """Processes that work for it, the newest last: the other children of the process that all are copies of."""
        return [pid for pid in children(forkserver._forkserver._forkserver_pid) if pid != self.pid]

    def end(self):
        """Wait for its end; exit code, output, and errors without the word that a slow start gets."""
        self.process.join(LIMIT)
        assert self.process.exitcode is not None, f"{self.output.read_text()} {self.errors.read_text()}"
        errors = re.sub(r"(?m)^drkd: \S+: .*(starting|reading \S+) \.\.\.\n", "", self.errors.read_text())
        return self.process.exitcode, self.output.read_text(), errors


def children(parent):
    """Processes whose parent is `parent` and that have not ended, the newest last."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent_of_this = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent_of_this) == parent and state != "Z":
                found.append(int(path.name))
    return sorted(found)


def run(words, folder, output, errors):
    """What the process does."""
    from drkd.cli import main

    os.setsid()
    os.chdir(folder)
    for number, file in ((1, output), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("error")
    forkserver._forkserver.ensure_running = forkserver.ensure_running = lambda: None  # it is this process's parent
    sys.argv = ["drkd", *words]
    main()
