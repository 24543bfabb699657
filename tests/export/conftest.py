"""A finished run whose network is small, and what it exports to."""

import pytest

from drkd.config import TrainConfig, resolve
from drkd.export.exporting import export_run
from drkd.runs.training import train


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run that is far better than chance."""
    out = tmp_path_factory.mktemp("edge") / "run"
    options = {"model": "small_cnn", "method": "cross_entropy", "epochs": 4, "limit_train": 600, "batch_size": 32}
    train(*resolve(TrainConfig, {**options, "lr": 0.05, "threads": 1}), out)
    return out


@pytest.fixture(scope="session")
def exported(run):
    """The records of its exports, by name."""
    return {
        "onnx": export_run(run),
        "int8": export_run(run, quantize="int8"),
        "torch": export_run(run, "torch"),
    }
