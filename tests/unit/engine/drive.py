"""A queue of two tiers and an engine that owns it, driven without Kafka, threads or a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamjobs.engine.engine import Cycle, Engine
from streamjobs.engine.records import Record
from streamjobs.engine.results import Failed, Result
from streamjobs.headers import Failure
from streamjobs.topics import QueueTopics

TOPICS = QueueTopics("shop", "mail")
MAIN, SHORT, LONG, DLQ = TOPICS.main, TOPICS.tier(1), TOPICS.tier(10), TOPICS.dlq
FAILURE = Failure("ValueError", "no", "")


@dataclass
class FakeMessage:
    """A received record, as the client would hand it over."""

    topic_: str
    offset_: int
    key_: bytes | None = b"k"
    partition_: int = 0
    at: float = 0.0
    headers_: Sequence[tuple[str, bytes | None]] = ()

    def topic(self) -> str:
        return self.topic_

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes:
        return b"%d" % self.offset_

    def timestamp(self) -> tuple[int, int]:
        return 2, round(self.at * 1000)

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return list(self.headers_) or None


@dataclass
class Driver:
    """An engine, and what was started and is not finished."""

    engine: Engine
    now: float = 0.0
    running: list[Record] = field(default_factory=list)
    started: list[tuple[str, int]] = field(default_factory=list)

    def receive(self, *messages: FakeMessage, now: float = 0.0) -> None:
        self.now = max(self.now, now)
        self.engine.received(messages, now)
        self.begin()

    def main(self, *offsets: int, key: bytes | None = b"k", partition: int = 0) -> None:
        self.receive(*(FakeMessage(MAIN, o, key, partition) for o in offsets))

    def begin(self) -> list[list[Record]]:
        runs = self.engine.take_starts()
        for run in runs:
            self.running += run
            self.started += [(r.log.topic, r.offset) for r in run]
        return runs

    def tick(self, now: float) -> None:
        self.now = now
        self.engine.tick(now)
        self.begin()

    def finish(self, offset: int, result: Result | None = None, topic: str = MAIN) -> None:
        record = next(r for r in self.running if (r.log.topic, r.offset) == (topic, offset))
        self.running.remove(record)
        record.result, record.job = result, "send"
        self.engine.finished([record], self.now)
        self.begin()

    def commit(self) -> Cycle | None:
        cycle = self.engine.cycle()
        if cycle is not None:
            self.engine.committed(cycle)
        return cycle


def own(engine: Engine, *partitions: int) -> None:
    engine.assigned([(t, p) for t in (MAIN, SHORT, LONG) for p in partitions])
    take(engine)


def take(engine: Engine, **ends: int) -> None:
    """Answer the engine's questions: nothing was ever committed, the tiers have these ends."""
    for number in engine.take_questions():
        engine.taken(number, {}, {SHORT: ends.get("short", 0), LONG: ends.get("long", 0)})


FAILED = Failed(FAILURE)
