"""Shards that are whole, and wait until it is known whether the queue's ladder still is."""

from __future__ import annotations

from collections.abc import Iterable

# Seconds before a broker that did not tell its topics is asked again, and before one that did, and
# then could not tell what they are like, which may have taken as long.
RETRY, LOOK_RETRY = 0.1, 2.0


class Questions:
    """What is to be asked before shards are taken; owned by the loop.

    Attributes:
        outdated: whether the topics are to be looked at although no shard waits: somebody has seen
            that one is not the one that the loop began with. Set by any thread.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._again = 0.0
        self.outdated = False

    def add(self, numbers: Iterable[int]) -> None:
        """These shards have become whole."""
        self._numbers += numbers

    def are_due(self, now: float) -> bool:
        """Whether to ask now; then not again for a while, unless ``take`` is called."""
        if not (self._numbers or self.outdated) or now < self._again:
            return False
        self._again = now + RETRY
        return True

    def put_off(self, now: float) -> None:
        """It could not be found out: ask later, and take nothing before that."""
        self._again, self.outdated = now + LOOK_RETRY, True

    def take(self) -> list[int]:
        """The ladder is whole: return the shards that can be taken."""
        numbers, self._numbers, self._again = self._numbers, [], 0.0
        return numbers

    def forget(self) -> None:
        """What was whole is not ours any more."""
        self._numbers = []
