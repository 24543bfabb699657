"""The short form of the campaign in benchmarks/faults.py: whatever happens, a training ends as if nothing had."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from faults import INTERVAL, campaign


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="signals and limits are POSIX")
def test_no_fault_changes_what_comes_out():
    counts = campaign(short=True, seed=0)
    for kind in ("random", "call", "term", "damage, checkpoint", "full"):
        row = counts[kind]
        assert row["trainings"] == row["equal"] > 0, (kind, row)
    assert counts["random"]["most_lost"] <= INTERVAL
    assert counts["call"]["most_lost"] <= INTERVAL
    assert counts["term"]["most_lost"] == 0
    for kind in ("damage, checkpoint", "damage, model", "full"):
        assert counts[kind]["told"] == counts[kind]["faults"] > 0, (kind, counts[kind])
