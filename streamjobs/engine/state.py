"""What one queue's engine has in hand, and what can be read of it: only ``Engine`` changes it."""

from __future__ import annotations

from streamjobs.breaker import Breaker
from streamjobs.engine.breaker import BreakerState
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.lane import Lane
from streamjobs.engine.metadata import Note
from streamjobs.engine.outbox import Outbox, Partition
from streamjobs.engine.records import Log, Move
from streamjobs.engine.shard import Shard


class EngineState:
    """The shards and partitions of one queue of one worker, and what was decided of them.

    Args:
        ladder: the queue's topics and policy.
        capacity: how many records may be in hand before no more are fetched from main.
        breaker: when the queue pauses itself; None: never.

    Attributes:
        breaker: its state; None: there is none.
        counts: outcomes since the caller last emptied it, by (job name, outcome).
    """

    def __init__(self, ladder: Ladder, capacity: int, breaker: Breaker | None) -> None:
        self._ladder, self._capacity = ladder, capacity
        # The topics of a whole shard.
        self._expected = {*ladder.mains, *ladder.reads}
        self._shards: dict[int, Shard] = {}
        self._logs: dict[Partition, Log] = {}
        self._out = Outbox([[] for _ in ladder.mains])
        self.breaker = None if breaker is None else BreakerState(breaker)
        self.counts = self._out.counts

    @property
    def load(self) -> int:
        """Records that run, are ready, or wait behind one that runs."""
        return sum(shard.load for shard in self._shards.values())

    @property
    def held(self) -> int:
        """Records of tiers in memory that are not due."""
        return sum(log.holding for log in self._logs.values())

    @property
    def waiting(self) -> int:
        """Records in memory behind a parked job of their key."""
        return sum(shard.waiting for shard in self._shards.values())

    @property
    def parked_keys(self) -> int:
        """Keys with a job in a tier, in the shards that are owned."""
        lanes = (x for s in self._shards.values() for by in s.lanes.values() for x in by.values())
        return sum(isinstance(x, tuple) or (isinstance(x, Lane) and bool(x.order)) for x in lanes)

    @property
    def moves_wait(self) -> bool:
        """Whether records wait to be written: they should not wait for the next plain commit."""
        return bool(self._out.moves or self._out.children)

    @property
    def last_move(self) -> Move | None:
        """The move decided last, as a sample for the log; asking forgets it."""
        move, self._out.last_move = self._out.last_move, None
        return move

    @property
    def full(self) -> bool:
        """Whether no more records should be fetched for now."""
        return self.load >= self._capacity

    @property
    def tiers(self) -> set[str]:
        """The retry topics that are read, as far as they are assigned."""
        return self._expected.intersection(self._ladder.reads)

    @property
    def split(self) -> bool:
        """Whether of a shard the main topics are owned and not all of its retry topics."""
        mains = set(self._ladder.mains)
        return any(
            not shard.active and mains <= shard.logs.keys() < self._expected
            for shard in self._shards.values()
        )

    @property
    def owned(self) -> set[Partition]:
        """The partitions owned at present."""
        return set(self._logs)

    @property
    def standing(self) -> dict[Partition, Note]:
        """What is committed of the partitions owned at present, where anything is."""
        return {p: log.committed for p, log in self._logs.items() if log.committed is not None}

    @property
    def tripped(self) -> bool:
        """Whether the breaker is open: nearly everything failed, and the queue pauses itself."""
        return self.breaker is not None and self.breaker.open

    def next_due(self) -> float | None:
        """When the next held record is due, in seconds since the epoch, or None."""
        heads = (log.held[0][0] for log in self._logs.values() if log.held)
        return min(heads, default=None)
