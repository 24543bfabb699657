"""A comparison on a Ray cluster of this machine, one of whose workers is killed."""

import builtins
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest

import drkd
from drkd.runs.events import EpochDone
from drkd.studies import ray_jobs

QUICK = {"epochs": 3, "limit_train": 100, "seeds": 1, "label_noise": [0], "cache_size": "0"}
TIMES = ("train_seconds", "seconds_per_epoch", "teacher_seconds", "teacher_seconds_per_epoch", "environment")


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A worker that finds the package where this process does; Ray's own warnings are not ours."""
    import ray

    monkeypatch.setattr(builtins, "print", builtins.print)  # Ray replaces it
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # or they wait for whatever else the machine does
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("KILLED", str(tmp_path / "killed"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_a_lost_worker_changes_no_result(tmp_path, monkeypatch):
    """The first worker that ends an epoch is killed there, with two epochs of its training left."""
    options = {"methods": ["dr_kd"], **QUICK, "checkpoint_every": "epoch"}
    monkeypatch.setattr(ray_jobs, "_work_on_ray", killed_once)
    there = drkd.compare(**options, launcher="ray", out=str(tmp_path / "ray"))
    here = drkd.compare(**options, jobs=1, threads=1, out=str(tmp_path / "here"))
    assert (tmp_path / "killed").exists()
    assert not there.results.failures
    assert without_times(there.results.to_json()) == without_times(here.results.to_json())


def killed_once(work, job, events, folder, _work_on_ray=ray_jobs._work_on_ray):
    """The worker's own function; the first of all workers kills itself at its first epoch's end."""

    class Events:
        def put_nowait(self, event):
            events.put_nowait(event)
            if isinstance(event, EpochDone) and not Path(os.environ["KILLED"]).exists():
                Path(os.environ["KILLED"]).touch()
                os.kill(os.getpid(), signal.SIGKILL)

    return _work_on_ray(work, job, Events(), folder)


def without_times(results):
    if isinstance(results, dict):
        return {name: without_times(value) for name, value in results.items() if name not in TIMES}
    return [without_times(value) for value in results] if isinstance(results, list) else results
