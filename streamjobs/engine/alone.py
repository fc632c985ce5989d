"""One suspect at a time, each under a mark that is committed before it begins.

After several owners in a row have vanished (``suspicion.ALONE_FROM``) it is worth knowing which job
ended them. So here a suspect waits until nothing else is being tried, then for the commit of its
mark; what becomes of it is told by the next commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from streamjobs.engine.decide import MAX_CRASHES
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.records import Log, Record, Run
from streamjobs.engine.results import RELEASED, Condemned
from streamjobs.engine.suspicion import NO_SUSPICION, Suspicion
from streamjobs.headers import Failure

# Jobs that are tried alone, and seconds that it takes, before the rest of the suspects runs beside
# each other. Of one process, not of each partition: where owners come and go for other reasons, all
# would stand still. Where it was too few the next owner tries four times as long.
TRIED, TRIED_FOR = 4, 2.0
# Jobs of a partition that have run before its next owner is told of no doubt: more than a worker
# has threads, so that what ended the last one is among them.
RAN = 64


class Permit(Protocol):
    """Held by the one queue of a process that tries something; a lock is one."""

    def acquire(self, blocking: bool = ...) -> bool: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


class Alone:
    """The suspects of one queue's engine that are tried one at a time.

    Args:
        out: where decisions wait.
        permit: shared by the queues of a process, so that none convicts another's; None: there is
            one queue.

    Attributes:
        on: whether all suspects are tried so; else only those that have ended a worker before.
        any: whether there may be one to be tried so.
        doubts: whether some partition's suspects are not cleared.
        growth: how many times as much as may have been running is to be run apart.
        prepared: whether one could begin as soon as its mark is committed. Set by the caller: what
            ends the worker while it gets ready would count against the job.
    """

    def __init__(self, out: Outbox, permit: Permit | None = None) -> None:
        self._out, self._permit = out, permit
        self._waits: list[list[Run]] = [[] for _ in out.starts]
        self._trial: Record | None = None
        self._rest: Run = []
        self._rank = 0
        self._begun, self._since, self._cleared = False, 0.0, False
        self._held = False
        self._untold: dict[Log, None] = {}
        self.on = self.any = self.doubts = False
        self.prepared = True
        self.growth = 1
        self._tried, self._tried_for = 0, 0.0

    def look(self, logs: Iterable[Log]) -> None:
        """See after a change of what is owned, or suspected, whether there is anything to do."""
        logs = list(logs)
        for log in logs:
            if not log.suspicion.doubt:
                continue
            patience = TRIED_FOR * log.suspicion.growth
            if log.alone and self._tried >= TRIED and self._tried_for >= patience:
                log.alone = False
            elif not log.alone and self._cleared and log.ran >= RAN:
                log.suspicion = log.suspicion._replace(doubt=False)
        doubted = [log for log in logs if log.suspicion != NO_SUSPICION]
        self.doubts = any(log.suspicion.doubt for log in doubted)
        self.growth = max((log.suspicion.growth for log in doubted), default=1)
        self.on = any(log.alone and log.suspicion.doubt for log in doubted)
        self.any = self.on or any(log.suspicion.crashes for log in doubted)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to go on with."""
        return not (self.any or self.doubts or self._held or any(self._waits))

    @property
    def waits(self) -> bool:
        """Whether something is tried alone, or is to be."""
        return self._trial is not None or any(self._waits)

    @property
    def marks(self) -> bool:
        """Whether a mark waits to be committed, or to be taken back so that another queue tries."""
        if self._trial is None:
            return self._held and not self._all_told()
        return not self._begun and not self._is_told(self._trial)

    def taken(self, logs: Iterable[Log]) -> None:
        """A shard was taken: what was cleared is not what came with it."""
        self._cleared = False
        if not self.on:
            self._tried, self._tried_for = 0, 0.0
        self.look(logs)

    def go_on(self, logs: Iterable[Log]) -> list[Record]:
        """Look again at what waits.

        Returns:
            Runs, in order, of which the first is not to be tried again, with its result.
        """
        self.look(logs)
        self._sift()
        return self._condemned() if self.any else []

    def _sift(self) -> None:
        """Take out of what may start what is to be tried alone, and put back what need not be."""
        for rank, runs in enumerate(self._out.starts):
            runs += [run for run in self._waits[rank] if not any(map(self._apart, run))]
            self._waits[rank] = [run for run in self._waits[rank] if any(map(self._apart, run))]
            apart = [run for run in runs if any(map(self._apart, run))]
            if apart:
                self._waits[rank] += apart
                runs[:] = [run for run in runs if not any(map(self._apart, run))]

    def _apart(self, record: Record) -> bool:
        if not record.suspect:
            return False
        return self.on or record.log.suspicion.of(record.offset) > 0

    def choose(self, now: float, still: Collection[int] = ()) -> bool:
        """Mark the next one, if nothing is being tried; False when there is none.

        Args:
            now: seconds since the epoch.
            still: shards of which nothing is committed at present.
        """
        self._untold = {log: None for log in self._untold if log.partition not in still}
        if self._trial is not None or self._held or not self.prepared:
            return False
        found = self._next(still)
        if found is None or (self._permit is not None and not self._permit.acquire(blocking=False)):
            return False
        self._held = self._permit is not None
        self._rank, run = found
        self._waits[self._rank].remove(run)
        self._trial, self._rest, self._begun, self._since = run[0], run[1:], False, now
        log = self._trial.log
        self._suspect(log, log.suspicion.tries(self._trial.offset))
        return True

    def let_go(self) -> None:
        """Let another queue try one, once the broker knows that none of this one is tried.

        Not earlier: should its job end the worker, the mark that still stands would convict ours.
        """
        if self._held and self._permit is not None and self._trial is None and self._all_told():
            self._held = False
            self._permit.release()

    def _condemned(self) -> list[Record]:
        found: list[Record] = []
        for runs in self._waits:
            for run in [run for run in runs if self._is_lost(run[0])]:
                runs.remove(run)
                head, *rest = run
                head.result = Condemned(_failure(head))
                for record in rest:
                    record.result = RELEASED
                found += run
        return found

    def take(self) -> list[list[Run]] | None:
        """Return the one whose mark is committed, once, by urgency; None: there is none.

        What follows it in its lane is given back after it.
        """
        if self.any:
            self._sift()
        trial = self._trial
        if trial is None or self._begun or not trial.log.begins or not self._is_told(trial):
            return None
        self._begun = True
        trial.suspect = True
        return [[[trial]] if rank == self._rank else [] for rank in range(len(self._waits))]

    def put_off(self) -> None:
        """Try what was marked, and has not begun, later."""
        trial = self._trial
        if trial is not None and not self._begun:
            self._waits[self._rank].insert(0, [trial, *self._rest])
            self._over()

    def returned(self, records: Sequence[Record], now: float) -> Sequence[Record]:
        """Count what has run, and add to it what was to follow the one that was tried."""
        trial = self._trial
        for record in records if self.any or self.doubts else ():
            if record.result is not RELEASED:
                record.log.ran += 1
                if record is trial:
                    self._tried += 1
                    self._tried_for += max(0.0, now - self._since)
        if trial is None or not self._rest or trial not in records:
            return records
        rest, self._rest = self._rest, []
        for record in rest:
            record.result = RELEASED
        at = records.index(trial) + 1
        return [*records[:at], *rest, *records[at:]]

    def ended(self, records: Sequence[Record]) -> None:
        """Take in what became of records that may have been tried, or have a mark."""
        for record in records if self.any or self.doubts else ():
            log = record.log
            if record is self._trial:
                self._over()
            if log.suspicion.of(record.offset) and log.watermark.has_completed(record.offset):
                self._suspect(log, log.suspicion.without(record.offset))

    def clear(self, logs: Iterable[Log]) -> None:
        """Suspect no longer what vanished owners of these may have been running.

        The next owner is told so of each partition of which enough has run; and what is tried
        alone is, until enough was.
        """
        self._cleared = True
        self.look(logs)

    def forget_dead(self, logs: Iterable[Log]) -> None:
        """Drop what belongs to assignments that are over; ``logs`` are those that hold."""
        for runs in self._waits:
            runs[:] = [run for run in runs if run[0].log.live]
        self._untold = {log: None for log in self._untold if log.live}
        if self._trial is not None and not self._trial.log.live:
            self._over()
        self.let_go()
        self.look(logs)

    def _over(self) -> None:
        trial, self._trial, self._rest = self._trial, None, []
        if trial is not None:
            self._suspect(trial.log, trial.log.suspicion.forgives())

    def _suspect(self, log: Log, suspicion: Suspicion) -> None:
        log.suspicion = suspicion
        if log.live:
            self._untold[log] = None

    def _next(self, still: Collection[int]) -> tuple[int, Run] | None:
        """What is to be tried next: first what has ended a worker, then by urgency."""
        ready = [
            (rank, run)
            for rank, runs in enumerate(self._waits)
            for run in runs
            if run[0].log.begins and run[0].log.partition not in still
        ]
        marked = (each for each in ready if each[1][0].log.suspicion.of(each[1][0].offset))
        return next(marked, ready[0] if ready else None)

    def _all_told(self) -> bool:
        """Whether the broker knows of every mark that was taken away."""
        self._untold = {log: None for log in self._untold if log.live and not _is_told(log)}
        return not self._untold

    def _is_told(self, record: Record) -> bool:
        return _is_told(record.log) and self._all_told()

    def _is_lost(self, record: Record) -> bool:
        crashes = 0 if record.delivery is None else record.delivery.crashes
        return crashes >= MAX_CRASHES and record.log.suspicion.of(record.offset) > 0


def _is_told(log: Log) -> bool:
    return log.committed is not None and log.committed.suspicion == log.suspicion


def _failure(record: Record) -> Failure:
    times = record.log.suspicion.of(record.offset)
    often = "once" if times == 1 else f"{times} times"
    text = f"the whole worker ended {often} while it ran this job alone, the child process with it"
    return Failure("Crashed", text, "")
