"""When a queue's next commit cycle is due."""

from __future__ import annotations

# Seconds between plain commits, and between cycles that move: a transaction takes some 10 ms, in
# which the loop does nothing else, so it should carry more than one move.
COMMIT_INTERVAL, MOVE_INTERVAL = 0.1, 0.03
# Seconds after a failed cycle before the next try.
COMMIT_RETRY = 0.5
# Seconds a poll waits: with jobs in hand their outcomes must not wait long for the loop.
POLL_IDLE, POLL_BUSY = 0.1, 0.002


class Pace:
    """Times of the monotonic clock, in seconds, from which cycles may be made.

    Attributes:
        commit: any cycle.
        moves: one that has something to write.
        mark: one that has a mark to set, since a job waits for it.
    """

    def __init__(self) -> None:
        self.commit = self.moves = self.mark = 0.0

    def is_due(self, now: float, *, moves: bool, mark: bool) -> bool:
        """Whether a cycle should be made now.

        Args:
            now: the time.
            moves: whether something waits to be written.
            mark: whether a mark waits to be set.
        """
        return now >= self.commit or (moves and now >= self.moves) or (mark and now >= self.mark)

    def went(self, now: float, *, done: bool) -> None:
        """A cycle was made, or has failed: then none is tried for a while."""
        self.commit = now + (COMMIT_INTERVAL if done else COMMIT_RETRY)
        self.moves = now + MOVE_INTERVAL if done else self.commit
        self.mark = now if done else self.commit

    def patience(self, now: float, busy: bool, due: float | None) -> float:
        """How many seconds a poll may wait.

        Args:
            now: the time.
            busy: whether there is anything in hand, or under way.
            due: seconds until the next retry is due; None: there is none.
        """
        if busy:
            return POLL_BUSY
        timeout = min(POLL_IDLE, max(0.0, self.commit - now))
        return timeout if due is None else min(timeout, max(0.0, due))
