"""What goes into one commit: moves, child jobs, offsets, and what is told beside the offsets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import NOTHING, ROOM, Note, pack
from streamjobs.engine.outbox import Outbox, Partition
from streamjobs.engine.records import Log, Move, Record

# Share of the room beside a commit from which on no more of main is fetched.
CROWDED_FROM = 0.75


@dataclass(frozen=True, slots=True)
class Cycle:
    """One commit: everything decided so far.

    Attributes:
        epoch: the assignment it was made in.
        moves: records to write onward.
        children: child jobs to enqueue, each with the record whose success brings it about.
        notes: what to commit, per owned partition of which there is news or that a move is from.
    """

    epoch: int
    moves: list[Move]
    children: list[tuple[Record, Any]]
    notes: dict[Partition, Note]

    @property
    def produces(self) -> bool:
        """Whether it writes records, and so needs a transaction."""
        return bool(self.moves or self.children)

    @property
    def offsets(self) -> dict[Partition, int]:
        """The offset to commit of each partition."""
        return {partition: note.offset for partition, note in self.notes.items()}


class Cycles:
    """Makes the cycles of one queue.

    Args:
        ladder: the queue's topics.
        out: where decisions wait.
    """

    def __init__(self, ladder: Ladder, out: Outbox) -> None:
        self._ladder, self._out = ladder, out

    def take(self, logs: Iterable[Log], epoch: int, *, everything: bool) -> Cycle | None:
        """Take everything decided of these partitions that is not committed; see ``Engine``."""
        notes = {log: note for log in logs if (note := self._note(log)) is not None}
        moves, children = self._out.take(notes)
        sources = {m.record.log for m in moves} | {record.log for record, _ in children}
        chosen: dict[Partition, Note] = {}
        for log, note in notes.items():
            if everything or log in sources or not note.same(log.committed):
                chosen[log.topic, log.partition] = note
                log.told = max(log.told, note.upto)
        if not chosen and not moves and not children:
            return None
        return Cycle(epoch, moves, children, chosen)

    def give_back(self, cycle: Cycle) -> None:
        """Nothing of the cycle was committed: what still holds goes with the next one."""
        self._out.moves[:0] = [m for m in cycle.moves if m.record.log.live]
        self._out.children[:0] = [c for c in cycle.children if c[0].log.live]

    def _note(self, log: Log) -> Note | None:
        """What there is to commit of a partition; None when it has to wait."""
        if not log.watermark.news:
            return self._told_anew(log)
        offset = log.watermark.advance()
        if offset is None:
            return None
        bounds = log.watermark.bounds()
        runs, upto = pack(bounds, ROOM) if bounds else (NOTHING, offset)
        whole = not bounds or upto == bounds[-1]
        log.crowded = not whole or len(runs) > CROWDED_FROM * ROOM
        log.mute = not whole and upto < log.told
        if log.mute:
            # What was told once has to be told again: it waits until there is room for it. What is
            # suspected is told all the same, beside what is known already.
            known = log.committed
            if known is None or known.suspicion == log.suspicion:
                return None
            return known._replace(suspicion=log.suspicion)
        topic_id = self._ladder.topic_ids.get(log.topic)
        log.watermark.news = False
        if log.suspicion.rounds and offset >= log.suspect_upto:
            # All that may have been running has ended.
            log.suspicion = log.suspicion._replace(doubt=False, rounds=0)
        for at, _ in log.suspicion.crashes:
            if at < offset:
                log.suspicion = log.suspicion.without(at)
        log.note = Note(offset, runs, upto, whole, topic_id, log.epoch, log.suspicion)
        return log.note

    def _told_anew(self, log: Log) -> Note | None:
        """The same offsets, with what is suspected by now."""
        note = log.note or log.committed
        if note is not None and note.suspicion != log.suspicion:
            log.note = note._replace(suspicion=log.suspicion)
        return log.note
