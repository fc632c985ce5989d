"""Jobs that were deleted from a tier before they were read: their keys go on without them.

Of a parked job that is not in memory only its place is known. In which tier it stands, and where,
is not: there may be a million. So when records of a tier were deleted, all such places of the shard
are in question. What is read from then on is not, nor what is moved; and when all tiers were read
to where they ended at that time, what is still in question was deleted.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamjobs.engine.lane import Lane
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.shard import Shard
from streamjobs.engine.turns import Turns


class Deletions:
    """Forgets what was deleted.

    Args:
        out: where moves wait to be written.
        turns: starts what follows.
    """

    def __init__(self, out: Outbox, turns: Turns) -> None:
        self._out, self._turns = out, turns

    def told(self, shard: Shard, ends: Mapping[str, int]) -> None:
        """Records were deleted, and after that the tiers ended at ``ends``.

        While a shard is rebuilt that says nothing: what was noted of it is read again.
        """
        if not shard.active:
            return
        shard.era, shard.until = shard.era + 1, ends
        for record in (move.record for move in self._out.moves):
            # Not written yet, so not deleted either.
            if record.log.partition == shard.number and record.key is not None:
                lane = shard.lanes[shard.main_of(record)].get(record.key)
                if isinstance(lane, Lane) and record.place in lane.parked:
                    lane.parked[record.place].era = shard.era

    def go_on(self, shard: Shard, now: float) -> None:
        """Forget what was deleted, once all tiers are read as far as they have to be."""
        for tier, end in shard.until.items():
            log = shard.logs.get(tier)  # none of one that is lost
            if log is not None and (log.watermark.position or 0) < end:
                return
        shard.until = {}
        for main, lanes in shard.lanes.items():
            for key, lane in list(lanes.items()):
                if isinstance(lane, tuple):
                    del lanes[key]  # only ever noted while the shard was rebuilt
                elif isinstance(lane, Lane) and self._forget(lane, shard.era):
                    self._turns.advance(shard, main, lane, now)

    def _forget(self, lane: Lane, era: int) -> bool:
        gone = [at for at, each in lane.parked.items() if each.record is None and each.era < era]
        for place in gone:
            lane.unpark(place)
        return bool(gone)
