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

QUICK = {"epochs": 3, "limit_train": 100, "seeds": 1, "label_noise": [0], "cache_size": "0"}
TIMES = ("train_seconds", "seconds_per_epoch", "teacher_seconds", "environment")


@pytest.fixture
def cluster(monkeypatch):
    """A worker that finds the package where this process does; Ray's own warnings are not ours."""
    import ray

    monkeypatch.setattr(builtins, "print", builtins.print)  # Ray replaces it
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # or they wait for whatever else the machine does
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_a_lost_worker_changes_no_result(tmp_path):
    """The first row that a training reports gets its worker killed."""
    killed = []

    def kill_the_worker(event):
        if not killed and isinstance(event, EpochDone):
            killed.append(event.run)
            os.kill(max(workers()), signal.SIGKILL)

    options = {"methods": ["dr_kd"], **QUICK, "checkpoint_every": "epoch"}
    there = drkd.compare(**options, launcher="ray", on_event=kill_the_worker, out=str(tmp_path / "ray"))
    here = drkd.compare(**options, jobs=1, threads=1, out=str(tmp_path / "here"))
    assert killed
    assert not there.results.failures
    assert without_times(there.results.to_json()) == without_times(here.results.to_json())


def workers():
    """Processes of Ray's workers that train."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if command.startswith(b"ray::_work_on_ray"):
            found.append(int(path.parent.name))
    return found


def without_times(results):
    if isinstance(results, dict):
        return {name: without_times(value) for name, value in results.items() if name not in TIMES}
    return [without_times(value) for value in results] if isinstance(results, list) else results
