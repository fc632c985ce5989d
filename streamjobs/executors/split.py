"""The executor that the loop sees: threads for all but suspects, which run in child processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamjobs.clock import monotonic
from streamjobs.engine.records import Record, Run

# Seconds that threads are waited for at most while children run something.
GLANCE = 0.02


class Executor(Protocol):
    """What runs attempts; called by one thread, the loop. See ``ThreadExecutor``.

    Attributes:
        lease: when, on the monotonic clock, the right ends to begin anything.
    """

    lease: float

    def submit(self, runs: Sequence[Run], rank: int = 0) -> None:
        """Take runs; each is executed in order until a record of it does not succeed."""

    def nudge(self) -> None:
        """Look whether more should run at once."""

    def collect(self) -> list[Record]:
        """Return the records that were run, or given back with the result ``RELEASED``."""

    def wait(self, timeout: float, wanted: int = 1) -> None:
        """Return when ``wanted`` records can be collected, or after ``timeout`` seconds."""

    def halt(self) -> None:
        """Begin nothing more, and give back what was not begun."""

    def give_back(self) -> None:
        """Give back what was not begun."""

    def go_on(self) -> None:
        """Undo ``halt``."""

    def stop(self) -> None:
        """Run nothing more."""

    def join(self, timeout: float) -> bool:
        """Wait until all has ended; False when it has not within ``timeout`` seconds."""


class SplitExecutor:
    """Two executors behind one surface: a run with a suspect in it goes to the second.

    All of it: the others of the run must not start before the suspect has ended.

    Args:
        threads: runs what is no suspect.
        processes: runs the rest; started by its first run.
    """

    def __init__(self, threads: Executor, processes: Executor) -> None:
        self._threads, self._processes = threads, processes
        self._apart = 0

    @property
    def lease(self) -> float:
        """When the right ends to begin anything."""
        return self._threads.lease

    @lease.setter
    def lease(self, until: float) -> None:
        self._threads.lease = self._processes.lease = until

    def submit(self, runs: Sequence[Run], rank: int = 0) -> None:
        """Take runs of one urgency; see ``Executor``."""
        if not any_suspect(runs):
            self._threads.submit(runs, rank)
            return
        apart = [run for run in runs if any_suspect([run])]
        self._apart += sum(map(len, apart))
        self._processes.submit(apart, rank)
        if rest := [run for run in runs if not any_suspect([run])]:
            self._threads.submit(rest, rank)

    def nudge(self) -> None:
        """Look whether more threads should run at once."""
        self._threads.nudge()

    def collect(self) -> list[Record]:
        """Return what came back from either."""
        records = self._threads.collect()
        if self._apart:
            back = self._processes.collect()
            self._apart -= len(back)
            records += back
        return records

    def wait(self, timeout: float, wanted: int = 1) -> None:
        """Return when ``wanted`` records can be collected, or earlier, or after ``timeout``."""
        self._threads.wait(min(timeout, GLANCE) if self._apart else timeout, wanted)

    def halt(self) -> None:
        """Begin nothing more, and give back what was not begun."""
        self._threads.halt()
        self._processes.halt()

    def give_back(self) -> None:
        """Give back what was not begun."""
        self._threads.give_back()
        self._processes.give_back()

    def go_on(self) -> None:
        """Undo ``halt``."""
        self._threads.go_on()
        self._processes.go_on()

    def stop(self) -> None:
        """Run nothing more: threads end after their job, children at once."""
        self._threads.stop()
        self._processes.stop()

    def join(self, timeout: float) -> bool:
        """Wait until all has ended; False when it has not within ``timeout`` seconds."""
        deadline = monotonic() + timeout
        ended = self._threads.join(timeout)
        return self._processes.join(max(0.0, deadline - monotonic())) and ended


def any_suspect(runs: Sequence[Run]) -> bool:
    """Whether one of these has a suspect in it.

    Nearly always false and asked for every record: 35 ns each, half of what ``any`` costs.
    """
    for run in runs:
        for record in run:
            if record.suspect:
                return True
    return False
