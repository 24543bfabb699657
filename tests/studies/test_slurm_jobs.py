"""Jobs sent with submitit, to processes of this machine in place of Slurm's."""

import os
import queue
import shutil
import sys

import pytest

import drkd
from drkd import InputError
from drkd.runs.events import EpochDone, RunDone, RunFailed
from drkd.studies.jobs import Job
from drkd.studies.slurm_jobs import FolderQueue, run_jobs_on_slurm
from workers import work

QUICK = {"methods": ["ps_kd"], "epochs": 1, "seeds": 1, "limit_train": 60, "launcher": "slurm"}


def test_jobs_run_elsewhere_and_report_what_they_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    events = []
    jobs = [Job("a", "1"), Job("b", "diverges"), Job("c", "2", after="b")]
    found = run_jobs_on_slurm(
        jobs, work, {"cluster": "local", "timeout_min": 2}, tmp_path / "slurm", at_once=None, on_event=events.append
    )
    assert found["a"].method == "1"
    assert found["a"].seed != os.getpid()
    assert found["a"].epochs == 1  # thread
    assert [found["b"], found["c"]] == [RunFailed("b", "boom"), RunFailed("c", "b failed, which it needs")]
    assert EpochDone("1", {"epoch": 0}) in events
    assert RunDone("a", found["a"]) in events
    assert not (tmp_path / "slurm" / "events").exists()


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
