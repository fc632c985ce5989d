"""When a member that was given nothing counts as idle, and not as joining."""

from __future__ import annotations

from streamjobs.clock import monotonic
from streamjobs.kafka.group import GroupConsumer
from streamjobs.worker.commit import COORDINATOR_PATIENCE

# Seconds: the group does not tell every member that there is nothing for it.
IDLE_AFTER = 8.0


class Idle:
    """How long a member has been waiting for partitions; owned by its loop."""

    def __init__(self) -> None:
        self._at = 0.0

    def begin(self) -> None:
        """It waits from now on."""
        self._at = monotonic() + IDLE_AFTER

    def is_sure(self, consumer: GroupConsumer, now: float) -> bool:
        """Whether it has waited for long enough, and the group's coordinator answers."""
        if now < self._at:
            return False
        self._at = now + IDLE_AFTER
        return consumer.coordinated(COORDINATOR_PATIENCE)
