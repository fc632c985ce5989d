"""A model of the client's consumer: positions, one prefetch queue, ends of partitions.

As librdkafka does it: one queue for all partitions, ``pause`` and ``seek`` throw away what is
prefetched of a partition, an end is told once for each offset at which the position meets the last
stable offset, and again after a fetch was begun anew.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from unit.simulator.model_log import Log, Msg

Item = tuple["Fetch", list[Msg] | int]


class Fetch:
    """Where the consumer is in one partition."""

    __slots__ = ("given", "log", "paused", "position", "queued", "told")

    def __init__(self, log: Log) -> None:
        self.log = log
        self.position: int | None = None
        self.given: int | None = None
        self.told: int | None = None
        self.paused = False
        self.queued = 0

    def again(self, position: int | None) -> None:
        """Begin to fetch from here."""
        self.position = position
        self.told = None
        self.queued = 0


class Consumer:
    """What one worker fetches.

    Args:
        chunk: the most records that one fetch brings of a partition.
        depth: the most records of a partition that wait in the queue.
    """

    def __init__(self, rng: Random, chunk: int, depth: int) -> None:
        self._random, self._chunk, self._depth = rng.random, chunk, depth
        self.fetches: dict[Log, Fetch] = {}
        self._queue: deque[Item] = deque()

    def assign(self, logs: list[Log]) -> None:
        for log in logs:
            self.fetches[log] = Fetch(log)

    def unassign(self, logs: list[Log]) -> None:
        for log in logs:
            fetch = self.fetches.pop(log, None)
            if fetch is not None:
                self._drop(fetch)

    def pause(self, log: Log) -> None:
        fetch = self.fetches.get(log)
        if fetch is not None and not fetch.paused:
            fetch.paused = True
            self._drop(fetch)
            fetch.again(fetch.given)

    def resume(self, log: Log) -> None:
        fetch = self.fetches.get(log)
        if fetch is not None:
            fetch.paused = False

    def seek(self, log: Log, offset: int) -> None:
        fetch = self.fetches.get(log)
        if fetch is not None:
            self._drop(fetch)
            fetch.given = offset
            fetch.again(offset)

    def fetch(self) -> None:
        """Let some of what the broker has come into the queue."""
        for fetch in self.fetches.values():
            log = fetch.log
            position = fetch.position
            if position is None:
                if fetch.paused or log.pending:
                    continue
                fetch.position = fetch.given = position = log.committed or 0
            stable = log.stable
            if position == stable:
                if fetch.told != stable and not fetch.paused:
                    fetch.told = stable
                    self._queue.append((fetch, stable))
            elif not fetch.paused and fetch.queued < self._depth:
                upto = min(stable, position + 1 + int(self._random() * self._chunk))
                found = [m for m in log.entries[position:upto] if m is not None]
                fetch.position = upto
                if found:
                    fetch.queued += len(found)
                    self._queue.append((fetch, found))

    def take(self, most: int) -> tuple[list[Msg], list[tuple[str, int, int]]]:
        """Hand over what is prefetched, about ``most`` records; and ends."""
        messages: list[Msg] = []
        ends: list[tuple[str, int, int]] = []
        queue = self._queue
        while queue and len(messages) < most:
            fetch, what = queue.popleft()
            log = fetch.log
            if isinstance(what, int):
                fetch.given = what
                ends.append((log.topic, log.number, what))
                continue
            room = most - len(messages)
            if len(what) > room:
                queue.appendleft((fetch, what[room:]))
                what = what[:room]
            fetch.queued -= len(what)
            fetch.given = what[-1].offset_ + 1
            messages += what
        return messages, ends

    def _drop(self, fetch: Fetch) -> None:
        if any(item[0] is fetch for item in self._queue):
            self._queue = deque(item for item in self._queue if item[0] is not fetch)


def position(fetches: dict[Log, Fetch], log: Log) -> Any:
    """How far records of a log were handed over."""
    fetch = fetches.get(log)
    return None if fetch is None else fetch.given
