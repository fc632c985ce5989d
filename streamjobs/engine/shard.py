"""One shard: everything of a queue with the same partition number, and the lanes inside it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from operator import attrgetter

from streamjobs.engine.records import Log, Message, Record, Run
from streamjobs.headers import headers_of, read_delivery

_by_origin = attrgetter("origin")


class Shard:
    """The lanes of one partition number.

    A lane is the jobs of one key: one runs at a time, and followers wait in memory by origin.
    ``lanes`` has an entry for each busy lane only: its waiting followers, or None while there are
    none, which is nearly always.

    Attributes:
        number: the partition number.
        active: whether all its partitions are owned, so that its jobs may start.
        starts: runs ready to be handed to the executor; the engine empties it.
        early: what arrived before the shard was whole, in order: batches, and end offsets.
    """

    __slots__ = ("active", "early", "lanes", "logs", "number", "starts")

    def __init__(self, number: int, starts: list[Run]) -> None:
        self.number, self.starts = number, starts
        self.active = False
        self.lanes: dict[bytes, Run | None] = {}
        self.logs: dict[str, Log] = {}
        self.early: list[tuple[Log, Sequence[Message] | int]] = []

    def wipe(self) -> None:
        """Give up everything in hand; what is still owned has to be read again."""
        self.active = False
        self.lanes.clear()
        self.early.clear()

    def receive_main(self, log: Log, batch: Sequence[Message]) -> None:
        """Take in records of the main topic, in their order."""
        offsets: list[int] = [m.offset() for m in batch]  # type: ignore[misc]
        log.watermark.received(offsets)
        log.load += len(batch)
        lanes, starts = self.lanes, self.starts
        for message, offset in zip(batch, offsets, strict=True):
            key = message.key()
            record = Record(log, offset, key, message)
            if key is None:
                starts.append([record])
            elif key not in lanes:
                lanes[key] = None
                starts.append([record])
            else:
                followers = lanes[key]
                if followers is None:
                    lanes[key] = [record]
                else:
                    followers.append(record)

    def receive_tier(self, log: Log, batch: Sequence[Message]) -> None:
        """Take in records of a retry tier: they are held until they are due."""
        offsets: list[int] = [m.offset() for m in batch]  # type: ignore[misc]
        log.watermark.received(offsets)
        delay = log.delay or 0.0
        for message, offset in zip(batch, offsets, strict=True):
            delivery = read_delivery(headers_of(message), rung=log.rung)
            due = message.timestamp()[1] / 1000 + delay
            log.held.append((due, Record(log, offset, message.key(), message, delivery)))

    def release_due(self, log: Log, now: float) -> None:
        """Let the due records of a tier join their lanes."""
        held = log.held
        while held and held[0][0] <= now:
            self.join(held.popleft()[1])

    def join(self, record: Record) -> None:
        """Start a record that came from a tier, or let it wait in its lane by its origin."""
        record.log.load += 1
        if record.key is None:
            self.starts.append([record])
        elif record.key not in self.lanes:
            self.lanes[record.key] = None
            self.starts.append([record])
        else:
            followers = self.lanes[record.key]
            if followers is None:
                self.lanes[record.key] = [record]
            else:
                insort(followers, record, key=_by_origin)

    def put_back(self, record: Record) -> None:
        """Take back a record that a run did not start: it is first in line again."""
        record.result, record.last = None, True
        record.log.load += 1
        if record.key is None:
            self.starts.append([record])
        else:
            followers = self.lanes[record.key] = self.lanes.get(record.key) or []
            insort(followers, record, key=_by_origin)

    def free(self, key: bytes) -> None:
        """A run of this lane has ended: start its followers together, or close the lane."""
        followers = self.lanes[key]
        if not followers:
            del self.lanes[key]
            return
        self.lanes[key] = None
        for record in followers[:-1]:
            record.last = False
        self.starts.append(followers)
