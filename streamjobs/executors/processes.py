"""Runs attempts in child processes: what kills its process kills a child, and the parent sees it.

Each slot is a thread that owns one child at a time, starts it when there is something to run,
replaces it when it has ended, and ends it after some idle seconds. A child runs one job at a time,
so that its end is that job's. What needs no child runs in threads, which cost a hundredth.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable

from streamjobs.clock import monotonic
from streamjobs.engine.records import Record, Run
from streamjobs.engine.results import RELEASED
from streamjobs.executors.slot import TICK, ChildRecipe, Slot


class ProcessExecutor:
    """A pool of child processes that run attempts; it decides nothing.

    It has ``ThreadExecutor``'s surface, called by one thread, the loop. Nothing is started before
    the first ``submit`` or ``prepare``. A job whose partition is taken away is ended at once.

    Args:
        recipe: of the children.
        name: the beginning of the slots' names.
        processes: how many children at most.
        idle: seconds after which a child without work is ended.
        ranks: how many urgencies there are.

    Attributes:
        lease: as ``ThreadExecutor`` has it: after that nothing is begun.
        ran: how many jobs have run to an end of some kind.
        seconds: how long they took, in all.
    """

    def __init__(
        self,
        recipe: ChildRecipe,
        name: str,
        *,
        processes: int = 1,
        idle: float = 30.0,
        ranks: int = 1,
    ) -> None:
        self.halted = self.stopping = self.preparing = False
        self._starter: Slot | None = None
        self.lease = math.inf
        self._changed = threading.Condition()
        self._ready: list[deque[Run]] = [deque() for _ in range(ranks)]
        self._finished: list[Record] = []
        self.ran, self.seconds = 0, 0.0
        self._slots = [Slot(self, recipe, idle, f"{name}-child-{n}") for n in range(processes)]

    def submit(self, runs: Iterable[Run], rank: int = 0) -> None:
        """Take runs; each is executed in order until a record of it does not succeed.

        Args:
            runs: of one urgency.
            rank: which; runs of a lower rank are begun first.
        """
        with self._changed:
            self._ready[rank].extend(runs)
            self._wake()

    def prepare(self, *, wanted: bool) -> bool:
        """Have a child ready for the next run, as long as that is wanted; return whether one is.

        Starting one takes a second and more.
        """
        with self._changed:
            ready = any(slot.ready for slot in self._slots)
            preparing, self.preparing = self.preparing, wanted and not ready
            if self.preparing and not preparing:
                self._wake()
            return ready

    def _wake(self) -> None:
        for slot in self._slots:
            if slot.ident is None and not self.stopping:
                slot.start()
        self._changed.notify_all()

    def nudge(self) -> None:
        """Do nothing: every slot is awake while there is work."""

    def collect(self) -> list[Record]:
        """Return the records that were run, or given back with the result ``RELEASED``."""
        with self._changed:
            records, self._finished = self._finished, []
        return records

    def wait(self, timeout: float, wanted: int = 1) -> None:
        """Return when ``wanted`` records can be collected, or after ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._finished) >= wanted, timeout)

    def halt(self) -> None:
        """Begin nothing more, and give back what was not begun; running jobs go on to their end."""
        self.halted = True
        self.give_back()

    def give_back(self) -> None:
        """Give back what was not begun."""
        with self._changed:
            for ready in self._ready:
                while ready:
                    self._give_back(ready.popleft())
            self._changed.notify_all()

    def running(self) -> list[Record]:
        """Return what is being attempted, or is about to be."""
        return [record for slot in self._slots if (record := slot.record) is not None]

    @property
    def doubting(self) -> bool:
        """Nothing is cleared: all that comes here is suspect."""
        return False

    def doubt(self, times: int = 1) -> None:
        """Do nothing: all that comes here is suspect."""

    def stop(self) -> None:
        """Run nothing more; running jobs are ended, not waited for, and given back."""
        self.stopping = True
        self.halt()

    def join(self, timeout: float) -> bool:
        """Wait until all children and threads have ended; False when some have not in time."""
        deadline = monotonic() + timeout
        started = [slot for slot in self._slots if slot.ident is not None]
        for slot in started:
            slot.join(max(0.0, deadline - monotonic()))
        return not any(slot.is_alive() for slot in started)

    # -- called by the slots -----------------------------------------------------------------

    def next(self, slot: Slot, timeout: float | None) -> Run | None:
        """Wait for a run; None after ``timeout`` seconds, or when all is over or to be prepared.

        What is ready is left to who has a child that is. Children are started one after the other:
        where an owner has vanished, all that take over from it start some at a time when the
        machine has least to spare, and the first that is ready has a job at once.
        """

        def work() -> bool:
            if not slot.ready and self._starter is not None:
                return False
            others = 0 if slot.ready else sum(each.ready for each in self._slots)
            return sum(map(len, self._ready)) > others

        def due() -> bool:
            return self.stopping or work() or prepares()

        def prepares() -> bool:
            return self.preparing and self._starter is None and not slot.ready

        with self._changed:
            self._changed.wait_for(due, timeout)
            if not work():
                if prepares():
                    self._starter = slot
                return None
            if not slot.ready:
                self._starter = slot
            slot.ready = False
            self._changed.notify_all()
            return next(ready for ready in self._ready if ready).popleft()

    def prepares(self, slot: Slot) -> bool:
        """Whether it is this slot that is to have a child ready, after it was given no run."""
        return self._starter is slot

    def started(self, slot: Slot) -> None:
        """Take note that a slot has started a child, or wants none any more: another may."""
        with self._changed:
            self._end_start(slot)

    def prepared(self, slot: Slot, *, ready: bool) -> None:
        """Take note that a slot has a child that waits for a job, or has none any more."""
        with self._changed:
            slot.ready = ready
            self.preparing &= not ready
            self._end_start(slot)
            self._changed.notify_all()

    def _end_start(self, slot: Slot) -> None:
        if self._starter is slot:
            self._starter = None
            self._changed.notify_all()

    def finish(self, record: Record, seconds: float) -> None:
        """Take a record whose result is set, after so many seconds."""
        with self._changed:
            self.ran += 1
            self.seconds += seconds
            self._finished.append(record)
            self._changed.notify_all()

    def release(self, run: Run) -> None:
        """Take back what was not begun."""
        with self._changed:
            self._give_back(run)
            self._changed.notify_all()

    def pause(self, seconds: float, unwanted: Callable[[], bool]) -> None:
        """Wait, and not for what nobody wants any longer."""
        deadline = monotonic() + seconds
        with self._changed:
            while monotonic() < deadline and not unwanted():
                self._changed.wait(TICK)

    def _give_back(self, run: Run) -> None:
        for record in run:
            record.result = RELEASED
        self._finished += run
