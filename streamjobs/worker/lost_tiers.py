"""Retry topics that are deleted under a worker: its shards go on without them.

Otherwise all of a queue would wait until somebody has made the topic anew. The group gives its
partitions to nobody, and takes them back from who has them: with KIP-848 at once, with classic
groups when the client next refreshes its metadata. What was parked there is gone; a job that has to
go there waits with its partition (``CommitCycle``); and when the topic is back, the group is joined
again with it.
"""

from __future__ import annotations

import logging
import threading

from streamjobs.engine.engine import Engine
from streamjobs.kafka.group import GroupConsumer

logger = logging.getLogger("streamjobs.worker")

# Seconds between looks whether a shard that lacks a retry topic waits for one that is not there.
LOOK_AGAIN = 1.0
# Seconds after which it is asked a second time.
ASK_TWICE = 0.3


class LostTiers:
    """Looks for them, for one queue's loop.

    Args:
        queue: its name.
    """

    def __init__(self, queue: str) -> None:
        self._queue, self._next = queue, 0.0

    def look_when_due(self, engine: Engine, consumer: GroupConsumer, now: float) -> None:
        """Look where a shard has its main topics and not all of its retry topics."""
        if now >= self._next and engine.split:
            self._next = now + LOOK_AGAIN
            self.look(engine, consumer)

    def look(self, engine: Engine, consumer: GroupConsumer) -> None:
        """Have the engine go on without those that are not there, and commit nothing of them."""
        gone = consumer.absent(engine.tiers)
        if gone:
            # Once more, of perhaps another broker: one may not have heard of a new topic yet.
            threading.Event().wait(ASK_TWICE)
            gone &= consumer.absent(gone)
        if gone:
            logger.error(
                "queue %s: %s: deleted, and what waited in it with it; the queue goes on, and a "
                "job that has to go there waits with its partition: streamjobs -A module:app "
                "topics apply",
                self._queue,
                ", ".join(sorted(gone)),
            )
            engine.lose(gone)
