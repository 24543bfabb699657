import io

import pytest
from rich.console import Console

from drkd.cli import display
from drkd.cli.display import Display
from drkd.studies.jobs import Failed


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_counted_from_the_first_news_on(clock):
    text = io.StringIO()
    shown = Display(Console(file=text, width=200), {"a": 100, "b": 100})
    clock[0] = 60.0  # a minute of starting up, no line yet
    shown.on_event("a", {"epoch": 0})
    clock[0] = 70.0  # then a second per epoch
    shown.on_event("a", {"epoch": 10})
    assert text.getvalue().splitlines() == [
        "0/2 trainings, about unknown time left; a: epoch 1 of 100",
        "0/2 trainings, about 3:09 left; a: epoch 11 of 100",
    ]


def test_lines_are_not_too_often_but_the_last_one_is_never_left_out(clock):
    text = io.StringIO()
    shown = Display(Console(file=text, width=200), {"a": 2, "b": 2})
    for second, epoch in enumerate((0, 1)):
        clock[0] = second
        shown.on_event("a", {"epoch": epoch})
    shown.on_event("a", {"test": {"accuracy": 0.5}})
    shown.on_event("b", Failed("it diverged"))
    assert text.getvalue() == "2/2 trainings, about 0:00 left; b: failed: it diverged\n"


def test_what_an_earlier_sitting_did_is_no_measure_of_speed(clock):
    text = io.StringIO()
    shown = Display(Console(file=text, width=200), {"a": 10, "b": 10, "c": 10})
    clock[0] = 1.0
    shown.on_event("a", {"test": {"accuracy": 0.5}})  # found finished
    shown.on_event("b", {"epoch": 5})  # five epochs are older than this sitting
    clock[0] = 11.0
    shown.on_event("b", {"epoch": 6})
    assert text.getvalue() == "1/3 trainings, about 1:05 left; b: epoch 7 of 10\n"
