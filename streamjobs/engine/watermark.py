"""How far a partition is complete: the one place where a committed offset comes from."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Watermark:
    """The received, not yet complete offsets of one partition.

    The committed offset is the lowest of them, or the position when none is left: everything
    below it is complete. Only records that were received are tracked, so gaps (compaction,
    transaction markers, aborted records) count as complete.

    Attributes:
        position: the next offset to be received, or None before the first record or end.
    """

    __slots__ = ("_done", "_pending", "position")

    def __init__(self) -> None:
        self._pending: deque[int] = deque()
        self._done: set[int] = set()
        self.position: int | None = None

    def received(self, offsets: Sequence[int]) -> None:
        """Take in offsets, ascending and above all earlier ones."""
        self._pending.extend(offsets)
        self.position = offsets[-1] + 1

    def ended(self, offset: int) -> None:
        """Take in an end-of-partition event: nothing stands below ``offset`` but what came.

        The log's tail is often a transaction marker, which is never received as a record: without
        this the lag of a finished partition would never become 0.
        """
        if self.position is None or offset > self.position:
            self.position = offset

    def complete(self, offset: int) -> None:
        """Mark a received offset as complete."""
        self._done.add(offset)

    @property
    def incomplete(self) -> int:
        """How many received offsets are not complete."""
        return len(self._pending) - len(self._done)

    def advance(self) -> int | None:
        """Return the offset to commit, or None before anything was received."""
        pending, done = self._pending, self._done
        while pending and pending[0] in done:
            done.remove(pending.popleft())
        return pending[0] if pending else self.position
