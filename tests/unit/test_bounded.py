"""A call that may never return is waited for so long, and no longer."""

from __future__ import annotations

import threading

import pytest

from streamjobs.kafka import bounded
from streamjobs.kafka.bounded import BOUNDED, returns_within


def test_what_returns_has_returned() -> None:
    made: list[str] = []

    assert returns_within(30, lambda: made.append("yes"))

    assert made == ["yes"]


def test_what_it_raises_is_raised_here() -> None:
    def fail() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        returns_within(30, fail)


def test_what_does_not_return_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "AFTER_A_SLEEP", 0.01)
    let_go = threading.Event()

    assert not returns_within(0.01, let_go.wait)

    # and does not keep the process from ending
    (left,) = [thread for thread in threading.enumerate() if thread.name.endswith(BOUNDED)]
    assert left.daemon
    let_go.set()
    left.join(10)


def test_who_slept_while_it_waited_gives_the_call_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # given a process that was stopped, so that all its time is over when it wakes
    let_go = threading.Event()
    monkeypatch.setattr(bounded, "AFTER_A_SLEEP", 30.0)
    threading.Timer(0.05, let_go.set).start()

    assert returns_within(0, let_go.wait)
