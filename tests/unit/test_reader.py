"""When reading a topic gives up: by the broker's silence, not by the reader's own slowness."""

from __future__ import annotations

from typing import Any

import pytest

from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka import reader
from streamjobs.kafka.reader import Record
from streamjobs.settings import load_settings

TOPIC = "shop.mail.dlq"


class Message:
    """What the client hands out."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __getattr__(self, name: str) -> Any:
        told = {"topic": TOPIC, "offset": self._offset, "timestamp": (1, 0), "partition": 0}
        return lambda: told.get(name)


class Now:
    """A clock, and a consumer that takes half a second of it where there is nothing."""

    def __init__(self, *batches: int) -> None:
        self.now, self.batches, self.next = 0.0, list(batches), 0

    def consume(self, _: Any) -> list[Message]:
        count = self.batches.pop(0) if self.batches else 0
        self.now += 0.0 if count else 0.5
        self.next += count
        return [Message(n) for n in range(self.next - count, self.next)]


def read(monkeypatch: pytest.MonkeyPatch, now: Now, stop: int, *, pause: float) -> list[int]:
    """Read up to an offset, taking a while over each record."""
    monkeypatch.setattr(reader, "monotonic", lambda: now.now)
    monkeypatch.setattr(reader, "_consume", now.consume)
    nobody: Any = None
    found: list[Record] = []
    left = {(TOPIC, 0): stop}
    for record in reader._until_done(nobody, left, load_settings({}), whole=True):
        found.append(record)
        now.now += pause
    return [record.offset for record in found]


def test_who_is_slow_is_not_told_that_the_broker_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Now(2, 0, 3, 0, 1)
    assert read(monkeypatch, now, 6, pause=100.0) == list(range(6))


def test_a_silent_broker_is_told_after_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Now(2)
    with pytest.raises(BrokerUnavailable, match="fell silent"):
        read(monkeypatch, now, 6, pause=0.0)
    assert 30 < now.now < 32
