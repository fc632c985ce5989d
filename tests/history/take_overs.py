"""How long the partitions of killed workers stood still, as far as nothing else was the cause."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from history.model import FOREVER, SECOND, Attempt, Gap, History, Process, first_end, grouped

# What a killed worker's jobs may wait beyond the session, and the broker's transaction timeout.
TAKE_OVER, TRANSACTION = 2.0, 15.0
# Behind these a worker may have partitions no more; between these a transaction is open that the
# next owner has to end.
GIVEN_AWAY = frozenset({"loop.revoked", "loop.drained", "loop.lost"})
IN_TRANSACTION = frozenset({"txn.produced", "txn.offsets-sent"})
INSIDE = "take-overs of a transaction"


class TakeOver(NamedTuple):
    """What became of a partition whose owner was killed, when nothing else happened.

    Attributes:
        worker: that was killed.
        partition: of main.
        seconds: for which nothing of it ran.
        job: one of it that waited.
        inside: whether the worker died in a transaction that had written something.
    """

    worker: int
    partition: int
    seconds: float
    job: str
    inside: bool


def take_overs(history: History) -> Iterator[TakeOver]:
    """Yield what became of each partition that a killed worker owned.

    Of kills that nothing else disturbed, and of partitions in which there was something to do.
    """
    by_partition = grouped(
        (history.jobs[a.job].partition, a) for a in history.attempts if a.job in history.jobs
    )
    for process in history.processes.values():
        killed = process.killed
        if killed is None:
            continue
        for partition, runs in by_partition.items():
            next_one = bisect_right(runs, killed, key=lambda a: a.started)
            if not next_one or not _owned(history, process, killed, runs[next_one - 1]):
                continue
            after = runs[next_one].started if next_one < len(runs) else FOREVER
            if _disturbed(history, killed, after):
                continue
            if waiting := _waiting(history, partition, killed):
                seconds, inside = (after - killed) / SECOND, _inside(history, process)
                yield TakeOver(process.worker, partition, seconds, waiting, inside)


def measured(history: History) -> Counter[str]:
    """Of how many killed workers it is known how long their partitions stood still."""
    found = {t.worker: t.inside for t in take_overs(history)}
    return Counter({"take-overs": len(found), INSIDE: sum(found.values())})


def _owned(history: History, process: Process, killed: int, last: Attempt) -> bool:
    """Whether the partition of its last attempt was the worker's own still when it was killed."""
    if last.worker != process.worker:
        return False
    spans = history.cut_offs.get(process.worker, ())
    gone = any(s.begin <= killed < s.end for s in spans if s.why != "killed")
    return not gone and not any(
        hit.name in GIVEN_AWAY and last.started < hit.at <= killed
        for hit in history.hits_of.get(process.pid, ())
    )


def _inside(history: History, process: Process) -> bool:
    hits = history.hits_of.get(process.pid, [])
    return bool(hits) and hits[-1].action == "kill" and hits[-1].name in IN_TRANSACTION


def limit_of(history: History) -> float:
    """Seconds that a killed worker's partition may stand still."""
    limit = history.session + TAKE_OVER
    if Gap.OPEN_TRANSACTIONS in history.gaps:
        return max(limit, TRANSACTION + TAKE_OVER)
    return limit


def _waiting(history: History, partition: int, killed: int) -> str | None:
    """A job of the partition that was acknowledged before the kill and had not ended."""
    for event in history.enqueued:
        if event.partition != partition or event.at > killed + SECOND:
            continue
        if first_end(history.attempts_of.get(event.job, [])) > killed:
            return event.job
    return None


def _disturbed(history: History, killed: int, after: int) -> bool:
    """Whether anything else was done before the partition ran again, or should have."""
    begin, end = killed - SECOND, min(after, killed + round(limit_of(history) * SECOND))
    return sum(f.at < end and f.until > begin for f in history.faults) > 1
