import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from drkd.cli import display, main
from drkd.cli.display import Display
from drkd.cli.printing import console, print_epoch, print_summary, say
from drkd.cli.trials import Trials, print_trials
from drkd.report.reproduced import print_reproduction
from drkd.runs.events import EpochDone, RunDone, RunFailed, StartNoted
from drkd.runs.summary import RunSummary, TeacherRecord
from drkd.studies.proposals import Trial
from drkd.studies.reproduction import Gain, Measured, Reproduction
from drkd.studies.tuning import TrialDone, TuneResults
from drkd.training.metrics import Metrics
from drkd.utils.text import printable


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def summary(accuracy=0.5):
    return RunSummary(
        method="cross_entropy",
        seed=0,
        epochs=2,
        best_epoch=1,
        select="best",
        train_accuracy=None,
        val=None,
        test=Metrics(accuracy, nll=1.0, ece=0.1, aurc=0.1, reliability=[]),
        kept_epochs={},
        rectified_fraction_per_epoch=None,
        teacher=None,
        teacher_train_accuracy=None,
        teacher_seconds=0.0,
        train_seconds=1.0,
        skipped_images={},
    )


def test_the_time_left_is_counted_from_the_first_event_on(clock):
    text = io.StringIO()
    shown = Display(Console(file=text, width=200), {"a": 100, "b": 100})
    clock[0] = 60.0  # a minute of starting up, no line yet
    shown.on_event(EpochDone("a", {"epoch": 0}))
    clock[0] = 70.0  # then a second per epoch
    shown.on_event(EpochDone("a", {"epoch": 10}))
    assert text.getvalue().splitlines() == [
        "0 of 2 trainings, time left unknown; a: epoch 1 of 100",
        "0 of 2 trainings, about 3:09 left; a: epoch 11 of 100",
    ]


def test_lines_are_not_too_often_but_the_last_one_is_never_left_out(clock):
    text = io.StringIO()
    shown = Display(Console(file=text, width=200), {"a": 2, "b": 2})
    for second, epoch in enumerate((0, 1)):
        clock[0] = second
        shown.on_event(EpochDone("a", {"epoch": epoch}))
    shown.on_event(RunDone("a", summary()))
    shown.on_event(RunFailed("b", "it diverged"))
    assert text.getvalue() == "2 of 2 trainings; b: failed: it diverged\n"


def test_the_epochs_of_an_earlier_session_are_no_measure_of_speed(clock):
    text = io.StringIO()
    shown = Display(Console(file=text, width=200), {"a": 10, "b": 10, "c": 10})
    clock[0] = 1.0
    shown.on_event(RunDone("a", summary()))  # found finished
    shown.on_event(EpochDone("b", {"epoch": 5}))  # five epochs are older than this session
    clock[0] = 11.0
    shown.on_event(EpochDone("b", {"epoch": 6}))
    assert text.getvalue() == "1 of 3 trainings, about 1:05 left; b: epoch 7 of 10\n"


def test_a_finished_training_is_shown_with_its_accuracy(clock):
    text = io.StringIO()
    Display(Console(file=text, width=200), {"a": 2}).on_event(RunDone("a", summary(0.875)))
    assert text.getvalue() == "1 of 1 trainings; a: accuracy 87.50%\n"


def test_what_there_is_to_say_of_a_start_is_said_once(clock, capsys):
    text = io.StringIO()
    shown = Display(Console(file=text, width=200), {"a": 2, "b": 2})
    for name in ("a", "b"):
        shown.on_event(StartNoted(name, ("2 are new (fc.weight, fc.bias)",)))
    assert text.getvalue() == "note: 2 are new (fc.weight, fc.bias)\n"
    noted = {"said before"}
    print_epoch(StartNoted("a", ("said before", "one", "another")), noted)
    assert capsys.readouterr().out == "note: one\nnote: another\n"
    print_summary(replace(summary(), notes=["another", "new"]), noted)
    assert [line for line in capsys.readouterr().out.splitlines() if "note" in line] == ["note: new"]


