"""Taking a shard and giving it up: the steps between ownership and the first start.

The steps in their order: all partitions owned; the caller's answer (stable committed offsets, then
the tiers' high watermarks); the tiers read to those; main read on; jobs start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamjobs.engine.intake import Intake
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import NOTHING, ROOM, Committed, Note, pack
from streamjobs.engine.outbox import BEGINNING, Outbox
from streamjobs.engine.records import Log, Message
from streamjobs.engine.shard import Shard
from streamjobs.engine.turns import Turns

# Records of a partition that its last owner may have received since its last commit: as many as a
# worker has in hand. Which of them ran is not known.
SUSPECTS = 2_000
# Batches that arrive of a shard before it is known where it stands; then its partitions pause.
EARLY_BATCHES = 16


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
        self,
        shard: Shard,
        committed: Mapping[str, Committed | None],
        ends: Mapping[str, int],
        now: float,
    ) -> None:
        """Take in where the shard's partitions stand; see ``Engine.taken``."""
        for topic, log in shard.logs.items():
            base = committed.get(topic)
            if base is not None and self._renewed(topic, base):
                # The offset counts records of a topic that is no more.
                base = None
                shard.early = [e for e in shard.early if e[0] is not log]
                self._out.seek(log, BEGINNING)
            elif log.stale:
                self._out.seek(log, BEGINNING if base is None else base.offset)
            _begin(log, base)
            if log.delay is None:
                log.least_end = ends.get(topic, 0)
            elif topic in ends and ends[topic] > (0 if base is None else base.offset):
                log.target = ends[topic]
            # It may have been filled and paused before it was known where it stands.
            self._out.resume(log)
        shard.answered = True
        early, shard.early = shard.early, []
        for log, what in early:
            self.arrived(shard, log, what, now)
        self.go_on(shard, now)
        if any(log.target is not None for log in shard.logs.values()):
            for main in self._ladder.mains:
                self._out.pause(shard.logs[main])

    def arrived(self, shard: Shard, log: Log, what: Sequence[Message] | int, now: float) -> None:
        """Take in records, or an end, of a shard that is not active.

        Before it is known which of them are complete they only wait; then tiers are read, and
        main waits until that is done.
        """
        if not shard.answered or log.delay is None:
            shard.early.append((log, what))
            if not shard.answered and len(shard.early) > EARLY_BATCHES:
                self._out.pause(log)
        elif isinstance(what, int):
            self._intake.tier_ended(log, what)
        else:
            self._intake.tier(shard, log, what, now)

    def _renewed(self, topic: str, base: Committed) -> bool:
        """Whether the topic was deleted and made again since the last commit."""
        then = None if base.metadata is None else base.metadata.topic_id
        today = self._ladder.topic_ids.get(topic)
        return then is not None and today is not None and then != today

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
        # A seek or a pause that the consumer was not told must not meet a later assignment, which
        # knows nothing of it and would never take it back.
        seeks, pauses = self._out.flow.seek, self._out.flow.pause
        seeks[:] = [seek for seek in seeks if seek[1] != shard.number]
        pauses[:] = [pause for pause in pauses if pause[1] != shard.number]
        for topic, old in list(shard.logs.items()):
            old.live = old.begins = False
            fresh = Log(topic, old.partition, old.delay, old.rung)
            fresh.stale, fresh.paused = True, old.paused
            self._out.resume(fresh)
            shard.logs[topic] = fresh


def _begin(log: Log, base: Committed | None) -> None:
    """Begin where the last owner has ended."""
    if base is None:
        return
    watermark, runs, upto = log.watermark, NOTHING, base.offset
    if watermark.position is None:
        watermark.position = base.offset
    if base.metadata is not None:
        watermark.inherited, log.epoch = base.metadata.above, base.metadata.epoch
        runs, upto = pack(base.metadata.above.bounds, ROOM)
        log.told = watermark.inherited.upto
    log.suspicion, log.alone, log.last_epoch = base.suspicion, base.alone, log.epoch
    if base.vanished:
        tried = [offset + 1 for offset, _ in base.suspicion.crashes]
        log.suspect_upto = max(base.offset, watermark.inherited.upto, *tried) + SUSPECTS
    topic_id = None if base.metadata is None else base.metadata.topic_id
    note = Note(base.offset, runs, upto, whole=True, topic_id=topic_id, epoch=log.epoch)
    log.committed = note._replace(suspicion=log.suspicion)
