"""One shard: everything of a queue with the same partition number, and the lanes inside it.

A lane is the jobs of one (priority, key): one runs at a time, in the order of their places.
``lanes`` has an entry for each lane that is busy or has something in a tier: ``None`` while one job
runs and nobody waits, which is nearly always; a list of followers while nothing is in a tier; a
tuple while no more than one job in a tier is known; else a ``Lane``.

This is what is known of a shard. What may start is decided in ``turns``, who waits in memory and
who is moved in ``parking``; ``intake`` puts in its place what arrives, and ``taking`` brings a
shard from ownership to its first start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamjobs.engine.ladder import Ladder, Ordering
from streamjobs.engine.lane import Lane, Parked
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.records import Log, Message, Record, Run
from streamjobs.headers import Delivery, Origin

# The key of the one lane of a queue with ordering="partition".
ONE_LANE = b""

# A lane with one job, which is in a tier and not in memory: its place, when it is due, and whether
# it only waits. Of a million parked keys nearly all are like that.
Sole = tuple[int, float, bool]
Lanes = dict[bytes, "list[Record] | Sole | Lane | None"]


class Shard:
    """The lanes and partitions of one partition number.

    Attributes:
        number: the partition number.
        active: whether its jobs may start: all its partitions are owned and its tiers are read.
        answered: whether the caller has told its offsets and ends.
        still: whether it stands still, since what it has to write is refused: nothing of it is
            committed, and nothing more of it fetched.
        logs: its owned partitions, by topic.
        lanes: by main topic, since each priority has its own.
        early: what arrived of main before the shard was active, in order: batches, end offsets.
        waiting: how many records wait in the memory of lanes that have something in a tier.
        for_main: lanes whose next job came from a tier, and waits for main to be received past it.
        delayed: lanes whose head waits in place.
        survey: while memory is full, since when a lane's head has run, by main topic and key.
        era: how often records of its tiers were deleted before they were read.
        until: after that: the ends up to which the tiers have to be read, else empty.
    """

    __slots__ = (
        "_ladder", "_out", "active", "answered", "delayed", "early", "era", "for_main", "lanes",
        "logs", "number", "still", "survey", "until", "waiting",
    )  # fmt: skip

    def __init__(self, number: int, ladder: Ladder, out: Outbox) -> None:
        self.number, self._ladder, self._out = number, ladder, out
        self.active = self.answered = self.still = False
        self.logs: dict[str, Log] = {}
        self.lanes: dict[str, Lanes] = {main: {} for main in ladder.mains}
        self.early: list[tuple[Log, Sequence[Message] | int]] = []
        self.waiting = 0
        self.survey: dict[tuple[str, bytes], float] = {}
        # Dicts for sets: what is in them is taken in the order in which it came, in every process.
        self.for_main: dict[tuple[str, bytes], None] = {}
        self.delayed: dict[tuple[str, bytes], None] = {}
        self.era = 0
        self.until: Mapping[str, int] = {}

    def wipe(self) -> None:
        """Give up everything in hand; what is still owned has to be read again."""
        self.active = self.answered = self.still = False
        for lanes in self.lanes.values():
            lanes.clear()
        self.early.clear()
        self.for_main.clear()
        self.delayed.clear()
        self.survey.clear()
        self.waiting = self.era = 0
        self.until = {}

    @property
    def load(self) -> int:
        """Records that run, are ready, or wait behind one that runs.

        Those that wait behind a parked one count only where they cannot be moved: else parked keys
        would hold main back.
        """
        own = sum(log.load for log in self.logs.values())
        return own + self.waiting if self._ladder.wait(0.0) is None else own

    def starts(self, main: str) -> list[Run]:
        """Where the runs of a main topic's lanes go."""
        return self._out.starts[self._ladder.mains.index(main)]

    def main_of(self, record: Record) -> str:
        """The main topic whose lane a record is in."""
        if record.log.delay is None:
            return record.log.topic
        origin = None if record.delivery is None else record.delivery.origin
        return self._ladder.mains[0] if origin is None else self._ladder.main_of(origin)[0]

    def lane_key(self, message: Message) -> bytes | None:
        """The key of a record's lane; None where it has no order."""
        match self._ladder.ordering:
            case Ordering.KEY:
                return message.key()
            case Ordering.NONE:
                return None
            case Ordering.PARTITION:
                return ONE_LANE

    def lane(self, main: str, key: bytes, now: float) -> Lane:
        """The lane of a key, made one that can have something in a tier."""
        lanes = self.lanes[main]
        before = lanes.get(key)
        if isinstance(before, Lane):
            return before
        lane = Lane(key, now)
        if isinstance(before, tuple):
            lane.park(before[0], Parked(before[1], None, waiting=before[2]))
        elif key in lanes:
            lane.running = True
            lane.waiting = before or []
            self.waiting += len(lane.waiting)
            for record in lane.waiting:
                record.log.load -= 1
        lanes[key] = lane
        return lane

    def delivery(self, record: Record) -> Delivery:
        """A record's state; a fresh one's origin is where it stands."""
        if record.delivery is not None:
            return record.delivery
        origin = Origin(self._ladder.identity(record.log.topic), self.number, record.offset)
        return Delivery(attempts=0, rung=0, origin=origin)
