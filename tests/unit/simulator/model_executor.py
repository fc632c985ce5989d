"""A model of an executor: some threads, jobs of any duration, outcomes in any order.

Attempts are played lazily: ``advance`` lets everything happen that happens up to a time. It must be
called before anything changes that decides whose an attempt is.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

RANKS = 3
Slot = tuple[float, int, Any, int, int]


class Handlers(Protocol):
    """What the jobs do."""

    def begin(self, record: Any) -> int: ...

    def duration(self, record: Any) -> float: ...

    def finish(self, record: Any, take: int) -> bool: ...

    def dies(self, record: Any) -> bool: ...


class Executor:
    """Runs runs.

    Args:
        handlers: ``begin`` returns the taking in which an attempt starts, ``finish`` sets its
            result and says whether the rest of its run goes on, ``dies`` says whether it ends the
            process instead.
        released: the result of what was not begun.
    """

    def __init__(self, handlers: Handlers, released: Any, threads: int) -> None:
        self._handlers, self._released = handlers, released
        self._idle = threads
        self._ready: dict[int, deque[Any]] = {rank: deque() for rank in range(RANKS)}
        self._running: list[Slot] = []
        self._finished: list[Any] = []
        self._count = 0
        self.halted = self.dead = False

    def runs_of(self, numbers: set[int]) -> bool:
        """Whether anything of these shards runs."""
        logs = (run[index].log for _, _, run, index, _ in self._running)
        return any(log.live and log.partition in numbers for log in logs)

    @property
    def next_end(self) -> float | None:
        """When the next attempt ends."""
        return self._running[0][0] if self._running else None

    def submit(self, runs: list[Any], rank: int) -> None:
        """Take runs of one urgency, 0 being served first."""
        self._ready[rank].extend(runs)

    def advance(self, now: float) -> None:
        running, handlers = self._running, self._handlers
        while running and running[0][0] <= now and not self.dead:
            at, _, run, index, take = running[0]
            record = run[index]
            if handlers.dies(record):
                self.dead = True
                return
            heappop(running)
            goes_on = handlers.finish(record, take)
            self._finished.append(record)
            index += 1
            if index < len(run):
                if goes_on and not self.halted and run[index].log.begins:
                    self._start(run, index, at)
                    continue
                self._release(run[index:])
            self._idle += 1
            self.fill(at)

    def collect(self) -> list[Any]:
        finished, self._finished = self._finished, []
        return finished

    def halt(self) -> None:
        """Begin nothing more, and give back what was not begun."""
        self.halted = True
        self.give_back()

    def give_back(self) -> None:
        for ready in self._ready.values():
            while ready:
                self._release(ready.popleft())

    def delay(self, seconds: float) -> None:
        """The process stood still for so long."""
        self._running = [(at + seconds, *rest) for at, *rest in self._running]
        heapify(self._running)

    def fill(self, now: float) -> None:
        """Let idle threads begin what is ready."""
        for ready in self._ready.values():
            while ready and self._idle and not self.dead:
                run = ready.popleft()
                if self.halted or not run[0].log.begins:
                    self._release(run)
                else:
                    self._idle -= 1
                    self._start(run, 0, now)

    def _start(self, run: Any, index: int, now: float) -> None:
        record = run[index]
        take = self._handlers.begin(record)
        self._count += 1
        end = now + self._handlers.duration(record)
        heappush(self._running, (end, self._count, run, index, take))

    def _release(self, run: Any) -> None:
        for record in run:
            record.result = self._released
            self._finished.append(record)
