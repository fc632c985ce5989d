"""The executor that the loop sees: threads for all but suspects, which run in child processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamjobs.clock import monotonic
from streamjobs.engine.records import Record, Run

# Seconds that threads are waited for at most while children run something.
GLANCE = 0.02
# Seconds of work of each thread that a vanished owner may have done after its last commit: they are
# made ten times a second.
UNCOMMITTED = 0.5


class Executor(Protocol):
    """What runs attempts; called by one thread, the loop. See ``ThreadExecutor``.

    Attributes:
        lease: when, on the monotonic clock, the right ends to begin anything.
    """

    lease: float

    @property
    def doubting(self) -> bool:
        """Whether suspects are not cleared; see ``doubt``."""

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

    def running(self) -> list[Record]:
        """Return what is being attempted, or is about to be."""

    def doubt(self, times: int = 1) -> None:
        """Suspect what an owner that vanished may have been running, or so many times as much."""

    def prepare(self, *, wanted: bool) -> bool:
        """Have a process ready for a suspect, as long as it is wanted; return whether one is."""

    def stop(self) -> None:
        """Run nothing more."""

    def join(self, timeout: float) -> bool:
        """Wait until all has ended; False when it has not within ``timeout`` seconds."""


class Children(Executor, Protocol):
    """What runs suspects.

    Attributes:
        ran: how many jobs have run to an end of some kind.
        seconds: how long they took, in all.
    """

    ran: int
    seconds: float


class SplitExecutor:
    """Two executors behind one surface: a run with a suspect in it goes to the second.

    All of it: the others of the run must not start before the suspect has ended.

    Args:
        threads: runs what is no suspect.
        processes: runs the rest; started by its first run.
        concurrency: how many jobs ran at a time where the suspects come from.

    Attributes:
        doubting: whether suspects are not cleared.
    """

    def __init__(self, threads: Executor, processes: Children, concurrency: int = 16) -> None:
        self._threads, self._processes = threads, processes
        self._concurrency = concurrency
        self._apart = 0
        self.doubting = False
        self._ran, self._seconds, self._times = 0, 0.0, 1

    @property
    def lease(self) -> float:
        """When the right ends to begin anything."""
        return self._threads.lease

    @lease.setter
    def lease(self, until: float) -> None:
        self._threads.lease = self._processes.lease = until

    def doubt(self, times: int = 1) -> None:
        """Some shard was taken from an owner that vanished: what it may have run is suspect.

        Which jobs it ran is not known, only that they are among the first that it had in hand. So
        suspects run apart until as much of them has run as it can have begun since it committed
        last; the rest is cleared, but for jobs that were seen to end a process. What was not begun
        is given back, since it may have to be tried alone by now.

        Args:
            times: how many times as much, where that was done before and was not enough.
        """
        self.doubting, self._times = True, times
        self._ran, self._seconds = self._processes.ran, self._processes.seconds
        self._processes.give_back()

    def submit(self, runs: Sequence[Run], rank: int = 0) -> None:
        """Take runs of one urgency; see ``Executor``."""
        if any_suspect(runs) and not self.doubting:
            clear(runs)
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
            if self.doubting and self._enough():
                self.doubting = False
                self._processes.give_back()
            back = self._processes.collect()
            self._apart -= len(back)
            records += back
        return records

    def _enough(self) -> bool:
        ran, seconds = self._processes.ran - self._ran, self._processes.seconds - self._seconds
        enough = self._concurrency * self._times
        return ran >= enough and seconds >= UNCOMMITTED * enough

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

    def running(self) -> list[Record]:
        """Return what is being attempted by either."""
        return self._threads.running() + self._processes.running()

    def prepare(self, *, wanted: bool) -> bool:
        """Have a child ready for a suspect, as long as it is wanted; return whether one is."""
        return self._processes.prepare(wanted=wanted)

    def stop(self) -> None:
        """Run nothing more: threads end after their job, children at once."""
        self._threads.stop()
        self._processes.stop()

    def join(self, timeout: float) -> bool:
        """Wait until all has ended; False when it has not within ``timeout`` seconds."""
        deadline = monotonic() + timeout
        ended = self._threads.join(timeout)
        return self._processes.join(max(0.0, deadline - monotonic())) and ended


def clear(runs: Sequence[Run]) -> None:
    """Suspect these no longer, but for what has ended a process before."""
    for run in runs:
        for record in run:
            record.suspect = record.delivery is not None and record.delivery.crashes > 0


def any_suspect(runs: Sequence[Run]) -> bool:
    """Whether one of these has a suspect in it.

    Nearly always false and asked for every record: 35 ns each, half of what ``any`` costs.
    """
    for run in runs:
        for record in run:
            if record.suspect:
                return True
    return False
