"""How far a partition is complete: the one place where a committed offset comes from."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from streamjobs.engine.metadata import Above

# Complete offsets that may stand among the incomplete ones before they are weeded out, at least:
# a job of two hours at the bottom must not make a list of all that ended meanwhile.
WEED_FROM = 1_024


class Watermark:
    """The received, not yet complete offsets of one partition.

    The committed offset is the lowest of them, or the position when none is left: everything
    below it is complete. Only records that were received are tracked, so gaps (compaction,
    transaction markers, aborted records) count as complete.

    Attributes:
        position: the next offset to be received, or None before the first record or end.
        inherited: what the last owner said of offsets from the committed one on; it holds for those
            that are not received yet.
        news: whether anything has changed since whoever asks has set it to False.
    """

    __slots__ = ("_done", "_pending", "inherited", "news", "position")

    def __init__(self) -> None:
        self._pending: deque[int] = deque()
        self._done: set[int] = set()
        self.position: int | None = None
        self.inherited = Above()
        self.news = True

    def received(self, offsets: Sequence[int]) -> None:
        """Take in offsets, ascending and above all earlier ones."""
        self._pending.extend(offsets)
        self.position = offsets[-1] + 1
        self.news = True

    def ended(self, offset: int) -> None:
        """Take in an end-of-partition event: nothing stands below ``offset`` but what came.

        The log's tail is often a transaction marker, which is never received as a record: without
        this the lag of a finished partition would never become 0.
        """
        if self.position is None or offset > self.position:
            self.position = offset
            self.news = True

    def complete(self, offset: int) -> None:
        """Mark a received offset as complete."""
        self._done.add(offset)
        self.news = True

    def has_completed(self, offset: int) -> bool:
        """Whether a received offset was completed since ``advance`` was last called."""
        return offset in self._done

    @property
    def incomplete(self) -> int:
        """How many received offsets are not complete."""
        return len(self._pending) - len(self._done)

    def advance(self) -> int | None:
        """Return the offset to commit, or None before anything was received."""
        pending, done = self._pending, self._done
        while pending and pending[0] in done:
            done.remove(pending.popleft())
        if self.inherited.bounds and (self.position or 0) >= self.inherited.upto:
            self.inherited = Above()
        if len(done) > WEED_FROM and len(done) > len(pending) // 2:
            self._pending = pending = deque(o for o in pending if o not in done)
            done.clear()
        if pending or self.position is None:
            return pending[0] if pending else None
        return self.inherited.next_incomplete(self.position)

    def bounds(self) -> list[int]:
        """Where incomplete and complete offsets take turns, from the one to commit on.

        Returns:
            As in ``Above``; empty when nothing above the offset to commit is complete.
        """
        if self.position is None or not (self._pending or self.inherited.bounds):
            return []
        bounds: list[int] = []
        done, end = self._done, -1
        for offset in self._pending:
            if offset in done:
                continue
            if offset != end:
                if bounds:
                    bounds.append(end)
                bounds.append(offset)
            end = offset + 1
        for begin, after in self.inherited.stretches(self.position):
            if begin != end:
                if bounds:
                    bounds.append(end)
                bounds.append(begin)
            end = after
        return bounds if len(bounds) > 1 else []
