"""Rule 2: who waits for its predecessors in memory, and who is moved to a tier.

A record waits in memory when its line moves soon and there is room. Else it goes to the tier in
which it comes due about when its turn comes, attempts and rung unchanged.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from streamjobs.engine.ladder import Ladder
from streamjobs.engine.lane import Lane, Parked, by_place
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.records import Move, Record
from streamjobs.engine.shard import Shard
from streamjobs.headers import Reason

# Followers in memory, per lane and per shard; the lowest places are kept.
LANE_CAP, SHARD_CAP = 1_000, 10_000


class Parking:
    """Finds a place for records that may not start yet.

    Args:
        ladder: the queue's topics and policy.
        out: where decisions go.
    """

    def __init__(self, ladder: Ladder, out: Outbox) -> None:
        self._ladder, self._out = ladder, out

    def line_up(self, shard: Shard, lane: Lane, record: Record, now: float) -> None:
        """Keep a record in memory when the line moves soon and there is room, else move it."""
        if record.place in lane.parked or lane.waits(record.place):
            # An older copy of a job that is in a tier, or came from one: this one is complete.
            record.log.watermark.complete(record.offset)
        elif lane.near(record.place, now) and self._room(shard, lane, record, now):
            lane.wait(record)
            shard.waiting += 1
        else:
            self._park(shard, lane, record, now)

    def make_way(self, shard: Shard, lane: Lane, now: float) -> None:
        """After a run: when the line will not move soon, those that wait in memory are moved.

        Not where later ones were moved before, since there was no room for them: behind those in
        the tier's log the next in line would be the last to be read.
        """
        if lane.running or not lane.waiting or not lane.order:
            return
        if lane.order[-1] > lane.waiting[-1].place or lane.near(lane.waiting[0].place, now):
            return
        records, lane.waiting = lane.waiting, []
        shard.waiting -= len(records)
        for record in records:
            self.line_up(shard, lane, record, now)

    def move_followers(self, shard: Shard, patience: float, now: float) -> None:
        """Memory is full: move the followers of heads that have run for over ``patience`` seconds.

        Asked about once a second, so a head's time is known to a second.
        """
        if self._ladder.wait(0.0) is None:
            return
        before, shard.survey = shard.survey, {}
        for main, lanes in shard.lanes.items():
            for key, followers in list(lanes.items()):
                if not isinstance(followers, list):
                    continue
                since = min(now, before.get((main, key), now))
                if now - since <= patience:
                    shard.survey[main, key] = since
                    continue
                lane = shard.lane(main, key, now)
                surplus, lane.waiting = lane.waiting, []
                shard.waiting -= len(surplus)
                for record in surplus:
                    self._park(shard, lane, record, now)

    def make_room(self, shard: Shard, now: float) -> None:
        """What ends out of order is nearly too much to be told: move all that wait for a tier.

        They are what stays incomplete for long. What runs or is about to ends by itself.
        """
        if self._ladder.wait(0.0) is None:
            return
        for lanes in shard.lanes.values():
            for lane in list(lanes.values()):
                if not isinstance(lane, Lane) or not lane.waiting or not lane.order:
                    continue
                first = bisect_left(lane.waiting, lane.order[0], key=by_place)
                surplus = lane.waiting[first:]
                del lane.waiting[first:]
                shard.waiting -= len(surplus)
                for record in surplus:
                    self._park(shard, lane, record, now)

    def _room(self, shard: Shard, lane: Lane, record: Record, now: float) -> bool:
        if not lane.waiting or record.place < lane.waiting[0].place:
            return True  # the next in line has a place, whatever is full
        if len(lane.waiting) < LANE_CAP and shard.waiting < SHARD_CAP:
            return True
        if lane.waiting[-1].place < record.place:
            return False
        evicted = lane.waiting.pop()
        shard.waiting -= 1
        self._park(shard, lane, evicted, now)
        return True

    def _park(self, shard: Shard, lane: Lane, record: Record, now: float) -> None:
        """Move a record to a tier in which it will come due about when its turn comes."""
        ready = lane.ready_at(record.place, now, self._out.seconds_each)
        delay = self._ladder.wait(ready - now)
        if delay is None:
            lane.wait(record)
            shard.waiting += 1
            return
        before = shard.delivery(record)
        after = replace(before, waiting=True)
        topic = self._ladder.topics.tier(delay)
        self._out.move(Move(record, topic, after, Reason.WAITING, None))
        lane.park(record.place, Parked(now + delay, None, waiting=True, era=shard.era))
