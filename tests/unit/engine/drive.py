"""A queue of two tiers and an engine that owns it, driven without Kafka, threads or a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamjobs.engine.cycles import Cycle
from streamjobs.engine.engine import Engine
from streamjobs.engine.metadata import Committed
from streamjobs.engine.records import Record
from streamjobs.engine.results import RELEASED, Failed, Result
from streamjobs.executors.threads import GOES_ON
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
    epoch: int = 0

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

    def leader_epoch(self) -> int:
        return self.epoch


@dataclass
class Driver:
    """An engine, and what was started and is not finished."""

    engine: Engine
    now: float = 0.0
    running: list[Record] = field(default_factory=list)
    started: list[tuple[str, int]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    runs: list[list[Record]] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)

    def receive(self, *messages: FakeMessage, now: float = 0.0) -> None:
        self.now = max(self.now, now)
        self.engine.received(messages, self.now)
        self.begin()

    def main(self, *offsets: int, key: bytes | None = b"k", partition: int = 0) -> None:
        self.receive(*(FakeMessage(MAIN, o, key, partition) for o in offsets))

    def begin(self) -> list[list[Record]]:
        """Take runs as an executor does: the first of each begins, the others after it."""
        runs = self.engine.take_starts()
        self.runs += [list(run) for run in runs]
        for run in runs:
            self._begun(run[0])
        return runs

    def _begun(self, record: Record) -> None:
        self.running.append(record)
        self.started.append((record.log.topic, record.offset))
        self.places.append(record.place)

    def tick(self, now: float) -> None:
        self.now = now
        self.engine.tick(now)
        self.begin()

    def finish(self, offset: int, result: Result | None = None, topic: str = MAIN) -> None:
        """One job comes to a result; a failure gives the rest of its run back."""
        self._finish(
            next(r for r in self.running if (r.log.topic, r.offset) == (topic, offset)), result
        )

    def _finish(self, record: Record, result: Result | None) -> None:
        record.result, record.job = result, "send"
        self.running.remove(record)
        run = next(run for run in self.runs if run[0] is record)
        self.runs.remove(run)
        back, rest = run[:1], run[1:]
        if result is not None and not isinstance(result, GOES_ON):
            for follower in rest:
                follower.result = RELEASED
            back, rest = run, []
        self.engine.finished(back, self.now)
        if rest:
            self.runs.append(rest)
            self._begun(rest[0])
        self.begin()

    def finish_place(self, place: int, result: Result | None = None) -> None:
        """The job of this origin comes to a result, wherever it came from."""
        self._finish(next(r for r in self.running if r.place == place), result)

    def finish_all(self) -> None:
        """All that run succeed, and what they set free, to the end."""
        while self.running:
            self._finish(self.running[0], None)

    def paused(self, topic: str) -> bool:
        """Whether the engine wants no more of a topic; carries out what flow it asks for."""
        flow = self.engine.take_flow()
        self.stopped |= {t for t, _ in flow.pause}
        self.stopped -= {t for t, _ in flow.resume}
        return topic in self.stopped

    def commit(self) -> Cycle | None:
        cycle = self.engine.cycle()
        if cycle is not None:
            self.engine.committed(cycle)
        return cycle


def own(engine: Engine, *partitions: int) -> None:
    engine.assigned([(t, p) for t in (MAIN, SHORT, LONG) for p in partitions])
    take(engine)


def take(
    engine: Engine,
    *,
    committed: Mapping[str, int | Committed | None] | None = None,
    ends: dict[str, int] | None = None,
) -> None:
    """Answer the engine's questions; by default nothing was ever committed, and tiers are empty."""
    offsets = {
        topic: offset if offset is None or isinstance(offset, Committed) else Committed(offset)
        for topic, offset in (committed or {}).items()
    }
    for number in engine.take_questions():
        engine.taken(number, offsets, {SHORT: 0, LONG: 0, **(ends or {})}, 0.0)


def origin(offset: int, **more: str) -> tuple[tuple[str, bytes], ...]:
    """The headers of a record in a tier that stood at ``offset`` in main."""
    own = {"sj-origin": f"T:0:{offset}", "sj-attempt": "1", "sj-rung": "1"}
    return tuple((n, v.encode()) for n, v in {**own, **more}.items())


FAILED = Failed(FAILURE)
