"""What arrives finds its place: records of main in their lanes, records of tiers until due."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from streamjobs.engine.ladder import Ladder, Ordering
from streamjobs.engine.lane import Lane, Parked, by_place
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.parking import Parking
from streamjobs.engine.records import Log, Message, Record
from streamjobs.engine.shard import ONE_LANE, Shard
from streamjobs.engine.turns import Turns
from streamjobs.headers import MAX_COUNT, headers_of, read_delivery, read_place

# Records of a tier held in memory until due; only above it is the partition paused, since a pause
# throws the client's prefetched records away (librdkafka rd_kafka_toppar_pause_resume).
HELD_PER_TIER = 2_000
# Of those that were taken out of turn, how many may be left in the buffer, beside as many as wait.
LEFT = 500


class Intake:
    """Takes records into a shard.

    Args:
        ladder: the queue's topics and policy.
        out: where decisions go.
        parking: where those go that may not start yet.
        turns: starts what may start.
    """

    def __init__(self, ladder: Ladder, out: Outbox, parking: Parking, turns: Turns) -> None:
        self._ladder, self._out, self._parking, self._turns = ladder, out, parking, turns

    def main(self, shard: Shard, log: Log, batch: Sequence[Message], now: float) -> None:
        """Take in records of a main topic, in their order."""
        log.at_end = False
        last: int = batch[-1].offset()  # type: ignore[assignment]
        batch = _news(log, batch)
        _see_epoch(log, batch)
        offsets: list[int] = [m.offset() for m in batch]  # type: ignore[misc]
        if offsets:
            log.watermark.received(offsets)
        log.watermark.ended(last + 1)
        log.load += len(batch)
        lanes, starts = shard.lanes[log.topic], shard.starts(log.topic)
        one_key = {Ordering.NONE: None, Ordering.PARTITION: ONE_LANE}
        by_key = self._ladder.ordering is Ordering.KEY
        suspect_upto = log.suspect_upto
        for message, offset in zip(batch, offsets, strict=True):
            key = message.key() if by_key else one_key[self._ladder.ordering]
            record = Record(log, offset, key, message)
            if offset < suspect_upto:
                _suspect(shard, record)
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
                    self._parking.line_up(shard, shard.lane(log.topic, key, now), record, now)
        if shard.for_main:
            self._turns.main_advanced(shard, now)

    def main_ended(self, shard: Shard, log: Log, offset: int, now: float) -> None:
        """The consumer has reached the end of a main topic's partition."""
        if offset < (log.watermark.position or 0):
            return  # an end that another reader has read past
        log.watermark.ended(offset)
        log.at_end = True
        _suspect_below(log, offset)
        if shard.for_main:
            self._turns.main_advanced(shard, now)

    def tier(self, shard: Shard, log: Log, batch: Sequence[Message], now: float) -> None:
        """Take in records of a retry tier: they are held until due, or until their turn.

        While the shard is rebuilt all of a tier is read to know what is outstanding, but only the
        first of it is held; the rest is read again later.
        """
        received: list[int] = []
        last: int = 1 + batch[-1].offset()  # type: ignore[operator]
        log.scanned = max(log.scanned or 0, last)
        batch = _news(log, batch)
        _see_epoch(log, batch)
        delay = log.delay or 0.0
        for message in batch:
            offset: int = message.offset()  # type: ignore[assignment]
            due = message.timestamp()[1] / 1000 + delay
            if log.target is None or (log.refetch is None and log.holding < HELD_PER_TIER):
                received.append(offset)
                delivery = read_delivery(headers_of(message), rung=log.rung)
                record = Record(log, offset, shard.lane_key(message), message, delivery)
                if offset < log.suspect_upto:
                    _suspect(shard, record)
                self._hold(shard, record, due, now)
                continue
            if log.refetch is None:
                log.refetch = offset
            self._know(shard, message, due, now)
        if received:
            log.watermark.received(received)
        if log.refetch is None:
            log.watermark.ended(last)
        if len(log.held) > 2 * log.holding + LEFT:
            # Most were taken before they were due: those are not kept until then.
            log.held = deque(each for each in log.held if each[1].held)
        if log.holding >= HELD_PER_TIER and log.target is None:
            self._out.pause(log)

    def tier_ended(self, log: Log, offset: int) -> None:
        """The consumer has reached the end of a retry tier's partition."""
        log.scanned = max(log.scanned or 0, offset)
        _suspect_below(log, offset)
        if log.refetch is None:
            log.watermark.ended(offset)

    def release_due(self, shard: Shard, log: Log, now: float, most: int) -> None:
        """Let the due records of a tier take their place in line, or move on.

        Args:
            shard: whose.
            log: the tier's.
            now: seconds since the epoch.
            most: as many as there is room for in memory. The others are held, as if they were not
                due, and where there are many the tier is not read on: after an outage all of a tier
                may be due at once.
        """
        held = log.held
        while most > 0 and held and held[0][0] <= now:
            record = held.popleft()[1]
            if record.held:
                record.held = False
                log.holding -= 1
                self._due(shard, record, now)
                most -= 1

    def _hold(self, shard: Shard, record: Record, due: float, now: float) -> None:
        """Keep a record of a tier in memory, and give it its place in its lane."""
        record.held = True
        record.log.held.append((due, record))
        record.log.holding += 1
        key, delivery = record.key, record.delivery
        origin = None if delivery is None else delivery.origin
        if key is None or delivery is None or origin is None or origin.partition != shard.number:
            return  # it is judged when it is due: nothing waits for it
        main, record.place = self._ladder.main_of(origin)
        lane = shard.lane(main, key, now)
        if not self._newest(shard, lane, record):
            _drop(record)
            noted = lane.parked.get(record.place)
            if noted is not None and noted.record is None:
                lane.unpark(record.place)  # this is what was noted, and it will not come again
            return
        lane.park(record.place, Parked(due, record, waiting=delivery.waiting))
        # What is due already is let go with the others that are, as far as there is room.
        if lane.order[0] == record.place and now < due:
            self._turns.advance(shard, main, lane, now)

    def _know(self, shard: Shard, message: Message, due: float, now: float) -> None:
        """Note the place of a record that will be read again later."""
        origin, waiting = read_place(headers_of(message))
        key = shard.lane_key(message)
        if key is None or origin is None or origin[1] != shard.number:
            return
        main, place = self._ladder.place_of(origin[0], origin[2])
        lanes = shard.lanes[main]
        if key not in lanes:
            lanes[key] = (place, due, waiting)
            return
        lane = shard.lane(main, key, now)
        there = lane.parked.get(place)
        if there is not None and there.record is not None:
            return  # of the two the newer counts, once this one is read again
        lane.park(place, Parked(due, None, waiting=waiting))
        if lane.order[0] == place:
            self._turns.advance(shard, main, lane, now)

    def _newest(self, shard: Shard, lane: Lane, record: Record) -> bool:
        """Whether no newer copy of its job is in memory; an older one is dropped for it.

        A job has several copies when a crash undid what had been decided about one of them.
        """
        if any(r.place == record.place and _age(record) < _age(r) for r in lane.out):
            return False
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
            shard.waiting -= 1
        _drop(other)
        return True

    def _due(self, shard: Shard, record: Record, now: float) -> None:
        delivery = record.delivery
        origin = None if delivery is None else delivery.origin
        if origin is None or origin.partition != shard.number:
            self._turns.refuse(record, "no origin in this partition")
        elif record.key is None:
            record.log.load += 1
            shard.starts(self._ladder.main_of(origin)[0]).append([record])
        else:
            main = self._ladder.main_of(origin)[0]
            lane = shard.lane(main, record.key, now)
            if record.place in lane.parked:
                lane.unpark(record.place)
            self._parking.line_up(shard, lane, record, now)
            self._turns.advance(shard, main, lane, now)


