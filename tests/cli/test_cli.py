"""The command line through real processes."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

import drkd
from drkd.cli import main
from image_files import run_cli
from processes import Command, children

QUICK = ("--epochs", "2", "--limit-train", "100")


def drkd_(*arguments, cwd, **options):
    """A finished process, without the first word of one that is slow to start."""
    command = [sys.executable, "-W", "error", "-m", "drkd", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **options)
    done.stderr = re.sub(r"(?m)^drkd: \S+: .*(starting|libraries|reading \S+) \.\.\.\n", "", done.stderr)
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return folder, drkd_("train", *QUICK, "--out", "run", cwd=folder)


def test_train_writes_a_run_and_says_what_came_out(trained):
    folder, result = trained
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "teacher's accuracy on the training data" in result.stdout
    assert (folder / "run" / "summary.json").exists()


def test_evaluate_prints_json(trained, capsys):
    folder, _ = trained
    assert run_cli("evaluate", folder / "run", "--json") == 0
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert json.loads(capsys.readouterr().out)["accuracy"] == summary["test"]["accuracy"]


def test_predict_prints_csv(trained, tmp_path, capsys):
    from PIL import Image

    data = drkd.load_data("digits")
    for i in range(3):
        Image.fromarray(data.test.inputs[i, 0].numpy()).save(tmp_path / f"{i}.png")
    assert run_cli("predict", trained[0] / "run", tmp_path) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == [str(tmp_path / f"{i}.png") for i in range(3)]
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)


def test_compare_writes_its_report(tmp_path, capsys):
    options = (*QUICK, "--seeds", "2", "--methods", "label_smoothing,dr_kd", "--label-noise", "0")
    code, output, errors = Command("compare", *options, "--out", "run", folder=tmp_path).end()
    assert (code, errors) == (0, "")
    assert "8 of 8 trainings" in output
    assert "DR-KD" in output
    assert {"results.json", "results.csv", "report.html", "plots"} <= {p.name for p in (tmp_path / "run").iterdir()}
    assert run_cli("report", tmp_path / "run") == 0
    assert "Label smoothing" in capsys.readouterr().out


def test_two_devices_train_like_one(trained, tmp_path):
    result = drkd_("train", *QUICK, "--out", "runs/two", "--device", "cpu", "--devices", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("dr_kd epoch 1:") == 1
    runs = (tmp_path / "runs" / "two", trained[0] / "run")
    two, one = (json.loads((run / "summary.json").read_text()) for run in runs)
    assert two["test"]["nll"] == pytest.approx(one["test"]["nll"], rel=1e-4)
    assert two["rectified_fraction_per_epoch"] == pytest.approx(one["rectified_fraction_per_epoch"], abs=1e-6)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")
def test_a_dying_rank_ends_the_others(tmp_path):
    """With one line, and nobody is left waiting."""
    options = ("--epochs", "100000", "--method", "cross_entropy", "--device", "cpu", "--devices", "2", "--out", "run")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-m", "drkd", "train", *options], cwd=tmp_path, **pipes)
    for line in process.stdout:
        if " epoch 1:" in line:
            break
    assert process.poll() is None, process.communicate()
    ranks = [rank for child in children(process.pid) for rank in children(child)]  # of the process that starts them
    os.kill(ranks[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    how = "(was killed by signal 9|lost the connection to another one, which may have been killed)"
    last = errors.splitlines(keepends=True)[-1]
    assert re.fullmatch(rf"drkd: .*process \d of 2 {how}; the others were stopped; .*\n", last), errors


def test_list_needs_no_torch(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['drkd', 'list', '--json']; import drkd.cli as c; c.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "dr_kd" in json.loads(result.stdout)["methods"]


def test_a_mistake_gets_one_line_and_exit_2(tmp_path):
    result = drkd_("train", "--epoch", "3", cwd=tmp_path)
    assert result.returncode == 2
    assert "--epochs" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*"))


def test_without_arguments_the_help_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["drkd"])
    with mock.patch("signal.signal"), pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert (left.value.code, said.err) == (0, "")
    assert re.search(r"^ +compare +Compare methods side by side", said.out, re.M)


def test_a_run_that_fails_exits_1_with_one_line_or_a_traceback(tmp_path, monkeypatch, capsys):
    command = ("train", *QUICK, "--lr", "1e6", "--method", "cross_entropy", "--out")
    assert run_cli(*command, tmp_path / "one") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the network returns NaN or infinite logits" in line
    monkeypatch.setattr(sys, "argv", ["drkd", *command, str(tmp_path / "other"), "--debug"])
    with mock.patch("signal.signal"), pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    errors = capsys.readouterr().err
    assert errors.splitlines()[-1] == line
    assert "Traceback" in errors


def start_comparison(folder):
    """A comparison, once its first training is finished."""
    command = Command("compare", "--out", "run", "--seeds", "20", "--jobs", "2", folder=folder)
    command.wait_for(lambda: finished_trainings(folder))
    return command


def finished_trainings(folder):
    return list(folder.glob("run/trainings/*/*/*/summary.json"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_comparison_that_can_go_on(tmp_path, number, code):
    """All processes get them, as from a terminal."""
    command = start_comparison(tmp_path)
    for process in (*command.workers(), command.pid):
        os.kill(process, number)
    left, _, errors = command.end()
    assert left == code
    assert "Traceback" not in errors
    assert finished_trainings(tmp_path)
    assert all(json.loads(path.read_text())["test"] for path in finished_trainings(tmp_path))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")
def test_a_killed_comparison_leaves_no_worker_behind(tmp_path):
    command = start_comparison(tmp_path)
    assert len(command.workers()) == 2
    command.process.kill()
    command.end()
    deadline = time.monotonic() + 30
    while command.workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not command.workers()
