"""Jobs sent with submitit, to processes of this machine in place of Slurm's."""

import os
import queue
import shutil
import sys

import pytest

import drkd
from drkd import InputError
from drkd.runs.events import EpochDone, RunDone, RunFailed, ignore_event
from drkd.studies import slurm_jobs
from drkd.studies.jobs import Job
from drkd.studies.slurm_jobs import FolderQueue, run_jobs_on_slurm
from workers import work

QUICK = {"methods": ["ps_kd"], "epochs": 1, "seeds": 1, "limit_train": 60, "launcher": "slurm"}


def test_jobs_run_elsewhere_and_report_what_they_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    events = []
    asked = {"cluster": "local", "timeout_min": 2}
    found = run_jobs_on_slurm([Job("a", "1")], work, asked, tmp_path / "slurm", at_once=None, on_event=events.append)[
        "a"
    ]
    assert (found.method, found.epochs) == ("1", 1)  # thread
    assert found.seed != os.getpid()
    assert events == [EpochDone("1", {"epoch": 0}), RunDone("a", found)]
    assert not (tmp_path / "slurm" / "events").exists()


class Here:
    """What submitit sends jobs with, doing them at once; a job may end without a result."""

    def __init__(self):
        self.cancelled = []

    def submit(self, one):
        return Sent(self, one)


class Sent:
    job_id = "7"

    def __init__(self, executor, one):
        self.executor, self.one = executor, one

    def result(self):
        if self.one.job.argument == "lost":
            raise RuntimeError("it was killed")
        return self.one()

    def cancel(self):
        self.executor.cancelled.append(self.one.job.name)


@pytest.fixture
def here(monkeypatch):
    executor = Here()
    monkeypatch.setattr(slurm_jobs, "_executor", lambda asked, folder: executor)
    return executor


def run(tmp_path, *jobs):
    return run_jobs_on_slurm(jobs, work, {}, tmp_path / "slurm", at_once=1, on_event=ignore_event)


@pytest.mark.usefixtures("here")
def test_a_divergence_fails_its_dependents_and_nothing_else(tmp_path):
    found = run(tmp_path, Job("bad", "diverges"), Job("child", "1", after="bad"), Job("good", "2"))
    assert found["bad"] == RunFailed("bad", "boom")
    assert found["child"] == RunFailed("child", "it depends on bad, which failed")
    assert found["good"].method == "2"


@pytest.mark.parametrize(("what", "error"), [("breaks", ZeroDivisionError), ("lost", RuntimeError)])
def test_an_error_in_the_work_and_a_lost_job_cancel_the_others(tmp_path, here, what, error):
    with pytest.raises(error):
        run(tmp_path, Job("first", "1"), Job("second", what), Job("third", "3"))
    assert here.cancelled == ["first", "second"]


def test_events_come_in_order_and_once(tmp_path):
    there, here = FolderQueue(tmp_path / "events"), FolderQueue(tmp_path / "events")
    sent = [EpochDone("a", {"epoch": epoch}) for epoch in range(3)]
    for event in sent:
        there.put_nowait(event)
    assert [here.get_nowait() for _ in sent] == sent
    with pytest.raises(queue.Empty):
        here.get_nowait()
    there.put_nowait(sent[0])
    here.remove()
    assert not (tmp_path / "events").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "finds no Slurm here"),
        ({"slurm_options": "cluster=local,partitions=gpu"}, "--slurm-options: Unknown argument 'partitions'"),
        ({"slurm_options": "cluster=local,timeout_min=long"}, "--slurm-options: .*timeout_min"),
        ({"slurm_options": "cluster=moon"}, "--slurm-options: .*moon"),
        ({"slurm_options": "partition"}, "--slurm-options should be NAME=VALUE with commas"),
        ({"slurm_options": "partition=gpu", "launcher": "local"}, "--slurm-options has no effect"),
    ],
)
def test_what_slurm_does_not_take_is_refused(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=message):
        drkd.compare(**{**QUICK, **options}, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_slurm_needs_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"install drkd\[slurm\]"):
        drkd.compare(**QUICK, out=str(tmp_path / "run"))
