"""`--quiet`, `--json`, `drkd config`, completion, the first word: what all commands share."""

import json
import sys
import threading
import warnings

import pytest

from drkd.cli import catalog, progress
from drkd.cli.answers import answer, answering
from drkd.cli.completing import completion
from drkd.cli.display import Display
from drkd.cli.findings import check_with_progress
from drkd.cli.first_word import first_word
from drkd.cli.inspecting import CONFIGS
from drkd.cli.output import Guarded
from drkd.cli.printing import PlainConsole, opened_with, print_epoch
from drkd.cli.progress import ProgressLine
from drkd.config import read_options, resolve
from drkd.runs.events import Estimate, Estimated, Progressed
from drkd.utils import progress as reports
from drkd.utils.progress import Meter, Progress, listening
from image_files import run_cli

QUICK = ("--epochs", "1", "--limit-train", "60", "--method", "cross_entropy")


@answering
def work(number: int = 1):
    """A command."""
    print("for people")
    warnings.warn("a note", stacklevel=1)
    Meter("epoch 0", 9, "steps").report(4)
    answer("made", {"number": number})
    return number


@answering
def look():
    """A command that makes nothing."""
    print("for people")


@answering
def own(as_json: bool = False):
    """A command with a list for an answer."""
    print("[1]" if as_json else "for people")


@pytest.mark.filterwarnings("ignore:a note")
@pytest.mark.parametrize(
    ("command", "options", "out", "err"),
    [
        (work, {}, "for people\n", ""),
        (work, {"quiet": True}, "made\n", ""),
        (work, {"as_json": True}, '{"path": "made", "number": 7}\n', "for people\n"),
        (work, {"as_json": True, "quiet": True}, '{"path": "made", "number": 7}\n', ""),
        (look, {"quiet": True}, "for people\n", ""),
        (own, {"as_json": True}, "[1]\n", ""),
        (own, {"as_json": True, "quiet": True}, "[1]\n", ""),
        (own, {"quiet": True}, "for people\n", ""),
    ],
)
def test_standard_output_has_what_was_asked_for(command, options, out, err, capsys):
    command(**options, **({"number": 7} if command is work else {}))
    assert capsys.readouterr() == (out, err)


def test_quiet_silences_notes(recwarn):
    shown = []
    usual, warnings.showwarning = warnings.showwarning, lambda message, *_: shown.append(str(message))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_: shown.append(str(message))
            work(quiet=True)
            assert shown == []
            work()
    finally:
        warnings.showwarning = usual
    assert shown == ["a note"]


def test_an_error_prints_nothing_else(capsys):
    @answering
    def fail():
        print("for people")
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail(quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_training_answers_in_json_and_quietly(tmp_path, capsys):
    assert run_cli("train", *QUICK, "--out", tmp_path / "run", "--json", "--quiet") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["path"], found["test"]["accuracy"] >= 0, said.err) == (str(tmp_path / "run"), True, "")
    assert run_cli("report", tmp_path / "run", "--quiet") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'report.html'}\n"


@pytest.mark.parametrize("command", CONFIGS)
def test_a_written_configuration_is_read_back_unchanged(command, tmp_path, capsys):
    kind, file = CONFIGS[command], tmp_path / "options.yaml"
    assert run_cli("config", command, "--out", file) == 0
    assert str(file) in capsys.readouterr().out
    assert resolve(kind, {}, file)[0] == resolve(kind, {})[0]
    assert list(read_options(file)) == list(kind.model_fields)
    text = file.read_text()
    assert all(f"# {field.description.split()[0]}" in text for field in kind.model_fields.values())
    assert run_cli("config", command, "--out", file) == 2


def test_a_configuration_has_the_defaults_of_its_data_and_the_allowed_values(capsys):
    assert run_cli("config", "train", "--data", "cifar10") == 0
    lines = capsys.readouterr().out.splitlines()
    for line in ("data: cifar10", "model: small_cnn", "epochs: 30"):
        assert line in lines
    assert lines[lines.index("optimizer: sgd") - 1] == "# one of: sgd, adamw"
    assert lines[lines.index("momentum: 0.9") - 1] == "# a number at least 0, below 1"
    assert run_cli("config", "trian") == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_names_and_choices_are_completed():
    assert [name for name, _ in completion("method")("")] == list(catalog.methods())
    assert [name for name, _ in completion("methods")("ps_kd,cross")] == ["ps_kd,cross_entropy"]
    assert "resnet18" in {name for name, _ in completion("model")("res")}
    assert {name for name, _ in completion("data")("cifar")} == {"cifar10", "cifar100"}
    assert completion("out", str) is None