def _news(log: Log, batch: Sequence[Message]) -> Sequence[Message]:
    """What of a batch was not received before, and was not completed by the last owner.

    Another reader may have brought what the consumer brings again (``Engine.read_ahead``), and a
    consumer that is assigned anew begins where it is told to.

    A record of a later leader epoch than the last owner saw stands where others stood before an
    unclean election cut them off: from there on nothing that was told holds.
    """
    position = log.watermark.position
    if position is not None and batch[0].offset() < position:  # type: ignore[operator]
        batch = [m for m in batch if m.offset() >= position]  # type: ignore[operator]
    watermark, seen = log.watermark, log.epoch
    if not watermark.inherited.bounds:
        return batch
    if seen is not None:
        for message in batch:
            offset: int = message.offset()  # type: ignore[assignment]
            if offset >= watermark.inherited.upto:
                break
            if (message.leader_epoch() or 0) > seen:
                watermark.inherited, watermark.news = watermark.inherited.cut(offset), True
                break
    complete = watermark.inherited.complete
    return [m for m in batch if not complete(m.offset())]  # type: ignore[arg-type]


def _see_epoch(log: Log, batch: Sequence[Message]) -> None:
    """Remember the latest leader epoch: what is read again has earlier ones than was told."""
    epoch = batch[-1].leader_epoch() if batch else None
    if epoch is not None and (log.epoch is None or epoch > log.epoch):
        log.epoch = epoch


def _suspect_below(log: Log, end: int) -> None:
    """What is written from a log's end on was in nobody's hands."""
    if end < log.suspect_upto:
        log.suspect_upto, log.watermark.news = end, True


def _suspect(shard: Shard, record: Record) -> None:
    """Workers may have vanished by it; where one has while it tried it alone, that counts."""
    record.suspect = True
    log = record.log
    if log.suspicion.crashes and (count := log.suspicion.of(record.offset)):
        if log.last_epoch is not None and (record.message.leader_epoch() or 0) > log.last_epoch:
            # Another record, written there after an unclean election.
            log.suspicion = log.suspicion.without(record.offset)
            return
        before = shard.delivery(record)
        record.delivery = replace(
            before,
            crashes=min(before.crashes + count, MAX_COUNT),
            waiting=False,
        )


def _drop(record: Record) -> None:
    """Of two copies of one job the newer counts; the older is complete."""
    if record.held:
        record.held = False
        record.log.holding -= 1
    record.log.watermark.complete(record.offset)


def _age(record: Record) -> tuple[int, int]:
    """What makes one copy of a job newer than another: more attempts, then the later stamp."""
    return record.attempts, record.message.timestamp()[1]
