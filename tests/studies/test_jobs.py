import os
import sys
from types import ModuleType

import pytest

from drkd.runs.events import EpochDone, RunDone, RunFailed, ignore_event
from drkd.studies.jobs import Job, run_jobs
from workers import work


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_is_done_after_what_it_waits_for(processes):
    events = []
    jobs = [Job("a", "1"), Job("b", "2", after="a"), Job("c", "3"), Job("d", "4", after="c")]
    results = run_jobs(jobs, work, processes=processes, on_event=events.append)
    assert {name: summary.method for name, summary in results.items()} == {"a": "1", "b": "2", "c": "3", "d": "4"}
    for before, after in (("a", "b"), ("c", "d")):
        assert results[before].wall_seconds < results[after].wall_seconds
    assert EpochDone("3", {"epoch": 0}) in events
    assert RunDone("c", results["c"]) in events


def test_workers_are_other_processes_with_one_thread():
    results = run_jobs([Job(str(i), str(i)) for i in range(4)], work, processes=2, on_event=ignore_event)
    assert os.getpid() not in {summary.seed for summary in results.values()}
    assert {summary.epochs for summary in results.values()} == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_divergence_fails_its_dependents_and_nothing_else(processes):
    events = []
    jobs = [Job("bad", "diverges"), Job("child", "1", after="bad"), Job("good", "2")]
    results = run_jobs(jobs, work, processes=processes, on_event=events.append)
    failed = [RunFailed("bad", "boom"), RunFailed("child", "it depends on bad, which failed")]
    assert [results["bad"], results["child"]] == failed
    assert [event for event in events if isinstance(event, RunFailed)] == failed
    assert results["good"].method == "2"


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_in_the_work_ends_it_all(processes):
    with pytest.raises(ZeroDivisionError):
        run_jobs([Job("a", "breaks"), Job("b", "2")], work, processes=processes, on_event=ignore_event)


def test_workers_do_not_run_the_program_again(monkeypatch, tmp_path):
    """A script that compares without asking for `__name__ == "__main__"` would start workers of workers."""
    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / "script.py")
    (tmp_path / "script.py").write_text("raise SystemExit('run again')")
    monkeypatch.setitem(sys.modules, "__main__", program)
    results = run_jobs([Job(str(i), str(i)) for i in range(2)], work, processes=2, on_event=ignore_event)
    assert {summary.method for summary in results.values()} == {"0", "1"}
    assert sys.modules["__main__"] is program
