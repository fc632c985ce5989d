"""Runs attempts in threads: lists of runs in, lists of records out, one at a time per thread.

A thread takes the next run from one shared queue (a deque's ends are atomic, about 50 ns), so a
slow job never holds another key's job behind it. Waking a thread costs far more than a short job,
so a submission wakes one, and the caller's ``nudge`` wakes more, doubling, for as long as what is
ready would take the running ones too long.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable

from streamjobs.clock import monotonic
from streamjobs.engine.records import Record, Run
from streamjobs.engine.results import RELEASED, Discarded, Succeeded

# Seconds of ready work above which another thread is woken.
PATIENCE = 0.02
# Results after which the rest of a run goes on; after any other the engine decides.
GOES_ON = (Succeeded, Discarded)
# Says whether a record's attempt may begin at this time.
MayBegin = Callable[[Record], bool]


class ThreadExecutor:
    """A pool of threads that run attempts; it decides nothing.

    ``submit``, ``nudge``, ``collect``, ``wait`` and ``stop`` are called by one thread, the loop.

    Args:
        make_attempt: called in each thread for what runs its attempts: it sets a record's
            ``result`` and ``job``, and never raises. It is given ``may_begin``, to be asked once
            more before the handler is called: decoding may have waited for a schema.
        concurrency: how many threads.
        name: their names' beginning.
        ranks: how many urgencies there are.

    Attributes:
        lease: until when jobs may be begun, by the monotonic clock; what comes up later is given
            back. After the process stood still its partitions may be somebody else's.
    """

    def __init__(
        self,
        make_attempt: Callable[[MayBegin], Callable[[Record], None]],
        concurrency: int,
        name: str,
        *,
        ranks: int = 1,
    ) -> None:
        self._make_attempt = make_attempt
        self._ready: list[deque[Run]] = [deque() for _ in range(ranks)]
        self._finished: deque[Record] = deque()
        self._idle: list[threading.Lock] = []
        self._waiting, self._wanted = False, 1
        self._signal = threading.Event()
        self._stopping = self._halted = False
        self.lease = math.inf
        self._wake_next = 1
        self._since, self._collected = monotonic(), 0
        self._current: list[Record | None] = [None] * concurrency
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"{name}-{n}", daemon=True)
            for n in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, runs: Iterable[Run], rank: int = 0) -> None:
        """Take runs; each is executed in order until a record of it does not succeed.

        Args:
            runs: of one urgency.
            rank: which; runs of a lower rank are begun first.
        """
        self._ready[rank].extend(runs)
        self._wake(1)

    def nudge(self) -> None:
        """Wake more threads when the running ones would take too long with what is ready."""
        ready = sum(map(len, self._ready))
        if not ready or not self._idle:
            self._wake_next = 1
            return
        elapsed = monotonic() - self._since
        if ready * elapsed > PATIENCE * self._collected:
            self._wake(self._wake_next)
            self._wake_next *= 2

    def collect(self) -> list[Record]:
        """Return the records that were run, or given back with the result ``RELEASED``."""
        take = self._finished.popleft
        records = [take() for _ in range(len(self._finished))]
        now = monotonic()
        if now - self._since > PATIENCE:
            self._since, self._collected = now, 0
        self._collected += len(records)
        return records

    def wait(self, timeout: float, wanted: int = 1) -> None:
        """Return when ``wanted`` records can be collected, or after ``timeout`` seconds."""
        self._wanted, self._waiting = wanted, True
        if len(self._finished) < wanted:
            self._signal.wait(timeout)
        self._waiting = False
        self._signal.clear()

    def halt(self) -> None:
        """Begin nothing more, and give back what was not begun; running jobs go on to their end."""
        self._halted = True
        self.give_back()

    def give_back(self) -> None:
        """Give back what was not begun."""
        while (run := self._next()) is not None:
            self._release(run)

    def running(self) -> list[Record]:
        """Return what is being attempted, or is about to be."""
        return [record for record in self._current if record is not None]

    @property
    def doubting(self) -> bool:
        """Nothing is suspected."""
        return False

    def doubt(self, times: int = 1) -> None:
        """Do nothing: there is nowhere else to run a suspect."""

    def prepare(self, *, wanted: bool) -> bool:  # noqa: ARG002 - its name is the executors'
        """Say that a suspect could be run at once: in a thread, as all else."""
        return True

    def stop(self) -> None:
        """Run nothing more; threads end after the job they are in, and are not waited for."""
        self._stopping = True
        self.halt()
        self._wake(len(self._threads))

    def may_begin(self, record: Record) -> bool:
        """Whether a record is still this worker's to begin; called by the threads."""
        return not self._halted and record.log.begins and monotonic() <= self.lease

    def join(self, timeout: float) -> bool:
        """Wait until all threads have ended; False when some still run after ``timeout``."""
        deadline = monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _wake(self, count: int) -> None:
        for _ in range(count):
            try:
                lock = self._idle.pop()
            except IndexError:
                return
            lock.release()

    def _work(self, number: int) -> None:
        mine = threading.Lock()
        mine.acquire()
        attempt = self._make_attempt(self.may_begin)
        while not self._stopping:
            run = self._next()
            if run is None:
                self._sleep(mine)
            else:
                self._run(run, attempt, number)
                self._current[number] = None

    def _next(self) -> Run | None:
        for ready in self._ready:
            try:
                return ready.popleft()
            except IndexError:
                continue
        return None

    def _sleep(self, mine: threading.Lock) -> None:
        """Wait for a waker; what was submitted just before being listed as idle is not missed."""
        self._idle.append(mine)
        if any(self._ready) or self._stopping:
            try:
                self._idle.remove(mine)
            except ValueError:
                pass  # a waker has taken it, and its release is on the way
            else:
                return
        mine.acquire()

    def _run(self, run: Run, attempt: Callable[[Record], None], number: int) -> None:
        for index, record in enumerate(run):
            # Before it is asked whether it may begin: whoever forbids it and then looks for what
            # runs sees it here, or it is seen here that it may not.
            self._current[number] = record
            if not self.may_begin(record):
                self._release(run[index:])
                return
            attempt(record)
            # Asked before it is given away: who collects it may put it back in line at once.
            goes_on = record.result is None or isinstance(record.result, GOES_ON)
            self._finished.append(record)
            if self._waiting:
                self._tell()
            if not goes_on:
                self._release(run[index + 1 :])
                return

    def _release(self, run: Run) -> None:
        for record in run:
            record.result = RELEASED
            self._finished.append(record)
        self._tell()

    def _tell(self) -> None:
        if self._waiting and len(self._finished) >= self._wanted:
            self._waiting = False
            self._signal.set()
