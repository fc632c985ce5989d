"""Rule 1: whose turn it is in a lane, from the moment a job may start to the end of its run."""

from __future__ import annotations

from bisect import insort

from streamjobs.engine.ladder import Ladder
from streamjobs.engine.lane import RUN_LENGTH, Lane, Parked, by_place
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.parking import Parking
from streamjobs.engine.records import Move, Record
from streamjobs.engine.results import Outcome
from streamjobs.engine.shard import Shard
from streamjobs.errors import InvalidRecord
from streamjobs.headers import Delivery, Failure, Reason

# As of records that do not decode: a type with its module, as all errors are told.
INVALID_RECORD = f"{InvalidRecord.__module__}.{InvalidRecord.__qualname__}"
# Weight of the last run in the mean duration of jobs.
SMOOTHING = 0.1


class Turns:
    """Starts what may start in the lanes of a shard.

    Args:
        ladder: the queue's topics and policy.
        out: where decisions go.
        parking: where those go whose turn is far off.
    """

    def __init__(self, ladder: Ladder, out: Outbox, parking: Parking) -> None:
        self._ladder, self._out, self._parking = ladder, out, parking

    # -- whose turn it is --------------------------------------------------------------------

    def open(self, shard: Shard, now: float) -> None:
        """All tiers are read: jobs may start, first those whose turn came while this was so."""
        shard.active = True
        for main, lanes in shard.lanes.items():
            for lane in list(lanes.values()):
                if isinstance(lane, Lane):
                    self.advance(shard, main, lane, now)

    def advance(self, shard: Shard, main: str, lane: Lane, now: float) -> None:
        """Start what may start in a lane; forget the lane when nothing is left of it."""
        if lane.running or not shard.active:
            return
        position = shard.logs[main].watermark.position
        run = lane.take_run(now, position)
        if run:
            self._hand_over(shard, main, lane, run, now)
            if not lane.order and not lane.waiting:
                shard.lanes[main][lane.key] = None
        elif lane.waiting or lane.order:
            self._wait_for_main(shard, main, lane, now)
        else:
            del shard.lanes[main][lane.key]

    def tick(self, shard: Shard, now: float) -> None:
        """Let time pass for heads that wait in place."""
        for main, key in list(shard.delayed):
            lane = shard.lanes[main].get(key)
            if isinstance(lane, Lane):
                # A clock that was set back must not make it wait for longer than its delay.
                lane.not_before = min(lane.not_before, now + lane.delay)
                if now < lane.not_before:
                    continue
                lane.not_before = 0.0
                self.advance(shard, main, lane, now)
            shard.delayed.pop((main, key), None)

    def main_advanced(self, shard: Shard, now: float) -> None:
        """Main was received further: records of tiers that waited for it may start."""
        for main, key in list(shard.for_main):
            lane = shard.lanes[main].get(key)
            shard.for_main.pop((main, key), None)
            if isinstance(lane, Lane):
                self.advance(shard, main, lane, now)

    def refuse(self, record: Record, why: str) -> None:
        """A record whose headers cannot be true: to the DLQ, bytes as they came."""
        before = record.delivery or Delivery(attempts=0, rung=0, origin=None)
        failure = Failure(INVALID_RECORD, f"header sj-origin: {why}", "")
        move = Move(record, self._ladder.topics.dlq, before, Reason.INVALID, failure)
        self._out.last_move = move
        self._out.counts["", Outcome.DEAD] += 1
        self._out.move(move)

    def _wait_for_main(self, shard: Shard, main: str, lane: Lane, now: float) -> None:
        """The head of a lane is ready and main was not received past it: wait, or refuse it."""
        head = lane.head(now)
        if head is None or now < lane.not_before:
            return
        log = shard.logs[main]
        end = log.watermark.position or 0
        if not log.at_end or end < log.least_end:
            shard.for_main[main, lane.key] = None
            return
        why = f"{head.place} is past the end of main, {end}"
        if head.held:
            lane.unpark(head.place)
            head.held = False
            head.log.holding -= 1
        else:
            del lane.waiting[0]
            shard.waiting -= 1
        self.refuse(head, why)
        self.advance(shard, main, lane, now)

    def _hand_over(
        self, shard: Shard, main: str, lane: Lane, run: list[Record], now: float
    ) -> None:
        for record in run:
            record.last = False
            if record.held:
                record.held = False
                record.log.holding -= 1
            else:
                shard.waiting -= 1
            record.log.load += 1
        run[-1].last = True
        lane.running, lane.since, lane.handed = True, now, len(run)
        lane.out = run
        shard.starts(main).append(run)

    # -- what ends ---------------------------------------------------------------------------

    def ended(self, shard: Shard, record: Record, now: float) -> None:
        """The last of a run has come back: start what follows, or close the lane."""
        assert record.key is not None  # noqa: S101 - a run without a lane has no followers
        main = shard.main_of(record)
        lanes = shard.lanes[main]
        lane = lanes[record.key]
        if isinstance(lane, Lane):
            lane.running, lane.out = False, []
            if lane.handed:
                seconds = max(0.0, now - lane.since) / lane.handed
                self._out.seconds_each += (seconds - self._out.seconds_each) * SMOOTHING
            self.advance(shard, main, lane, now)
            self._parking.make_way(shard, lane, now)
        elif isinstance(lane, list):
            run, rest = lane[:RUN_LENGTH], lane[RUN_LENGTH:]
            lanes[record.key] = rest or None
            for each in run[:-1]:
                each.last = False
            shard.starts(main).append(run)
        else:
            del lanes[record.key]

    def got_on(self, shard: Shard, record: Record) -> None:
        """A job of a lane has ended while memory is full: its head has not run long."""
        if record.key is not None:
            shard.survey.pop((shard.main_of(record), record.key), None)

    def failed(self, shard: Shard, record: Record, delay: float, now: float) -> None:
        """A record of a lane goes to a tier because it failed: its key is parked."""
        if record.key is not None:
            lane = shard.lane(shard.main_of(record), record.key, now)
            lane.park(record.place, Parked(now + delay, None, waiting=False, era=shard.era))

    def again(self, shard: Shard, record: Record, delay: float, now: float) -> None:
        """A record is tried again in its place, after ``delay`` seconds."""
        self.put_back(shard, record)
        if delay and record.key is not None:
            main = shard.main_of(record)
            lane = shard.lane(main, record.key, now)
            lane.delay, lane.not_before = delay, now + delay
            shard.delayed[main, record.key] = None

    def put_back(self, shard: Shard, record: Record) -> None:
        """Take back a record that did not run to its end: it is in line again at its place."""
        record.result, record.last = None, True
        main = shard.main_of(record)
        lane = None if record.key is None else shard.lanes[main].get(record.key)
        if isinstance(lane, Lane):
            lane.wait(record)
            shard.waiting += 1
            return
        record.log.load += 1
        if record.key is None:
            shard.starts(main).append([record])
        elif isinstance(lane, list):
            insort(lane, record, key=by_place)
        else:
            shard.lanes[main][record.key] = [record]
