"""What was decided and is not carried out: where all parts of the engine put their decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamjobs.engine.metadata import Note
from streamjobs.engine.records import Log, Move, Record, Run

Partition = tuple[str, int]
# Where to read from when nothing was ever committed; librdkafka's OFFSET_BEGINNING.
BEGINNING = -2


@dataclass(slots=True)
class Flow:
    """What the consumer has to be told, in this order: seek, pause, resume."""

    seek: list[tuple[str, int, int]] = field(default_factory=list)
    pause: list[Partition] = field(default_factory=list)
    resume: list[Partition] = field(default_factory=list)


@dataclass(slots=True)
class Outbox:
    """Decisions that wait: runs to start, records to move, children to enqueue, flow.

    Attributes:
        starts: by urgency, the rank of their main topic: 0 is the most urgent.
        children: each with the record whose success brings it about.
        seconds_each: a job's mean duration in lanes that have something in a tier, in seconds.
        last_move: the move decided last, as a sample for the log.
        counts: outcomes, by (job name, outcome).
    """

    starts: list[list[Run]]
    moves: list[Move] = field(default_factory=list)
    children: list[tuple[Record, Any]] = field(default_factory=list)
    flow: Flow = field(default_factory=Flow)
    seconds_each: float = 0.001
    last_move: Move | None = None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def move(self, move: Move) -> None:
        """Write a record onward and complete it where it came from, in one transaction."""
        self.moves.append(move)
        move.record.log.watermark.complete(move.record.offset)

    def first(self, count: int) -> list[list[Run]]:
        """Take so many runs of what may start, the most urgent, by urgency."""
        first: list[list[Run]] = []
        for runs in self.starts:
            first.append(runs[:count])
            del runs[:count]
            count -= len(first[-1])
        return first

    def take(self, notes: Mapping[Log, Note]) -> tuple[list[Move], list[tuple[Record, Any]]]:
        """Take what is to be written, but for what could not be told beside the commit.

        A record that is carried on and not told to be complete would be carried on again after a
        crash; it goes when there is room for it, at the latest when it is the lowest of all.
        """

        def told(record: Record) -> bool:
            note = notes.get(record.log)
            if note is None or record.log.mute:
                return False
            return note.whole or record.offset < note.upto

        moves = [m for m in self.moves if told(m.record)]
        children = [c for c in self.children if told(c[0])]
        self.moves = [m for m in self.moves if not told(m.record)]
        self.children = [c for c in self.children if not told(c[0])]
        return moves, children

    def pause(self, log: Log) -> None:
        """Have no more fetched of a partition."""
        if not log.paused:
            log.paused = True
            _last_word((log.topic, log.partition), self.flow.pause, self.flow.resume)

    def resume(self, log: Log) -> None:
        """Have a partition fetched again."""
        if log.paused:
            log.paused = False
            _last_word((log.topic, log.partition), self.flow.resume, self.flow.pause)

    def seek(self, log: Log, offset: int) -> None:
        """Have a partition read again from ``offset``; what arrives before that is dropped."""
        log.stale = True
        self.flow.seek.append((log.topic, log.partition, offset))

    def forget_dead(self) -> None:
        """Drop what belongs to assignments that are over."""
        for runs in self.starts:
            runs[:] = [run for run in runs if run[0].log.live]
        self.moves[:] = [move for move in self.moves if move.record.log.live]
        self.children[:] = [child for child in self.children if child[0].log.live]


def _last_word(pair: Partition, said: list[Partition], unsaid: list[Partition]) -> None:
    """Say this of a partition in place of the opposite: both may be decided in one turn."""
    if pair in unsaid:
        unsaid.remove(pair)
    said.append(pair)
