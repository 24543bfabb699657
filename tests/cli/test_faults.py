"""The short form of the campaign in benchmarks/faults.py: whatever happens, a training ends as if nothing had."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "faults.py"
INTERVAL = 5


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="signals and limits are POSIX")
def test_no_fault_changes_what_comes_out(tmp_path):
    command = [sys.executable, str(SCRIPT), "--short", "--json", str(tmp_path / "counts.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    counts = json.loads((tmp_path / "counts.json").read_text())
    for kind in ("random", "call", "term", "damage, checkpoint", "full"):
        row = counts[kind]
        assert row["trainings"] == row["equal"] > 0, (kind, row)
    assert counts["random"]["most_lost"] <= INTERVAL
    assert counts["call"]["most_lost"] <= INTERVAL
    assert counts["term"]["most_lost"] == 0
    for kind in ("damage, checkpoint", "damage, model", "full"):
        assert counts[kind]["told"] == counts[kind]["faults"] > 0, (kind, counts[kind])
    assert counts["tune"]["searches"] == counts["tune"]["equal"] == 1
    assert counts["writers, train"] == {"starts": 2, "trained": 1, "refused": 1, "equal": 1}
    read = {name: row for name, row in counts.items() if name.startswith(("data, ", "bits, "))}
    assert len(read) > 25
    for name, row in read.items():
        assert not {"silent", "crashed"} & set(row), (name, row)
        assert not row.get("on trained images"), (name, row)
        assert row.get("refused", 0) + row.get("said", 0) > 0 or name == "data, predict", (name, row)
