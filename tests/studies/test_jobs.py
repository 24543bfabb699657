import os

import pytest

from drkd.studies.jobs import Failed, Job, run_jobs, silent
from workers import work


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_is_done_after_what_it_waits_for(processes):
    said = []
    jobs = [Job("a", 1), Job("b", 2, after="a"), Job("c", 3), Job("d", 4, after="c")]
    results = run_jobs(jobs, work, processes=processes, progress=lambda name, what: said.append((name, what)))
    assert {name: result[0] for name, result in results.items()} == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert results["a"][1] < results["b"][1]
    assert ("c", "starting 3") in said
    assert ("c", results["c"]) in said


def test_workers_are_other_processes_with_one_thread():
    results = run_jobs([Job(str(i), i) for i in range(4)], work, processes=2, progress=silent)
    assert os.getpid() not in {result[2] for result in results.values()}
    assert {result[3] for result in results.values()} == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_divergence_takes_its_dependents_along_and_nothing_else(processes):
    jobs = [Job("bad", "diverges"), Job("child", 1, after="bad"), Job("good", 2)]
    results = run_jobs(jobs, work, processes=processes, progress=silent)
    assert results["bad"] == Failed("boom")
    assert results["child"] == Failed("bad failed, which it needs")
    assert results["good"][0] == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_in_the_work_ends_it_all(processes):
    with pytest.raises(ZeroDivisionError):
        run_jobs([Job("a", "breaks"), Job("b", 2)], work, processes=processes, progress=silent)
