"""One shard: everything of a queue with the same partition number, and the lanes inside it.

A lane is the jobs of one (priority, key): one runs at a time, in the order of their places.
``lanes`` has an entry for each lane that is busy or has something in a tier: ``None`` while one job
runs and nobody waits, which is nearly always; a list of followers while nothing is in a tier; a
tuple while no more than one job in a tier is known; else a ``Lane``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from streamjobs.engine.ladder import Ladder, Ordering
from streamjobs.engine.lane import RUN_LENGTH, Lane, Parked, by_place
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.records import Log, Message, Move, Record, Run
from streamjobs.headers import Delivery, Failure, Origin, Reason, headers_of, read_delivery

# Records of a tier held in memory until due; only above it is the partition paused, since a pause
# throws the client's prefetched records away (librdkafka rd_kafka_toppar_pause_resume).
HELD_PER_TIER = 2_000
# Followers in memory, per lane and per shard; the lowest places are kept.
LANE_CAP, SHARD_CAP = 1_000, 10_000
# Weight of the last run in the mean duration of jobs.
SMOOTHING = 0.1
# The key of the one lane of a queue with ordering="partition".
ONE_LANE = b""

# A lane with one job, which is in a tier and not in memory: its place, when it is due, and whether
# it only waits. Of a million parked keys nearly all are like that.
Sole = tuple[int, float, bool]
Lanes = dict[bytes, "list[Record] | Sole | Lane | None"]


class Shard:
    """The lanes and partitions of one partition number.

    Attributes:
        number: the partition number.
        active: whether its jobs may start: all its partitions are owned and its tiers are read.
        answered: whether the caller has told its offsets and ends.
        logs: its owned partitions, by topic.
        lanes: by main topic, since each priority has its own.
        early: what arrived of main before the shard was active, in order: batches, end offsets.
        waiting: how many records wait in the memory of lanes that have something in a tier.
        for_main: lanes whose next job came from a tier, and waits for main to be received past it.
        delayed: lanes whose head waits in place.
        survey: while memory is full, since when a lane's head has run, by main topic and key.
    """

    __slots__ = (
        "_ladder", "_out", "active", "answered", "delayed", "early", "for_main", "lanes", "logs",
        "number", "survey", "waiting",
    )  # fmt: skip

    def __init__(self, number: int, ladder: Ladder, out: Outbox) -> None:
        self.number, self._ladder, self._out = number, ladder, out
        self.active = self.answered = False
        self.logs: dict[str, Log] = {}
        self.lanes: dict[str, Lanes] = {main: {} for main in ladder.mains}
        self.early: list[tuple[Log, Sequence[Message] | int]] = []
        self.waiting = 0
        self.survey: dict[tuple[str, bytes], float] = {}
        # Dicts for sets: what is in them is taken in the order in which it came, in every process.
        self.for_main: dict[tuple[str, bytes], None] = {}
        self.delayed: dict[tuple[str, bytes], None] = {}

    def wipe(self) -> None:
        """Give up everything in hand; what is still owned has to be read again."""
        self.active = self.answered = False
        for lanes in self.lanes.values():
            lanes.clear()
        self.early.clear()
        self.for_main.clear()
        self.delayed.clear()
        self.survey.clear()
        self.waiting = 0

    def _starts(self, main: str) -> list[Run]:
        """Where the runs of a main topic's lanes go."""
        return self._out.starts[self._ladder.mains.index(main)]

    def start(self, now: float) -> None:
        """All tiers are read: jobs may start, first those whose turn came while this was so."""
        self.active = True
        for main, lanes in self.lanes.items():
            for lane in list(lanes.values()):
                if isinstance(lane, Lane):
                    self._advance(main, lane, now)

    @property
    def load(self) -> int:
        """Records that run, are ready, or wait behind one that runs.

        Those that wait behind a parked one count only where they cannot be moved: else parked keys
        would hold main back.
        """
        own = sum(log.load for log in self.logs.values())
        return own + self.waiting if self._ladder.wait(0.0) is None else own

    # -- what arrives ------------------------------------------------------------------------

    def receive_main(self, log: Log, batch: Sequence[Message], now: float) -> None:
        """Take in records of a main topic, in their order."""
        offsets: list[int] = [m.offset() for m in batch]  # type: ignore[misc]
        log.watermark.received(offsets)
        log.load += len(batch)
        log.at_end = False
        lanes, starts = self.lanes[log.topic], self._starts(log.topic)
        one_key = {Ordering.NONE: None, Ordering.PARTITION: ONE_LANE}
        by_key = self._ladder.ordering is Ordering.KEY
        for message, offset in zip(batch, offsets, strict=True):
            key = message.key() if by_key else one_key[self._ladder.ordering]
            record = Record(log, offset, key, message)
            if key is None:
                starts.append([record])
            elif key not in lanes:
                lanes[key] = None
                starts.append([record])
            else:
                lane = lanes[key]
                if lane is None:
                    lanes[key] = [record]
                elif isinstance(lane, list):
                    lane.append(record)
                else:
                    log.load -= 1
                    self._line_up(self._lane(log.topic, key, now), record, now)
        if self.for_main:
            self.main_advanced(now)

    def receive_tier(self, log: Log, batch: Sequence[Message], now: float) -> None:
        """Take in records of a retry tier: they are held until due, or until their turn.

        While the shard is rebuilt all of a tier is read to know what is outstanding, but only the
        first of it is held; the rest is read again later.
        """
        received: list[int] = []
        for message in batch:
            offset: int = message.offset()  # type: ignore[assignment]
            delivery = read_delivery(headers_of(message), rung=log.rung)
            due = message.timestamp()[1] / 1000 + (log.delay or 0.0)
            hold = log.target is None or (log.refetch is None and log.holding < HELD_PER_TIER)
            if hold:
                received.append(offset)
            elif log.refetch is None:
                log.refetch = offset
            log.scanned = offset + 1
            self._take_tier(log, message, offset, delivery, due, hold=hold, now=now)
        if received:
            log.watermark.received(received)
        if log.holding >= HELD_PER_TIER and log.target is None:
            self._out.pause(log)

    def _take_tier(
        self,
        log: Log,
        message: Message,
        offset: int,
        delivery: Delivery,
        due: float,
        *,
        hold: bool,
        now: float,
    ) -> None:
        key = self._lane_key(message)
        record = Record(log, offset, key, message, delivery) if hold else None
        if record is not None:
            record.held = True
            log.held.append((due, record))
            log.holding += 1
        origin = delivery.origin
        if key is None or origin is None or origin.partition != self.number:
            return  # it is judged when it is due: nothing waits for it
        main, place = self._ladder.main_of(origin)
        if record is None and key not in self.lanes[main]:
            self.lanes[main][key] = (place, due, delivery.waiting)
            return
        if record is not None:
            record.place = place
        lane = self._lane(main, key, now)
        if record is not None and not self._newest(lane, record):
            self._drop(record)
            return
        lane.park(place, Parked(due, record, waiting=delivery.waiting))
        if lane.order[0] == place:
            self._advance(main, lane, now)

    def _newest(self, lane: Lane, record: Record) -> bool:
        """Whether no newer copy of its job is in memory; an older one is dropped for it.

        A job has several copies when a crash undid what had been decided about one of them.
        """
        there = lane.parked.get(record.place)
        index = bisect_left(lane.waiting, record.place, key=by_place)
        if there is not None and there.record is not None:
            other = there.record
        elif index < len(lane.waiting) and lane.waiting[index].place == record.place:
            other = lane.waiting[index]
        else:
            return True
        if _age(record) < _age(other):
            return False
        if not other.held:
            del lane.waiting[index]
            self.waiting -= 1
        self._drop(other)
        return True

    def _drop(self, record: Record) -> None:
        """Of two copies of one job the newer counts; the older is complete."""
        if record.held:
            record.held = False
            record.log.holding -= 1
        record.log.watermark.complete(record.offset)

    def _lane_key(self, message: Message) -> bytes | None:
        match self._ladder.ordering:
            case Ordering.KEY:
                return message.key()
            case Ordering.NONE:
                return None
            case Ordering.PARTITION:
                return ONE_LANE

    def _lane(self, main: str, key: bytes, now: float) -> Lane:
        """The lane of a key, made one that can have something in a tier."""
        lanes = self.lanes[main]
        before = lanes.get(key)
        if isinstance(before, Lane):
            return before
        lane = Lane(key, now)
        if isinstance(before, tuple):
            lane.park(before[0], Parked(before[1], None, waiting=before[2]))
        elif key in lanes:
            lane.running = True
            lane.waiting = before or []
            self.waiting += len(lane.waiting)
            for record in lane.waiting:
                record.log.load -= 1
        lanes[key] = lane
        return lane

    # -- time --------------------------------------------------------------------------------

    def release_due(self, log: Log, now: float) -> None:
        """Let the due records of a tier take their place in line, or move on."""
        held = log.held
        while held and held[0][0] <= now:
            record = held.popleft()[1]
            if record.held:
                record.held = False
                log.holding -= 1
                self._due(record, now)

    def _due(self, record: Record, now: float) -> None:
        delivery = record.delivery
        origin = None if delivery is None else delivery.origin
        if origin is None or origin.partition != self.number:
            self._forged(record, "no origin in this partition")
        elif record.key is None:
            record.log.load += 1
            self._starts(self._ladder.main_of(origin)[0]).append([record])
        else:
            main = self._ladder.main_of(origin)[0]
            lane = self._lane(main, record.key, now)
            if record.place in lane.parked:
                lane.unpark(record.place)
            self._line_up(lane, record, now)
            self._advance(main, lane, now)

    def tick(self, now: float) -> None:
        """Let time pass for heads that wait in place."""
        for main, key in list(self.delayed):
            lane = self.lanes[main].get(key)
            if isinstance(lane, Lane):
                # A clock that was set back must not make it wait for longer than its delay.
                lane.not_before = min(lane.not_before, now + lane.delay)
                if now < lane.not_before:
                    continue
                lane.not_before = 0.0
                self._advance(main, lane, now)
            self.delayed.pop((main, key), None)

    def main_advanced(self, now: float) -> None:
        """Main was received further: records of tiers that waited for it may start."""
        for main, key in list(self.for_main):
            lane = self.lanes[main].get(key)
            self.for_main.pop((main, key), None)
            if isinstance(lane, Lane):
                self._advance(main, lane, now)

    def _forged(self, record: Record, why: str) -> None:
        """A record whose headers cannot be true: to the DLQ, bytes as they came."""
        before = record.delivery or Delivery(attempts=0, rung=0, origin=None)
        failure = Failure("InvalidRecord", f"header sj-origin: {why}", "")
        self._out.move(Move(record, self._ladder.topics.dlq, before, Reason.INVALID, failure))

    # -- rule 2: in memory, or moved ---------------------------------------------------------

    def _line_up(self, lane: Lane, record: Record, now: float) -> None:
        """Keep a record in memory when the line moves soon and there is room, else move it."""
        if record.place in lane.parked:
            # An older copy of a job that is in a tier: this one is complete.
            record.log.watermark.complete(record.offset)
        elif lane.near(record.place, now) and self._room(lane, record, now):
            lane.wait(record)
            self.waiting += 1
        else:
            self._park(lane, record, now)

    def _room(self, lane: Lane, record: Record, now: float) -> bool:
        if not lane.waiting:
            return True
        if len(lane.waiting) < LANE_CAP and self.waiting < SHARD_CAP:
            return True
        if lane.waiting[-1].place < record.place:
            return False
        evicted = lane.waiting.pop()
        self.waiting -= 1
        self._park(lane, evicted, now)
        return True

    def _park(self, lane: Lane, record: Record, now: float) -> None:
        """Move a record to a tier in which it will come due about when its turn comes."""
        ready = lane.ready_at(record.place, now, self._out.seconds_each)
        delay = self._ladder.wait(ready - now)
        if delay is None:
            lane.wait(record)
            self.waiting += 1
            return
        before = self.delivery(record)
        after = Delivery(before.attempts, before.rung, before.origin, waiting=True)
        topic = self._ladder.topics.tier(delay)
        self._out.move(Move(record, topic, after, Reason.WAITING, None))
        lane.park(record.place, Parked(now + delay, None, waiting=True))

    def delivery(self, record: Record) -> Delivery:
        """A record's state; a fresh one's origin is where it stands."""
        if record.delivery is not None:
            return record.delivery
        origin = Origin(self._ladder.identity(record.log.topic), self.number, record.offset)
        return Delivery(attempts=0, rung=0, origin=origin)

    # -- what ends ---------------------------------------------------------------------------

    def main_of(self, record: Record) -> str:
        """The main topic whose lane a record is in."""
        if record.log.delay is None:
            return record.log.topic
        origin = None if record.delivery is None else record.delivery.origin
        return self._ladder.mains[0] if origin is None else self._ladder.main_of(origin)[0]

    def failed(self, record: Record, delay: float, now: float) -> None:
        """A record of a lane goes to a tier because it failed: its key is parked."""
        if record.key is not None:
            lane = self._lane(self.main_of(record), record.key, now)
            lane.park(record.place, Parked(now + delay, None, waiting=False))

    def again(self, record: Record, delay: float, now: float) -> None:
        """A record is tried again in its place, after ``delay`` seconds."""
        self.put_back(record)
        if delay and record.key is not None:
            main = self.main_of(record)
            lane = self._lane(main, record.key, now)
            lane.delay, lane.not_before = delay, now + delay
            self.delayed[main, record.key] = None

    def put_back(self, record: Record) -> None:
        """Take back a record that did not run to its end: it is in line again at its place."""
        record.result, record.last = None, True
        main = self.main_of(record)
        lane = None if record.key is None else self.lanes[main].get(record.key)
        if isinstance(lane, Lane):
            lane.wait(record)
            self.waiting += 1
            return
        record.log.load += 1
        if record.key is None:
            self._starts(main).append([record])
        elif isinstance(lane, list):
            insort(lane, record, key=by_place)
        else:
            self.lanes[main][record.key] = [record]

    def run_ended(self, record: Record, now: float) -> None:
        """The last of a run has come back: start what follows, or close the lane."""
        assert record.key is not None  # noqa: S101 - a run without a lane has no followers
        main = self.main_of(record)
        lanes = self.lanes[main]
        lane = lanes[record.key]
        if isinstance(lane, Lane):
            lane.running = False
            if lane.handed:
                seconds = max(0.0, now - lane.since) / lane.handed
                self._out.seconds_each += (seconds - self._out.seconds_each) * SMOOTHING
            self._advance(main, lane, now)
            self._make_way(lane, now)
        elif isinstance(lane, list):
            run, rest = lane[:RUN_LENGTH], lane[RUN_LENGTH:]
            lanes[record.key] = rest or None
            for each in run[:-1]:
                each.last = False
            self._starts(main).append(run)
        else:
            del lanes[record.key]

    def _advance(self, main: str, lane: Lane, now: float) -> None:
        """Start what may start in a lane; forget the lane when nothing is left of it."""
        if lane.running or not self.active:
            return
        position = self.logs[main].watermark.position
        run = lane.take_run(now, position)
        if run:
            self._hand_over(main, lane, run, now)
            if not lane.order and not lane.waiting:
                self.lanes[main][lane.key] = None
        elif lane.waiting or lane.order:
            self._wait_for_main(main, lane, now)
        else:
            del self.lanes[main][lane.key]

    def _wait_for_main(self, main: str, lane: Lane, now: float) -> None:
        """The head of a lane is ready and main was not received past it: wait, or refuse it."""
        head = lane.head(now)
        if head is None or now < lane.not_before:
            return
        log = self.logs[main]
        if not log.at_end:
            self.for_main[main, lane.key] = None
            return
        end = log.watermark.position or 0
        why = f"{head.place} is past the end of main, {end}"
        if head.held:
            lane.unpark(head.place)
            head.held = False
            head.log.holding -= 1
        else:
            del lane.waiting[0]
            self.waiting -= 1
        self._forged(head, why)
        self._advance(main, lane, now)

    def _hand_over(self, main: str, lane: Lane, run: list[Record], now: float) -> None:
        for record in run:
            record.last = False
            if record.held:
                record.held = False
                record.log.holding -= 1
            else:
                self.waiting -= 1
            record.log.load += 1
        run[-1].last = True
        lane.running, lane.since, lane.handed = True, now, len(run)
        self._starts(main).append(run)

    def _make_way(self, lane: Lane, now: float) -> None:
        """After a run: when the line will not move soon, those that wait in memory are moved."""
        if lane.running or not lane.waiting or not lane.order:
            return
        if lane.near(lane.waiting[0].place, now):
            return
        records, lane.waiting = lane.waiting, []
        self.waiting -= len(records)
        for record in records:
            self._line_up(lane, record, now)

    def move_followers(self, patience: float, now: float) -> None:
        """Memory is full: move the followers of heads that have run for over ``patience`` seconds.

        Asked about once a second, so a head's time is known to a second.
        """
        if self._ladder.wait(0.0) is None:
            return
        before, self.survey = self.survey, {}
        for main, lanes in self.lanes.items():
            for key, followers in list(lanes.items()):
                if not isinstance(followers, list):
                    continue
                since = min(now, before.get((main, key), now))
                if now - since <= patience:
                    self.survey[main, key] = since
                    continue
                lane = self._lane(main, key, now)
                surplus, lane.waiting = lane.waiting, []
                self.waiting -= len(surplus)
                for record in surplus:
                    self._park(lane, record, now)

    def got_on(self, record: Record) -> None:
        """A job of a lane has ended while memory is full: its head has not run long."""
        if record.key is not None:
            self.survey.pop((self.main_of(record), record.key), None)


def _age(record: Record) -> tuple[int, int]:
    """What makes one copy of a job newer than another: more attempts, then the later stamp."""
    return record.attempts, record.message.timestamp()[1]
