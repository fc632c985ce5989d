"""Back-pressure: when memory is full, which main topics to fetch no more of."""

from __future__ import annotations

from collections.abc import Collection

from streamjobs.engine.ladder import Ladder
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.shard import Shard

# Seconds that memory may be full before main is paused; the caller bridges less by not polling.
FULL_BEFORE_PAUSE = 1.0


class Pressure:
    """Pauses and resumes main partitions of one queue by the load in hand.

    A main partition that a tier's record waits for is never paused: its turn would not come.

    Args:
        ladder: the queue's topics.
        out: where decisions go.
        capacity: records in hand above which memory is full.
    """

    def __init__(self, ladder: Ladder, out: Outbox, capacity: int) -> None:
        self._ladder, self._out, self._capacity = ladder, out, capacity
        self._full_since: float | None = None
        self._next_survey = 0.0

    def regulate(self, shards: Collection[Shard], now: float) -> bool:
        """Pause or resume; True about once a second while memory is full for longer than one."""
        total = sum(shard.load for shard in shards)
        full_for = self._full_for(total, now)
        crowded = self._crowded(shards)
        for shard in shards:
            if not shard.active or shard.still:
                continue
            needed = {main for main, _ in shard.for_main}
            for main in self._ladder.mains:
                log = shard.logs[main]
                if main in needed:
                    self._out.resume(log)
                elif log.crowded and not log.watermark.inherited.bounds:
                    # More that ends out of order could not be told beside a commit; but what the
                    # last owner left incomplete has to be read, or there will never be more room.
                    self._out.pause(log)
                elif total <= self._capacity // 2 or main not in crowded:
                    self._out.resume(log)
                elif full_for > FULL_BEFORE_PAUSE:
                    self._out.pause(log)
        if full_for <= FULL_BEFORE_PAUSE or 0 < self._next_survey - now <= FULL_BEFORE_PAUSE:
            return False
        self._next_survey = now + FULL_BEFORE_PAUSE
        return True

    def _full_for(self, total: int, now: float) -> float:
        if total < self._capacity:
            self._full_since = None
        elif self._full_since is None or self._full_since > now:
            self._full_since = now
        return 0.0 if self._full_since is None else now - self._full_since

    def _crowded(self, shards: Collection[Shard]) -> set[str]:
        """The main topics to hold back.

        A backlog of the less urgent keeps no more urgent out, nor does one of retries that are due.
        """
        mains = self._ladder.mains
        crowded, urgent = set(), 0
        for main in mains:
            urgent += sum(shard.logs[main].load for shard in shards if main in shard.logs)
            if urgent >= self._capacity // 2:
                crowded.add(main)
        return crowded
