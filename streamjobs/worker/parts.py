"""What a loop works with, and what the group tells it: the seam between loop and runner."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from streamjobs.clock import monotonic
from streamjobs.engine.engine import Engine
from streamjobs.engine.outbox import Partition
from streamjobs.errors import BrokerUnavailable, StreamjobsError
from streamjobs.kafka.group import GroupConsumer
from streamjobs.worker.commit import CommitCycle
from streamjobs.worker.taking import Taking

logger = logging.getLogger("streamjobs.worker")

# Seconds before the next try to join while another member has our name, or nobody answers.
JOIN_RETRY = 1.0
# The same while the brokers deny us the group.
DENIED_RETRY = 5.0


class State(Enum):
    """Where a loop's life is.

    Life cycle, forwards only but for a member that its group has lost:

        JOINING   -> RUNNING   the group gave us partitions for the first time, or has none for us
        JOINING   -> STOPPED   stopped before that
        RUNNING   -> JOINING   the group has gone on without us: what we had is somebody else's; or
                               we have given all back, to join it again with other topics
        RUNNING   -> DRAINING  ``stop()``: running jobs end, nothing is begun
        RUNNING   -> STOPPED   an error that polling again does not mend
        DRAINING  -> STOPPED   all is committed, or the budget is used up; the group is left
    """

    JOINING = "joining"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class StoppedFirst(StreamjobsError):
    """A loop was stopped before it was in its group."""


class Member(Protocol):
    """Who is told what the group gives and takes; see ``GroupConsumer``."""

    def assigned(self, partitions: list[Partition]) -> None: ...  # noqa: D102 - as all that follow
    def revoked(self, partitions: list[Partition]) -> None: ...  # noqa: D102
    def lost(self, partitions: list[Partition]) -> None: ...  # noqa: D102

    queue: str
    last_turn: float


@dataclass(frozen=True)
class Parts:
    """What a loop works with for as long as the queue's ladder stays what it is.

    Attributes:
        engine: fresh, for this loop alone.
        tiers: the retry topics that are subscribed.
        join_group: makes the consumer with this loop's callbacks; called in the loop's thread.
        make_cycle: makes the commit cycle for that consumer; asks the second argument whether the
            loop was to have ended by now.
        make_taking: makes what takes its shards.
    """

    engine: Engine
    tiers: frozenset[str]
    join_group: Callable[[Member], GroupConsumer]
    make_cycle: Callable[[GroupConsumer, Callable[[], bool]], CommitCycle]
    make_taking: Callable[[GroupConsumer], Taking]

    def join(self, member: Member, stopping: threading.Event) -> GroupConsumer:
        """Join the group as soon as its coordinator answers.

        Raises:
            StoppedFirst: it was stopped before that.
        """
        while True:
            try:
                return self.join_group(member)
            except BrokerUnavailable as error:
                logger.warning("queue %s: not joined yet, tries again: %s", member.queue, error)
            member.last_turn = monotonic()
            if stopping.wait(JOIN_RETRY):
                raise StoppedFirst