def test_an_epoch_is_printed_with_its_validation_metric(capsys):
    measured = {"train_accuracy": 0.75, "val_accuracy": 0.5, "val_nll": 1.0}
    print_epoch(EpochDone("dr_kd", {"epoch": 3, "lr": 0.1, "loss": 0.25, **measured}))
    print_epoch(EpochDone("ps_kd", {"epoch": 0, "lr": 0.1, "loss": 2.0, "val_map": 0.25}))
    print_epoch(RunFailed("dr_kd", "it diverged"))
    assert capsys.readouterr().out.splitlines() == [
        "dr_kd epoch 3: loss 0.2500, training accuracy 75.00%, validation accuracy 50.00%",
        "ps_kd epoch 0: loss 2.0000, validation mAP 25.00%",
    ]


def test_a_summary_names_the_teacher_and_what_was_rectified(capsys):
    taught = {"teacher": TeacherRecord("teacher", "0"), "teacher_train_accuracy": 0.75}
    print_summary(replace(summary(), rectified_fraction_per_epoch=[0.5, 0.25], notes=["few samples"], **taught))
    said = capsys.readouterr().out
    assert "test accuracy 50.00%, NLL 1.0000, ECE 10.00%, AURC 100.00e-3" in said
    assert "teacher's accuracy on the training data: 75.00%" in said
    assert "rectified targets: 50.0% in the first epoch, 25.0% in the last" in said
    assert "note: few samples" in said


def test_trials_are_listed_with_their_outcome():
    text = io.StringIO()
    with Trials(Console(file=text, width=200), 2) as shown:
        shown.on_trial(EpochDone("ps_kd:alpha=0.5", {"epoch": 0}))
        shown.on_trial(TrialDone("ps_kd:alpha=0.5", 0.5))
        shown.on_trial(TrialDone("dr_kd:alpha=0.1", None))
        shown.on_trial(TrialDone("dr_kd:alpha=0.9", None, failed="its loss is nan"))
    assert text.getvalue().splitlines() == [
        "  ps_kd:alpha=0.5: validation accuracy 50.00%",
        "  dr_kd:alpha=0.1: ended early",
        "  dr_kd:alpha=0.9: failed: its loss is nan",
    ]


def test_the_best_trials_are_printed_beside_the_baseline():
    text = io.StringIO()
    trials = [Trial("a", {}, val_score=0.5), Trial("b", {}, val_score=0.75), Trial("c", {}, failed="it diverged")]
    print_trials(TuneResults(0.1, 0.5, {"0.1": 0.5}, "b", 0.75, trials, {}), Console(file=text, width=200))
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert lines[1:4] == [["cross_entropy:lr=0.1", "50.00"], ["b", "75.00", "+25.00"], ["a", "50.00", "+0.00"]]
    assert "3 trials (1 failed); cross-entropy at 1 learning rate." in text.getvalue()


@pytest.mark.parametrize("text", ["[/red]", "[bold]x[/bold]", ":cat:", "\x1b[31m", "\u732b"])
def test_foreign_text_is_neither_markup_nor_a_command(capsys, text):
    console().print(f"to {text}", highlight=False)
    say(f"to {text}")
    assert capsys.readouterr().out == f"to {printable(text)}\n" * 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_beyond_the_encoding_are_printed_with_escapes(tmp_path, encoding, monkeypatch):
    file = (tmp_path / "out").open("w", encoding=encoding)
    monkeypatch.setattr("sys.stdout", file)
    monkeypatch.setattr("sys.argv", ["drkd", "check", "\u732b"])
    monkeypatch.setattr("drkd.cli._run", lambda arguments, debug: say(arguments[-1]))
    with pytest.raises(SystemExit):
        main()
    file.close()
    assert (tmp_path / "out").read_text() == "\\u732b\n"


@pytest.mark.parametrize(
    ("row", "failures", "said"),
    [
        ([90.0, 92.0], {}, "+1.50 points, 95% interval -4.85 to +7.85 (published: +2.58)\n"),
        ([90.0, None], {"row, seed 1": "it diverged"}, "+2.00 points, no interval\n"),
        ([90.0], {}, "+2.00 points, no interval\n"),
    ],
)
def test_a_published_gain_stands_beside_one_of_all_seeds_only(row, failures, said):
    ends = (-4.85, 7.85) if None not in row and len(row) > 1 else None
    gain = Gain(1.5 if ends else 2.0, ends, 2.58)
    lines = [Measured("row", "dr_kd/made/up", 95.0, None, row, False)]
    text = io.StringIO()
    done = Reproduction(lines, True, [], gain, [], failures, Path("results.json"))
    print_reproduction(done, Console(file=text, width=200))
    assert f"gain over the baseline, paired by seed: {said}" in text.getvalue()
