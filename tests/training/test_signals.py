"""The first signal waits for the step at hand and a checkpoint, a second one does not."""

import signal
import threading
from contextlib import suppress

import pytest
import torch
from torch import nn

import drkd
from drkd.training import signals as interruption
from drkd.training.signals import deferred

CPU = torch.device("cpu")


@pytest.fixture
def usual(monkeypatch):
    """Signals end as they do on the command line, and are as they were afterwards."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}

    def leave(number, frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Interrupting(nn.Module):
    """A network that sends its own process a signal in the pass with this number."""

    def __init__(self, at, number=signal.SIGINT, times=1):
        super().__init__()
        self.net = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        self.at, self.number, self.times, self.passes = at, number, times, 0

    def forward(self, inputs):
        self.passes += self.training
        if self.passes == self.at and self.training:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return self.net(inputs)


def start(out, at=-1, **how):
    torch.manual_seed(0)
    student = Interrupting(at, **how)
    data = drkd.load_data("digits", limit_train=100)
    settings = {"epochs": 3, "batch_size": 20, "checkpoint_every": 1000, "resume": True}
    try:
        done = drkd.fit(student, drkd.ps_kd(), data, out=out, **settings)
    except (KeyboardInterrupt, SystemExit) as left:
        return left, sorted(path.name for path in out.glob("checkpoints/*")), student.passes
    return done, nn.utils.parameters_to_vector(student.parameters()).detach(), (out / "metrics.csv").read_bytes()


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("at", [3, 5, 15])
def test_a_signal_loses_nothing(tmp_path, number, error, at):
    """In the middle of an epoch, at its end, in the last step of all: the step is made, saved, and gone on from."""
    whole = start(tmp_path / "whole")
    left, saved, passes = start(tmp_path / "cut", at=at, number=number)
    assert isinstance(left, error)
    assert f"step-{at}" in saved
    assert passes == at
    done, weights, rows = start(tmp_path / "cut")
    assert torch.equal(weights, whole[1])
    assert rows == whole[2]
    assert done.history == whole[0].history


@pytest.mark.usefixtures("usual")
def test_a_second_signal_leaves_at_once(tmp_path):
    left, saved, _ = start(tmp_path, at=3, times=2)
    assert isinstance(left, KeyboardInterrupt)
    assert saved == []


@pytest.mark.usefixtures("usual")
def test_a_patient_process_waits_for_the_second_too(tmp_path, monkeypatch):
    monkeypatch.setattr(interruption, "patient", True)
    left, saved, _ = start(tmp_path, at=3, number=signal.SIGTERM, times=3)
    assert isinstance(left, SystemExit)
    assert "step-3" in saved


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize("waits", [True, False])
def test_the_first_signal_is_answered_at_once(waits, monkeypatch, capsys):
    """Not in a worker, whose parent has answered."""
    monkeypatch.setattr(interruption, "patient", not waits)
    with suppress(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        said = capsys.readouterr().err
        assert said == (
            "\ndrkd: stopping after the current step or evaluation; a second Ctrl-C stops at once\n" * waits
        )
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("usual")
def test_handlers_are_as_they_were():
    def found():
        return [signal.getsignal(number) for number in interruption.SIGNALS]

    before = found()
    with deferred():
        assert found() != before
    assert found() == before
    with suppress(ZeroDivisionError), deferred():
        raise ZeroDivisionError
    assert found() == before


@pytest.mark.usefixtures("usual")
def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred() as pending:
        signal.raise_signal(signal.SIGINT)
        assert not pending.agreed(CPU, step=1)


def test_other_threads_are_left_alone():
    seen = []

    def work():
        with deferred() as pending:
            seen.append((pending.agreed(CPU, step=1), signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
