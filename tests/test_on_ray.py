"""A comparison on a Ray cluster of this machine, one of whose workers is killed."""

import json
import os
import signal
import threading
import time
import warnings

import pytest

import drkd
from drkd import InputError

QUICK = {"epochs": 3, "limit_train": 100, "seeds": 2, "label_noise": [0], "together": "off", "cache_size": "0"}
TIMES = ("train_seconds", "teacher_seconds", "environment")


@pytest.fixture
def cluster(monkeypatch):
    """Two workers; Ray's own warnings are not ours."""
    import ray

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(__import__("sys").path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


def without_times(results):
    if isinstance(results, dict):
        return {name: without_times(value) for name, value in results.items() if name not in TIMES}
    return [without_times(value) for value in results] if isinstance(results, list) else results


def test_a_lost_worker_changes_no_result(tmp_path, cluster):
    """The first row that a training reports gets its worker killed."""
    killed = []

    def kill_the_worker(name, said):
        if not killed and "epoch" in said:
            killed.append(name)
            os.kill(max(workers()), signal.SIGKILL)

    options = {"methods": ["dr_kd"], **QUICK, "checkpoint_every": "epoch"}
    there = drkd.compare(**options, launcher="ray", progress=kill_the_worker, out=str(tmp_path / "ray"))
    here = drkd.compare(**options, jobs=1, threads=1, out=str(tmp_path / "here"))
    assert killed
    assert without_times(there.results) == without_times(here.results)


def workers():
    """Processes of Ray's workers that train."""
    found = []
    for place in os.listdir("/proc"):
        if place.isdigit():
            try:
                command = open(f"/proc/{place}/cmdline", "rb").read()
            except OSError:
                continue
            if command.startswith(b"ray::_work_on_ray"):
                found.append(int(place))
    return found
