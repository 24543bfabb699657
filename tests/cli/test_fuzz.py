"""The short form of benchmarks/fuzz.py, with seeds of its own: whatever drkd is given, it takes it or refuses it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fuzz
import fuzzed_folder


def unexpected(kind, count, seed):
    """The counts of some cases, and what was unexpected."""
    found = []
    counts = fuzz.campaign(
        {kind: range(count)}, seed=seed, on_outcome=lambda number, each: found.append((number, each))
    )
    return counts[kind], [(number, each) for number, each in found if each.what == "unexpected"]


@pytest.mark.skipif(not hasattr(fuzz.signal, "alarm"), reason="limits of time and FIFOs are POSIX")
@pytest.mark.parametrize(("kind", "count", "seed"), [("lines", 60, 71), ("calls", 40, 72)])
def test_whatever_it_is_given_it_takes_it_or_refuses_it(monkeypatch, kind, count, seed):
    monkeypatch.setattr("fuzzed_folder.MADE", fuzzed_folder.MADE[:3])  # the others take seconds
    counts, wrong = unexpected(kind, count, seed)
    assert not wrong, "\n".join(f"{number}: {each.case}\n{each.said}" for number, each in wrong)
    assert counts["accepted"] >= count // 8
    assert counts["refused"] >= count // 4


def test_a_fault_is_seen(monkeypatch):
    def broken(*_, **__):
        raise KeyError("nobody expects this")

    monkeypatch.setattr("drkd.cli.catalog.methods", broken)
    outcome = fuzz.run_line(["list", "methods"])
    assert outcome.what == "unexpected"
    assert "exit code 1 for KeyError" in outcome.said
    assert fuzz.run_line(["list", "models"]).what == "accepted"
    assert fuzz.run_line(["list", "nothing"]).what == "refused"


def test_too_little_memory_is_no_fault(monkeypatch):
    def greedy():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 17970000000000 bytes")

    monkeypatch.setattr("drkd.cli.catalog.methods", greedy)
    outcome = fuzz.run_line(["list", "methods"])
    assert outcome.what == "failed"
    assert "drkd: not enough memory: DefaultCPUAllocator" in outcome.said


def test_faults_beside_the_result_are_seen():
    def warns():
        fuzz.warnings.warn("of a library", RuntimeWarning, stacklevel=1)

    def asks_the_network():
        fuzz.socket.create_connection(("127.0.0.1", 9))

    assert fuzz.called("a warning", warns).what == "unexpected"
    assert fuzz.called("the network", asks_the_network).what == "unexpected"
    assert fuzz.called("an error", lambda: {}["x"]).what == "unexpected"
    assert fuzz.called("an unknown argument", lambda: fuzz.called(nonsense=1)).what == "refused"
    assert fuzz.called("nothing", list).what == "accepted"
