"""Whether a loop may begin jobs: it must not where its partitions may be somebody else's."""

from __future__ import annotations

# Seconds after a turn in which jobs may be begun: less than the shortest session that brokers grant
# by default (6 s). A process that stood still for longer may have lost its partitions unknowingly.
LEASE = 5.0


class Lease:
    """What is known of a loop's membership since its last turn.

    Attributes:
        holds: whether jobs may be begun.
        slept: whether the process stood still, and no commit was taken since.
    """

    def __init__(self) -> None:
        self.holds, self.slept = True, False

    def turns(self, seconds: float, *, outcast: bool) -> None:
        """A turn begins, so many seconds after the one before.

        Args:
            seconds: since the last turn.
            outcast: whether the brokers deny us the group.
        """
        self.slept = self.slept or seconds > LEASE
        self.holds = self.holds and not self.slept and not outcast

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return LEASE

    def confirmed(self, *, member: bool) -> bool:
        """The broker has taken a commit of ours, or has not; returns whether it holds now."""
        self.holds, self.slept = member, self.slept and not member
        return member
