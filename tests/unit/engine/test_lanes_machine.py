"""Any sequence of arrivals, failures, waits, commits and hand-overs: the outstanding sets hold.

The machine is the broker and the executor of one shard: it keeps the logs, reads them to the
engine, ends attempts, and writes what is moved. Its model is which jobs have ended.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from unit.engine.drive import DLQ, FAILED, FAILURE, LONG, MAIN, SHORT, TOPICS, FakeMessage, origin

from streamjobs.engine import engine as engine_module
from streamjobs.engine import intake, parking
from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.lane import Lane
from streamjobs.engine.metadata import Committed
from streamjobs.engine.records import Record
from streamjobs.engine.results import DISCARDED, RELEASED, Failed, Rejected, Result
from streamjobs.headers import Reason

TO_LONG = Failed(FAILURE, retry_after=5.0)
DEAD = Rejected(FAILURE, Reason.REJECTED)
RESULTS: list[Result | None] = [FAILED, None, TO_LONG, None, FAILED, DISCARDED, RELEASED, DEAD]
KEYS = st.sampled_from([b"a", b"a", b"b", None])
OWNED = [(topic, 0) for topic in (MAIN, SHORT, LONG)]


class LanesMachine(RuleBasedStateMachine):
    """Attributes:
    logs: the records of each topic by offset.
    read: how far each was read to the engine; ``committed``: and committed.
    place: of each record in a tier, its origin.
    ended: the places of jobs that have ended, in this taking or in a committed one.
    runs: what the executor has; the first of each runs.
    hand_overs: how often the shard was lost and taken again.
    """

    small: ClassVar = [
        patch.object(parking, "LANE_CAP", 3),
        patch.object(parking, "SHARD_CAP", 6),
        patch.object(intake, "HELD_PER_TIER", 4),
        patch.object(engine_module, "HELD_PER_TIER", 4),
    ]

    def __init__(self) -> None:
        super().__init__()
        for limit in self.small:
            limit.start()
        ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, (1.0, 10.0), {MAIN: "T"})
        self.engine = Engine(ladder, capacity=12)
        self.now = 1_000.0
        self.logs: dict[str, list[FakeMessage]] = {t: [] for t in (MAIN, SHORT, LONG, DLQ)}
        self.read = {MAIN: 0, SHORT: 0, LONG: 0}
        self.committed: dict[str, int | None] = {MAIN: None, SHORT: None, LONG: None}
        self.paused: set[str] = set()
        self.ended: set[int] = set()
        self.runs: list[list[Record]] = []
        self.hand_overs = 0
        self.take()

    def teardown(self) -> None:
        try:
            self.all_goes_well()
        finally:
            for limit in reversed(self.small):
                limit.stop()

    # -- what the shell does -----------------------------------------------------------------

    def take(self) -> None:
        self.engine.assigned(OWNED)
        self.read = {topic: self.committed[topic] or 0 for topic in self.read}
        self.paused.clear()
        for number in self.engine.take_questions():
            ends = {topic: len(self.logs[topic]) for topic in (SHORT, LONG)}
            stable = {t: None if o is None else Committed(o) for t, o in self.committed.items()}
            self.engine.taken(number, stable, ends, self.now)
        self.settle()

    def settle(self) -> None:
        """Do what the engine asks for: flow first, then runs."""
        flow = self.engine.take_flow()
        for topic, _, offset in flow.seek:
            self.read[topic] = max(0, offset)
        self.paused |= {topic for topic, _ in flow.pause}
        self.paused -= {topic for topic, _ in flow.resume}
        for run in self.engine.take_starts():
            self.runs.append(list(run))
            self.started(run[0])

    def started(self, record: Record) -> None:
        """Rule 1: nothing of its key before it is outstanding, and nothing of its key runs."""
        if record.key is None:
            return
        before = self.logs[MAIN][: record.place]
        waiting = [m.offset_ for m in before if m.key_ == record.key]
        assert self.ended.issuperset(waiting), f"{record.place} starts before {waiting}"
        running = Counter(run[0].key for run in self.runs)
        assert running[record.key] == 1, f"{record.place} starts beside another of its key"

    def finish(self, run: list[Record], result: Result | None) -> None:
        record, rest = run[0], run[1:]
        self.runs.remove(run)
        record.result = result
        if result in (None, DISCARDED, DEAD) or (
            isinstance(result, Failed) and record.delivery and record.delivery.rung >= 2
        ):
            self.ended.add(origin_of(record))
        back = [record]
        if result not in (None, DISCARDED):
            back += rest
            for each in rest:
                each.result = RELEASED
        self.engine.finished(back, self.now)
        if len(back) == 1 and rest:
            self.runs.append(rest)
            self.started(rest[0])
        self.settle()

    def commit(self, *, accepted: bool) -> None:
        cycle = self.engine.cycle()
        if cycle is None:
            return
        if not accepted:
            self.engine.aborted(cycle)
            return
        for move in cycle.moves:
            self.write(move.topic, move.record, move.delivery, str(move.reason))
        for (topic, _), offset in cycle.offsets.items():
            before = self.committed[topic]
            assert before is None or offset >= before
            self.committed[topic] = offset
        self.engine.committed(cycle)
        self.nothing_is_lost()

    def write(self, topic: str, record: Record, delivery: object, reason: str) -> None:
        assert delivery.origin.offset == origin_of(record)  # type: ignore[attr-defined]
        state = {
            "sj-attempt": str(delivery.attempts),  # type: ignore[attr-defined]
            "sj-rung": str(delivery.rung),  # type: ignore[attr-defined]
            "sj-reason": reason,
        }
        log = self.logs[topic]
        headers = origin(origin_of(record), **state)
        log.append(FakeMessage(topic, len(log), record.key, at=self.now, headers_=headers))

    def nothing_is_lost(self) -> None:
        """A job that has not ended stands in main or in a tier, not committed."""
        places = {m.offset_ for m in self.logs[MAIN][self.committed[MAIN] or 0 :]}
        for topic in (SHORT, LONG):
            places |= {place_of(m) for m in self.logs[topic][self.committed[topic] or 0 :]}
        lost = set(range(len(self.logs[MAIN]))) - self.ended - places
        assert not lost, f"{lost} are committed and nowhere"

    def poll(self, topic: str, count: int) -> None:
        if topic in self.paused:
            return
        log, begin = self.logs[topic], self.read[topic]
        batch = log[begin : begin + count]
        self.read[topic] = begin + len(batch)
        if batch:
            self.engine.received(batch, self.now)
        if self.read[topic] == len(log):
            self.engine.ended(topic, 0, len(log), self.now)
        self.settle()

    def all_goes_well(self) -> None:
        """From here everything succeeds: each job ends, and all is committed."""
        for _ in range(600):
            for topic in (MAIN, SHORT, LONG):
                self.poll(topic, 50)
            while self.runs:
                self.finish(self.runs[0], None)
            self.commit(accepted=True)
            if all((self.committed[topic] or 0) == len(self.logs[topic]) for topic in self.read):
                break
            self.now += 1.0
            self.engine.tick(self.now)
            self.settle()
        assert self.ended == set(range(len(self.logs[MAIN])))
        assert (self.engine.load, self.engine.held, self.engine.waiting) == (0, 0, 0)
        assert self.engine.parked_keys == 0

    # -- what happens ------------------------------------------------------------------------

    @rule(keys=st.lists(KEYS, min_size=1, max_size=8), count=st.integers(0, 8))
    def enqueue(self, keys: list[bytes | None], count: int) -> None:
        log = self.logs[MAIN]
        for key in keys:
            log.append(FakeMessage(MAIN, len(log), key, at=self.now))
        self.poll(MAIN, count)

    @rule(
        results=st.lists(st.sampled_from(RESULTS), min_size=1, max_size=6), whom=st.integers(0, 9)
    )
    def runs_end(self, results: list[Result | None], whom: int) -> None:
        for result in results:
            if self.runs:
                self.finish(self.runs[whom % len(self.runs)], result)

    @rule(
        seconds=st.sampled_from([0.1, 0.9, 1.1, 3.0, 11.0]),
        accepted=st.sampled_from([True, True, False]),
        count=st.integers(0, 8),
    )
    def turn(self, seconds: float, accepted: bool, count: int) -> None:
        self.now += seconds
        self.engine.tick(self.now)
        self.settle()
        self.commit(accepted=accepted)
        for topic in (SHORT, LONG):
            self.poll(topic, count)

    @rule(topic=st.sampled_from([MAIN, SHORT, LONG]), count=st.integers(1, 8))
    def receive(self, topic: str, count: int) -> None:
        self.poll(topic, count)

    @rule(late=st.booleans())
    def hand_over(self, late: bool) -> None:
        """The shard is lost with all that was not committed, and taken again."""
        if len(self.logs[MAIN]) < 3 * (1 + self.hand_overs):
            return
        self.hand_overs += 1
        self.engine.revoked(OWNED)
        running = [run[0] for run in self.runs]
        self.runs.clear()
        self.take()
        if late:
            self.engine.finished(running, self.now)
            self.settle()

    # -- what always holds -------------------------------------------------------------------

    @invariant()
    def counts_equal_what_is_there(self) -> None:
        """How many wait, are held, and load each partition."""
        waiting, load = 0, Counter[str]()
        for shard in self.engine._shards.values():
            for lane in shard.lanes[MAIN].values():
                if isinstance(lane, Lane):
                    waiting += len(lane.waiting)
                    assert lane.order == sorted(lane.parked)
                    places = [record.place for record in lane.waiting]
                    assert places == sorted(set(places) - set(lane.parked))
                elif isinstance(lane, list):
                    load.update(record.log.topic for record in lane)
            assert shard.waiting == waiting
            load.update(record.log.topic for run in self.runs for record in run)
            assert {t: log.load for t, log in shard.logs.items()} == {t: load[t] for t, _ in OWNED}
        assert self.engine.waiting == waiting
        for log in self.engine._logs.values():
            assert log.holding == sum(record.held for _, record in log.held)


def origin_of(record: Record) -> int:
    """Where a record's job stood in main; a record without a lane has no place."""
    if record.delivery is None or record.delivery.origin is None:
        return record.offset
    return record.delivery.origin.offset


def place_of(message: FakeMessage) -> int:
    """The origin that a record of a tier names."""
    value = dict(message.headers_)["sj-origin"]
    assert value is not None
    return int(value.rsplit(b":", 1)[1])


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(
    max_examples=100, stateful_step_count=40, derandomize=True, deadline=None
)
