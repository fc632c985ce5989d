"""Giving shards back: what runs of them ends, all of it is committed, and the others go on.

The group takes partitions back inside a callback of the client, which allows no poll in it and
waits for it to return. So the shards that are kept are read by another consumer meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from streamjobs.clock import monotonic, wall
from streamjobs.engine.engine import Engine
from streamjobs.engine.outbox import Partition
from streamjobs.executors.split import Executor
from streamjobs.kafka.aside import AsideReader, Polled
from streamjobs.kafka.group import GroupConsumer
from streamjobs.worker.commit import CommitCycle
from streamjobs.worker.pace import COMMIT_RETRY

logger = logging.getLogger("streamjobs.worker")

# Seconds between looks at what still runs.
GLANCE = 0.01
# Seconds after which the kept shards are read by another consumer: making one takes some 50 ms.
READ_ASIDE = 0.3


class GivingBack:
    """Gives shards back, once; used inside the callback, or when the loop stops.

    Args:
        engine, executor, consumer, cycle: the loop's.
        deadline: on the monotonic clock; what is not done then is left to the next owner.
        go_on: a turn of the loop without its consumer, of so many seconds at most.
        count: is told what was read.
    """

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        consumer: GroupConsumer,
        cycle: CommitCycle,
        *,
        deadline: float,
        go_on: Callable[[float], None],
        count: Callable[[Polled], None],
    ) -> None:
        self._engine, self._executor = engine, executor
        self._consumer, self._cycle = consumer, cycle
        self._deadline, self._go_on, self._count = deadline, go_on, count

    def let_end(self, numbers: Collection[int] | None) -> int:
        """Let what runs of these shards end; of all that were ever owned where it is None.

        Returns:
            How many jobs of them still run: their time is over.
        """
        now = monotonic()
        read_aside = now + READ_ASIDE
        aside: AsideReader | None = None
        try:
            while (running := self._running(numbers)) and now < self._deadline:
                self._go_on(min(GLANCE, self._deadline - now))
                if aside is not None:
                    self._take_in(aside)
                elif now >= read_aside:
                    read_aside = self._deadline
                    aside = self._consumer.aside(self._engine.read_ahead())
                now = monotonic()
        finally:
            if aside is not None:
                aside.close()
        return running

    def commit(self, partitions: Collection[Partition]) -> bool:
        """Commit all that is known of these, and that they are given back in order.

        A coordinator that does not answer, or has just moved, is asked again while there is time:
        what is not committed runs once more elsewhere.

        Returns:
            Whether all of it is committed.
        """
        self._cycle.try_refused()
        while not self._cycle.run(wait=True, clean=partitions):
            left = self._deadline - monotonic()
            if left <= 0 or not self._cycle.member:
                return False
            self._go_on(min(COMMIT_RETRY, left))
        return True

    def _running(self, numbers: Collection[int] | None) -> int:
        """How many jobs of these shards run; what has ended can be collected after this."""
        running = self._executor.running()
        if numbers is None:
            return len(running)
        return sum(record.log.live and record.log.partition in numbers for record in running)

    def _take_in(self, aside: AsideReader) -> None:
        if not self._engine.full:
            polled = aside.poll()
            if polled.messages:
                self._count(polled)
            self._engine.received_ahead(polled.messages, polled.ends, wall())
