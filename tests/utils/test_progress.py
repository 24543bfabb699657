"""Long work tells who listens how far it is, once a second at most."""

import pytest

from drkd.utils import progress
from drkd.utils.progress import Meter, Progress, listening, tracked


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_reports_come_once_a_second_and_the_last_one_says_that_all_is_done(clock):
    told = []
    with listening(told.append):
        for _ in tracked("abcde", "evaluation", 5):
            clock[0] += 0.6
    assert told == [Progress("evaluation", done, 5) for done in (2, 4, 5)]


def test_short_work_is_not_reported(clock):
    told = []
    with listening(told.append):
        assert list(tracked("abc", "evaluation", 3)) == ["a", "b", "c"]
    assert told == []


def test_the_innermost_listener_hears_alone_and_none_silences(clock):
    outer, inner = [], []
    with listening(outer.append):
        with listening(inner.append):
            Meter("epoch 0", 9, "steps").report(4, loss=0.5)
        with listening(None):
            Meter("epoch 1", 9, "steps").report(4)
        Meter("epoch 2", 9, "steps").report(5)
    assert inner == [Progress("epoch 0", 4, 9, "steps", 0.5)]
    assert outer == [Progress("epoch 2", 5, 9, "steps")]
    assert str(inner[0]) == "epoch 0: 4 of 9 steps, loss 0.5000"


def test_nobody_listens_and_nothing_is_ever_due(clock):
    clock[0] = 1e9
    assert Meter("epoch 0", 9).due == float("inf")
