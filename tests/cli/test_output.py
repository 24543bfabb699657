"""Output that cannot be written: a pipe that nobody reads, a full disk, a folder that is read-only."""

import errno
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest

from drkd import cli
from drkd.cli.output import Guarded
from drkd.utils.errors import InputError, StorageError
from image_files import run_cli

FULL = Path("/dev/full")


class Closed(io.StringIO):
    """A stream whose reader has gone after the first text."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        if self.getvalue():
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_a_stream_that_fails_is_silent_from_then_on(number):
    closed = Closed(number)
    stream = Guarded(closed)
    for text in ("a", "b", "c"):
        print(text, end="", file=stream)
    stream.flush()
    assert closed.getvalue() == "a"
    assert stream.failure.errno == number
    assert stream.encoding == closed.encoding


def test_no_stream_takes_everything():
    assert Guarded(None).write("text") == 4


LOST = "drkd: the output is incomplete: No space left on device"


@pytest.mark.skipif(not FULL.exists(), reason="of Linux")
def test_a_training_whose_output_is_lost_is_finished(tmp_path, monkeypatch, capsys):
    command = ["drkd", "train", "--epochs", "2", "--limit-train", "60", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", command)
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with mock.patch("signal.signal"), pytest.raises(SystemExit) as left:
            cli.main()
    assert left.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(LOST)
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.skipif(not FULL.exists(), reason="of Linux")
def test_a_process_whose_output_is_lost_ends_with_one_line():
    """What its buffer still holds is not tried again when the interpreter ends."""
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "drkd", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    assert line.startswith(LOST)


def test_a_reader_that_leaves_is_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["drkd", "list"])
    monkeypatch.setattr(sys, "stdout", Closed(errno.EPIPE))
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("reason", "message", "code"),
    [
        (OSError(errno.ENAMETOOLONG, "too long", "x" * 400), "xxx...xxx", 2),
        (PermissionError(errno.EACCES, "denied", "plots"), "cannot use plots: denied; check that it exists and", 1),
        (StorageError("cannot write x"), "cannot write x", 1),
        (OSError("just so"), "just so", 1),
    ],
)
def test_errors_of_files_are_one_line(reason, message, code, monkeypatch, capsys):
    def fail(*_, **__):
        raise reason

    monkeypatch.setattr("drkd.runs.evaluating.evaluate_run", fail)
    assert run_cli("evaluate", "run") == code
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_note_from_two_places_is_printed_once(monkeypatch, capsys):
    def evaluate(*_, **__):
        warnings.warn("digits means the data set", stacklevel=1)
        warnings.warn("digits means the data set", stacklevel=2)
        warnings.warn("another", stacklevel=1)
        raise InputError("enough")

    monkeypatch.setattr("drkd.runs.evaluating.evaluate_run", evaluate)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run_cli("evaluate", "run") == 2
    told = [line.removeprefix("drkd: ") for line in capsys.readouterr().err.splitlines()]
    assert told == ["note: digits means the data set", "note: another", "enough"]
