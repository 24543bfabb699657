"""docs/adding-a-method.md: its files, put where it says, are a method that passes its test and trains."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import drkd

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`((?:src|tests|docs)/\S+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
COMMAND = next(line for line in PAGE.splitlines() if line.startswith("drkd train --method temporal_ensembling"))

CHECK = """
import sys

import pytest

from drkd.cli import main

code = pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]])
assert code == 0, code
for sys.argv in (["drkd", "list", "methods"], sys.argv[1].split()):
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
"""


@pytest.fixture
def copy(tmp_path):
    """The package and what its tests read, with the page's files among them."""
    shutil.copytree(Path(drkd.__file__).parent, tmp_path / "src" / "drkd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs" / "methods", tmp_path / "docs" / "methods")
    (tmp_path / "tests" / "methods").mkdir(parents=True)
    (tmp_path / "examples").mkdir()
    for name in ("pyproject.toml", "docs/api.md", "examples/api.py", "tests/conftest.py", "tests/test_package.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_it_names_at_most_four_files():
    assert len(FILES) == 4
    assert not any((ROOT / name).exists() for name in FILES)


def test_the_files_are_a_method_that_passes_its_test_and_trains(copy):
    command = [
        sys.executable,
        "-c",
        CHECK,
        COMMAND,
        "tests/methods/test_temporal_ensembling.py",
        "tests/test_package.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Temporal ensembling (after arXiv 1610.02242)" in done.stdout
    (history,) = (copy / "runs").glob("*/metrics.csv")
    header, *epochs = history.read_text(encoding="utf-8").splitlines()
    assert len(epochs) == 2
    assert "soft" in header.split(",")
