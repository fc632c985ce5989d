"""A lane with something in the tiers: who may start, who waits here, and who is moved.

The order of a lane is the order of origins, its places. Most lanes never have anything in a tier;
for those a shard keeps next to nothing. This is the other kind.

Rule 1. A record may start only if its place is the lowest outstanding one of its lane, nothing of
the lane runs, and, for a record from a tier, main has been received past its place: what stands
before it in main may not have been read yet.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from operator import attrgetter

from streamjobs.engine.records import Record, Run

by_place = attrgetter("place")

# A predecessor that is due within this many seconds is worth waiting for in memory.
SOON = 2.0
# Jobs handed over at once: what is handed over can no longer be moved out of the way.
RUN_LENGTH = 64


class Parked:
    """A job of the lane in a tier.

    Attributes:
        due: when it may start, in seconds since the epoch; an estimate until it was read back.
        record: it, when it is in the tier's buffer; None while it is only in the log.
        waiting: whether it was moved only because of its predecessors. It has served its own delay
            (or never had one), so it need not wait until it is due when its turn comes earlier.
        era: of its shard, when it was moved; see ``Deletions``.
    """

    __slots__ = ("due", "era", "record", "waiting")

    def __init__(self, due: float, record: Record | None, *, waiting: bool, era: int = 0) -> None:
        self.due, self.record, self.waiting, self.era = due, record, waiting, era

    def startable(self, now: float) -> bool:
        """Whether it is in memory, and its own delay is over."""
        return self.record is not None and (self.waiting or self.due <= now)


class Lane:
    """The outstanding jobs of one key with at least one in a tier.

    Attributes:
        key: the lane's key.
        order: the places of the parked jobs, ascending.
        parked: those jobs, by place.
        waiting: records in memory, by place, ascending.
        running: whether a run of it is out; ``out``: that run, for as long as it is known.
        since: when that run began, in seconds since the epoch.
        handed: how many jobs it has; 0 for a run that began before the lane had anything in a tier.
        delay, not_before: of a lane whose head waits in place: for how long, and until when.
    """

    __slots__ = (
        "delay",
        "handed",
        "key",
        "not_before",
        "order",
        "out",
        "parked",
        "running",
        "since",
        "waiting",
    )

    def __init__(self, key: bytes, now: float) -> None:
        self.key = key
        self.order: list[int] = []
        self.parked: dict[int, Parked] = {}
        self.waiting: list[Record] = []
        self.out: Run = []
        self.running = False
        self.since = now
        self.handed = 0
        self.delay = self.not_before = 0.0

    def park(self, place: int, parked: Parked) -> None:
        """Note that the job at ``place`` is in a tier."""
        if place not in self.parked:
            insort(self.order, place)
        self.parked[place] = parked

    def unpark(self, place: int) -> None:
        """Forget that the job at ``place`` is in a tier."""
        del self.parked[place]
        del self.order[bisect_left(self.order, place)]

    def wait(self, record: Record) -> None:
        """Keep a record in memory at its place."""
        insort(self.waiting, record, key=by_place)

    def waits(self, place: int) -> bool:
        """Whether the job at ``place`` is in line in memory."""
        index = bisect_left(self.waiting, place, key=by_place)
        return index < len(self.waiting) and self.waiting[index].place == place

    def near(self, place: int, now: float) -> bool:
        """Whether the line up to ``place`` will move soon, so that waiting in memory is right.

        The head of the line has to run, be in memory, or be due soon, and so has the predecessor:
        behind a thousand that are still in the log it would be a long wait.
        """
        if not self.running and not self._head_near(place, now):
            return False
        before = bisect_left(self.order, place) - 1
        if before < 0:
            return True
        predecessor = self.order[before]
        index = bisect_left(self.waiting, place, key=by_place)
        if index and self.waiting[index - 1].place > predecessor:
            return True
        parked = self.parked[predecessor]
        return parked.record is not None or parked.due <= now + SOON

    def _head_near(self, place: int, now: float) -> bool:
        if not self.order or place < self.order[0]:
            return True
        if self.waiting and self.waiting[0].place < self.order[0]:
            return True
        head = self.parked[self.order[0]]
        return head.due <= now + SOON or head.startable(now)

    def ready_at(self, place: int, now: float, seconds_each: float) -> float:
        """When the job at ``place`` can be expected to have its turn."""
        begin = now
        if not self.running and self.order:
            head = self.parked[self.order[0]]
            if not self.waiting or self.waiting[0].place > self.order[0]:
                begin = now if head.startable(now) else max(now, head.due)
        ahead = bisect_left(self.order, place) + bisect_left(self.waiting, place, key=by_place)
        return begin + ahead * seconds_each

    def take_run(self, now: float, position: int | None) -> Run:
        """Take what may start now, in order; ``position`` is how far main was received."""
        run: Run = []
        if now < self.not_before:
            return run
        while len(run) < RUN_LENGTH:
            record = self.head(now)
            if record is None or (record.log.delay is not None and (position or 0) <= record.place):
                break
            if record.held:
                self.unpark(record.place)
            else:
                del self.waiting[0]
            run.append(record)
        return run

    def head(self, now: float) -> Record | None:
        """The record at the lowest outstanding place, if it is in memory and its delay is over."""
        if self.waiting and (not self.order or self.waiting[0].place <= self.order[0]):
            return self.waiting[0]
        if not self.order:
            return None
        head = self.parked[self.order[0]]
        return head.record if head.startable(now) else None