@pytest.fixture
def at_once(monkeypatch):
    """What speaks when a time has run out, as a test lets it."""
    waits = []
    monkeypatch.setattr(threading, "Timer", lambda seconds, speak: waits.append(speak) or Quiet())
    return waits


class Quiet:
    """A timer that a test lets run out itself."""

    def start(self):
        pass

    def cancel(self):
        pass


def test_the_first_word_comes_where_nothing_was_said(at_once, capsys):
    silent, used = Guarded(sys.stdout), Guarded(sys.stdout)
    used.write("x\n")
    for stream in (silent, used):
        with first_word(["train", "--epochs", "3"], stream):
            at_once.pop()()
    assert capsys.readouterr() == ("x\n", "drkd: train: starting ...\n")
    with first_word(["train", "--quiet"], silent):
        assert at_once == []


@pytest.mark.parametrize(
    "words", ["train --epochs 3 --data pho\atos", "train --data=pho\atos --seed 1", "check pho\atos"]
)
def test_the_first_word_says_what_is_read(words, at_once, capsys):
    with first_word(words.split(" ")):
        at_once.pop()()
    assert capsys.readouterr().err == f"drkd: {words.split()[0]}: reading pho\\x07tos ...\n"


class Terminal:
    """What a terminal gets."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_terminal_has_one_line_that_changes(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = ProgressLine("stderr", "drkd: ")
    line.show(Progress("evaluation", 3, 9))
    line.show(Progress("evaluation", 9, 9))
    assert terminal.text == "\r\x1b[Kdrkd: evaluation: 3 of 9 batches\r\x1b[K"


def test_a_log_has_a_line_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    line = ProgressLine("stdout")
    for second in (10, 20, 30, 40):
        now[0] = float(second)
        line.show(Progress("epoch 3", second, 90, "steps", 0.5), "dr_kd")
    assert capsys.readouterr().out.splitlines() == [
        f"dr_kd epoch 3: {second} of 90 steps, loss 0.5000" for second in (20, 40)
    ]


def test_an_estimate_is_printed_with_what_takes_less(capsys):
    told = Estimated("compare", Estimate(9000.0, 40, 30, ("--seeds 3: about 1.5 hours",)))
    print_epoch(told)
    Display(PlainConsole(width=200), {"a": 3}).on_event(told)
    lines = ["about 2.5 hours: 40 trainings of 30 epochs", "note: this takes more than an hour; these take less:"]
    assert capsys.readouterr().out.splitlines() == [*lines, "  --seeds 3: about 1.5 hours"] * 2


def test_a_comparison_shows_how_far_a_long_epoch_is(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Display(PlainConsole(width=200), {"a": 3})
    for second in (10, 20):
        now[0] = float(second)
        shown.on_event(Progressed("a", Progress("epoch 1", second, 90, "steps", 0.25)))
        shown.on_event(Progressed("frozen backbone", Progress("reading", second, 90, "images")))
    assert capsys.readouterr().out == "a epoch 1: 20 of 90 steps, loss 0.2500\n"


def test_check_reports_how_far_it_is(monkeypatch):
    monkeypatch.setattr(reports, "SECONDS", 0.0)
    seen = []
    with listening(seen.append):
        check_with_progress("digits", "classification")
    assert [str(each) for each in seen] == [f"check: {done:,} of 1,797 images" for done in range(1, 1798)]


def test_where_output_goes_is_said_once_before_the_first_event_but_reading(capsys):
    events = []
    tell = opened_with(["Output goes to x.", "  ce 1"], lambda event: (events.append(event), print("event")))
    reading = Progressed("a", Progress("reading", 1, 9, "images"))
    told = [reading, Estimated("a", Estimate(9.0, 1, 1)), reading]
    for event in told:
        tell(event)
    assert events == told
    assert capsys.readouterr().out.splitlines() == ["event", "Output goes to x.", "  ce 1", "event", "event"]


def test_a_training_says_where_its_output_goes(tmp_path, capsys):
    assert run_cli("train", *QUICK, "--out", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Output goes to {tmp_path / 'run'}.\n")
    assert out.lower().count("output goes to") == 1
