"""Taking a shard and giving it up: the steps between ownership and the first start.

The steps in their order: all partitions owned; the caller's answer (stable committed offsets, then
the tiers' high watermarks); the tiers read to those; main read on; jobs start.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamjobs.engine.intake import Intake
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.outbox import BEGINNING, Outbox
from streamjobs.engine.records import Log
from streamjobs.engine.shard import Shard
from streamjobs.engine.turns import Turns


class Taking:
    """Brings a shard from ownership to its first start.

    Args:
        ladder: the queue's topics and policy.
        out: where decisions go.
        turns: starts what may start.
        intake: takes what arrived of main meanwhile.
    """

    def __init__(self, ladder: Ladder, out: Outbox, turns: Turns, intake: Intake) -> None:
        self._ladder, self._out, self._turns, self._intake = ladder, out, turns, intake

    def answered(
        self, shard: Shard, committed: Mapping[str, int | None], ends: Mapping[str, int]
    ) -> None:
        """Take in where the shard's partitions stand; see ``Engine.taken``."""
        for topic, log in shard.logs.items():
            base = committed.get(topic)
            log.committed = base
            if log.stale:
                self._out.seek(log, BEGINNING if base is None else base)
            elif log.watermark.position is None:
                log.watermark.position = base
            if topic in ends and ends[topic] > (base or 0):
                log.target = ends[topic]
                # It may have been filled and paused before its end was known.
                self._out.resume(log)
        shard.answered = True
        self.go_on(shard, 0.0)
        if any(log.target is not None for log in shard.logs.values()):
            for main in self._ladder.mains:
                self._out.pause(shard.logs[main])

    def go_on(self, shard: Shard, now: float) -> None:
        """Start a shard once all of its tiers are read to the ends that were asked for."""
        if not shard.answered:
            return
        for log in shard.logs.values():
            if log.target is not None and (log.scanned or 0) < log.target:
                return
        if any(log.stale for log in shard.logs.values()):
            return
        for log in shard.logs.values():
            log.target = None
            if log.refetch is not None:
                self._out.seek(log, log.refetch)
                log.refetch = None
            if log.delay is None:
                self._out.resume(log)
        self._turns.open(shard, now)
        early, shard.early = shard.early, []
        for log, what in early:
            if isinstance(what, int):
                self._intake.main_ended(shard, log, what, now)
            else:
                self._intake.main(shard, log, what, now)

    def give_up(self, shard: Shard) -> None:
        """Nothing in hand may start or be committed; what is still owned is read again."""
        shard.wipe()
        # A seek that the consumer was not told must not meet a later assignment.
        seeks = self._out.flow.seek
        seeks[:] = [seek for seek in seeks if seek[1] != shard.number]
        for topic, old in list(shard.logs.items()):
            old.live = False
            fresh = Log(topic, old.partition, old.delay, old.rung)
            fresh.stale, fresh.paused = True, old.paused
            self._out.resume(fresh)
            shard.logs[topic] = fresh
