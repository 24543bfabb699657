#!/usr/bin/env python3
"""Everything one does in a clone, with nothing but Python 3.11+ and git: each task makes the environment it needs.

    python3 dev.py compare [OPTIONS]   set up and run `drkd compare` (any other command of drkd works too)
    python3 dev.py test [OPTIONS]      set up and run the tests
    python3 dev.py lint                set up and run lint, format, types and spelling
    python3 dev.py docs                set up and build the documentation into docs/_build
    python3 dev.py examples            set up and run the tutorials of docs/examples.md
    python3 dev.py package [--tag T]   set up, build wheel and sdist into dist/, install and try both
    python3 dev.py run MODULE ...      set up and run a development tool, such as ruff or mypy

The environment is .venv, or the folder that DRKD_VENV names; it is made again when pyproject.toml changes.
With CI set, constraints.txt pins the versions.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
EXTRAS = {"test": "dev", "lint": "dev", "docs": "docs", "examples": "dev", "package": "dev", "run": "dev"}
TASKS = {
    "test": [["pytest", "-n", "auto", "--dist", "worksteal"]],
    "lint": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32"],
        ["codespell_lib"],
    ],
    "docs": [["sphinx", "-W", "-b", "html", "docs", "docs/_build"]],
    "examples": [["examples.own_photos"], ["examples.noisy_labels"], ["examples.own_loop"], ["examples.api"]],
    "package": [["tests.support.built_package"]],
    "run": [[]],
}


def environment(extra: str | None) -> Path:
    """The environment's Python, with the package and one extra installed."""
    folder = Path(os.environ.get("DRKD_VENV", ROOT / ".venv"))
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"making the environment {folder} (a few minutes, the first time)", flush=True)
        venv.create(folder, with_pip=True)
    constraints = ROOT / "constraints.txt" if os.environ.get("CI") else None
    recipe = (ROOT / "pyproject.toml").read_bytes() + (constraints.read_bytes() if constraints else b"")
    stamp = folder / f".drkd-{extra or 'run'}-{hashlib.sha256(recipe).hexdigest()[:16]}"
    if not stamp.exists():
        package = f"{ROOT}[{extra}]" if extra else str(ROOT)
        pinned = ["--constraint", str(constraints)] if constraints else []
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", package, *pinned], check=True)
        stamp.touch()
    return python


def main() -> int:
    """Run the task that the command line names."""
    if sys.version_info < (3, 11):
        print(f"drkd needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0
    task, options = sys.argv[1], sys.argv[2:]
    try:
        python = environment(EXTRAS.get(task))
        commands = TASKS.get(task, [["drkd", task]])
        here = Path.cwd() if task not in TASKS else ROOT
        return max(subprocess.call([python, "-m", *command, *options], cwd=here) for command in commands)
    except subprocess.CalledProcessError as failed:
        print(f"setting up the environment failed ({failed}); is a package index reachable?", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
