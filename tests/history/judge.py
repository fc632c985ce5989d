"""The judge of a real history: each rule is one guarantee, and yields what breaks it.

It knows the log, what ran and what was done to whom, and nothing of the engine.
"""

from __future__ import annotations

import signal
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile, islice, pairwise

from history.events import FINAL, Outcome
from history.model import (
    FOREVER,
    SECOND,
    Attempt,
    Gap,
    History,
    Hit,
    Sample,
    Stored,
    first_end,
    grouped,
)
from history.take_overs import limit_of, take_overs

# Brokers stamp records in milliseconds, by a clock that is read at another moment than ours.
STAMP_SLACK = SECOND // 50
# A transaction's end is marked in its partitions, the group's offsets among them, this much after
# its producer was told that it is committed, at most: 0.17 s was measured where six busy processes
# share two processors, and a campaign has more of them.
MARKED = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Violation:
    """A guarantee that a history breaks; ``job`` is whose story tells it."""

    rule: str
    text: str
    job: str | None = None


def judge(history: History, needed: Mapping[str, int]) -> list[Violation]:
    """Return everything that is wrong with a history.

    Args:
        history: of one campaign, after the final drain.
        needed: what has to have happened at least so often, by the name of its total.
    """
    found = [v for rule in RULES for v in rule(history)]
    return [*found, *vacuous(history.totals(), needed)]


def vacuous(totals: Counter[str], needed: Mapping[str, int]) -> Iterator[Violation]:
    """A campaign in which nothing went wrong shows nothing."""
    for name, least in needed.items():
        if totals[name] < least:
            yield Violation("vacuous", f"{name}: {totals[name]}, and at least {least} are needed")


# -- what became of the jobs ---------------------------------------------------------------------


def no_loss(history: History) -> Iterator[Violation]:
    """What was acknowledged lies in main; what lies in main ended, or lies in the DLQ."""
    main = {(s.partition, s.offset): s for s in history.of_kind("main")}
    buried = {s.origin for s in history.of_kind("dlq")}
    for event in history.enqueued:
        there = main.get((event.partition, event.offset))
        if there is None or there.job != event.job:
            yield Violation("no loss", f"job {event.job} was acknowledged, not in main", event.job)
    for place, record in main.items():
        if place in buried:
            continue
        outcomes = {a.outcome for a in history.attempts_of.get(record.job or "", ())}
        if Outcome.DEAD in outcomes or not outcomes & FINAL:
            kind = "poison" if record.job is None else f"job {record.job}"
            yield Violation("no loss", f"{kind} {record} has no end", record.job)
    last = history.samples[-1].offsets if history.samples else {}
    for where, end in history.ends.items():
        if last.get(where, 0) < end:
            text = f"{where[0]}[{where[1]}] ends at {end}, and only {last.get(where)} is committed"
            yield Violation("no loss", f"not drained: {text}")


def one_end(history: History) -> Iterator[Violation]:
    """No job ends in two ways."""
    buried = {s.origin for s in history.of_kind("dlq")}
    for job, record in history.jobs.items():
        ways = {a.outcome for a in history.attempts_of.get(job, ())} & FINAL
        if (record.partition, record.offset) in buried:
            ways.add(Outcome.DEAD)
        if len(ways) > 1:
            names = ", ".join(sorted(w.name.lower() for w in ways))
            yield Violation("one end", f"job {job} ended in several ways: {names}", job)


def payload(history: History) -> Iterator[Violation]:
    """Tiers and DLQ hold the bytes that main holds."""
    main = {(s.partition, s.offset): s for s in history.of_kind("main")}
    for origin, copies in history.copies.items():
        for copy in copies:
            source = main.get(origin)
            if source is None:
                yield Violation("payload", f"{copy} comes from main {origin}: there is none")
            elif (copy.key, copy.value) != (source.key, source.value):
                yield Violation("payload", f"{copy} differs from {source}", source.job)


def children(history: History) -> Iterator[Violation]:
    """A job that succeeds has its child once; others have none."""
    made = grouped((s.parent, s) for s in history.of_kind("main") if s.parent is not None)
    for parent, records in made.items():
        outcomes = {a.outcome for a in history.attempts_of.get(parent or "", ())}
        if Outcome.SUCCEEDED not in outcomes:
            yield Violation("children", f"job {parent} did not succeed and has a child", parent)
        for first, again in pairwise(sorted(records, key=lambda s: s.at)):
            if not _rerun_is_known(history, first.at, again.at):
                yield Violation("children", f"job {parent} has its child twice: {again}", parent)


# -- when they ran ---------------------------------------------------------------------------------


def order(history: History) -> Iterator[Violation]:
    """A job's first start comes after every earlier job of its key has ended."""
    jobs = sorted(history.jobs.values(), key=lambda s: (s.partition, s.offset))
    lanes = grouped((s.key, s) for s in jobs if s.key is not None)
    buried = {s.job: s.at for s in history.of_kind("dlq")}
    for lane in lanes.values():
        latest, blame = 0, ""
        for record in lane:
            attempts = history.attempts_of.get(record.job or "", [])
            if attempts and attempts[0].started < latest:
                yield from _overtaken(history, attempts[0], blame)
            ended = first_end(attempts)
            if ended == FOREVER:
                # Dead of what it did to its processes, or was taken to have done: nothing noted it.
                ended = buried.get(record.job, FOREVER)
            if ended > latest:
                latest, blame = ended, record.job or ""


def _overtaken(history: History, first: Attempt, earlier: str) -> Iterator[Violation]:
    if history.cut_off_at(first.worker, first.started) is None:
        text = f"job {first.job} of key {first.key!r} began before job {earlier} had ended"
        yield Violation("order", f"{text}\n{history.story(earlier)}\n", first.job)


def overlap(history: History) -> Iterator[Violation]:
    """No two attempts of a key run at one time, but for those of a process that was cut off."""
    ordered = {s.job for s in history.jobs.values() if s.key is not None}
    lanes = grouped((a.key, a) for a in history.attempts if a.job in ordered)
    for lane in lanes.values():
        running: list[Attempt] = []
        for attempt in lane:
            running = [a for a in running if history.last_breath(a) > attempt.started]
            for other in running:
                if not _may_overlap(history, other, attempt):
                    text = f"jobs {other.job} and {attempt.job} of key {attempt.key!r} at one time"
                    yield Violation("overlap", f"{text}\n{history.story(other.job)}\n", attempt.job)
            running.append(attempt)


def _may_overlap(history: History, first: Attempt, second: Attempt) -> bool:
    """Whether the first was begun by a process that was cut off since, or the second by such."""
    spans = history.cut_offs.get(first.worker, ())
    began_before = any(s.begin <= second.started and first.started < s.end for s in spans)
    return began_before or history.cut_off_at(second.worker, second.started) is not None


def attempts(history: History) -> Iterator[Violation]:
    """An attempt begins after the one before it has failed."""
    for job, all_of_it in history.attempts_of.items():
        failed = {a.number: a.ended for a in reversed(all_of_it) if a.outcome is Outcome.FAILED}
        for a in all_of_it:
            before = failed.get(a.number - 1)
            if a.number > 1 and (before is None or before > a.started):
                text = f"attempt {a.number} of job {job} began before attempt {a.number - 1} failed"
                yield Violation("attempts", text, job)


def duplicates(history: History) -> Iterator[Violation]:
    """An attempt begins again only where its process was cut off before its outcome was durable."""
    for job, all_of_it in history.attempts_of.items():
        for number, starts in grouped((a.number, a) for a in all_of_it).items():
            for index, again in enumerate(starts):
                known = index and _rerun_is_known(history, all_of_it[0].started, again.started)
                if index and not known and not _explained(history, starts[:index], again):
                    text = f"attempt {number} of job {job} began again in worker {again.worker}"
                    yield Violation("duplicates", text, job)


def _explained(history: History, before: list[Attempt], again: Attempt) -> bool:
    if history.cut_off_at(again.worker, again.started) is not None:
        return True  # a zombie's
    for first in before:
        for span in history.cut_offs.get(first.worker, ()):
            between = first.started < span.end and span.begin <= again.started
            if between and not history.surely_committed(first, span.begin):
                return True
    return False


def _rerun_is_known(history: History, first: int, again: int) -> bool:
    """Whether partitions changed hands in between, and completions are known to be forgotten."""
    known = Gap.NO_METADATA in history.gaps
    return known and history.handed_over(first - STAMP_SLACK, again)


# -- what the log says -----------------------------------------------------------------------------


def moves(history: History) -> Iterator[Violation]:
    """Each copy of a job was moved from the one before it, and nothing is twice where it is.

    A copy that only waits changes nothing of the job, so one that is there twice is told from one
    that was moved on by when the record before it was complete: in the transaction that wrote it.
    """
    main = {(s.partition, s.offset): s for s in history.of_kind("main")}
    for origin, copies in history.copies.items():
        steps = grouped(
            ("dlq" if c.kind == "dlq" else c.attempts, c) for c in copies if not c.waiting
        )
        again = [pair for same in steps.values() for pair in pairwise(same)]
        twice = [(b, f"{a} was moved twice: {b}") for a, b in again]
        if not twice and origin in main:
            chain = pairwise([main[origin], *copies])
            twice = [(b, why) for a, b in chain if (why := _from_elsewhere(history, a, b))]
        for copy, text in twice:
            # What runs again from main goes through all of its tiers again.
            if not _rerun_is_known(history, copies[0].at, copy.at):
                yield Violation("moves", text, copy.job)


def _from_elsewhere(history: History, source: Stored, copy: Stored) -> str | None:
    """Why a copy cannot have been moved from where the one before it lies."""
    if source.kind == "dlq":
        return f"{source} was moved on from the DLQ: {copy}"
    moved = _moved_by(history, copy)
    for sample in history.samples:
        complete = sample.complete(source)
        if complete and sample.at < copy.at - STAMP_SLACK:
            told = history.told(sample, source)
            return f"{source} was complete before it was moved: {copy} ({told})"
        if complete is False and moved is not None and sample.asked > moved:
            told = history.told(sample, source)
            return f"{source} was not complete when it had been moved: {copy} ({told})"
    return None


def _moved_by(history: History, copy: Stored) -> int | None:
    """When the transaction that wrote a copy was committed at the latest; None: not known.

    While a broker was away its mark may have been written much later.
    """
    process = next((p for p in history.processes.values() if p.pid == copy.by), None)
    if process is None:
        return None
    hits = history.hits_of.get(process.pid, [])
    # Its transaction is the first all of whose records were acknowledged after it was stamped: the
    # one before may just have been committed.
    ended = _from_the_end(hits, copy.at - STAMP_SLACK)
    if ended:
        # The next one after it takes no record before its end is marked everywhere. By the stamp it
        # may be one earlier, not one later.
        behind = _from_the_end(hits, copy.at + STAMP_SLACK)
        next_one = next((h.at for h in behind if h.name == "txn.produced"), FOREVER)
        moved = min(next_one, ended[0].at + MARKED)
    else:
        # One that died before it was told had asked for it; nobody commits for another one.
        died = [at for at in (process.killed, process.ended) if at is not None]
        if not died:
            return None
        moved = min(died) + MARKED
    away = any(f.at < moved and copy.at < f.until for f in history.faults if f.is_broker)
    return None if away else moved


def _from_the_end(hits: list[Hit], at: int) -> list[Hit]:
    """From the end on of the first transaction whose records were acknowledged from then on."""
    left: Iterable[Hit] = islice(hits, bisect_left(hits, at, key=lambda h: h.at), None)
    for name in ("txn.produced", "txn.committed"):
        left = dropwhile(partial(_is_another, name), left)
    return [*left]


def _is_another(name: str, hit: Hit) -> bool:
    return hit.name != name


def offsets(history: History) -> Iterator[Violation]:
    """Nothing below a committed offset is incomplete, at any time."""
    by_place = grouped(((s.topic, s.partition), s) for s in history.stored if s.kind != "dlq")
    done = {id(s): _complete_at(history, s) for records in by_place.values() for s in records}
    for records in by_place.values():
        records.sort(key=lambda s: s.offset)
    seen: set[int] = set()
    for sample in history.samples:
        for place, committed in sample.offsets.items():
            yield from _too_far(sample, committed, by_place.get(place, []), done, seen)


def _too_far(
    sample: Sample, committed: int, records: list[Stored], done: dict[int, int], seen: set[int]
) -> Iterator[Violation]:
    for record in records:
        if record.offset >= committed:
            return
        if done[id(record)] > sample.at and id(record) not in seen:
            seen.add(id(record))
            text = f"{committed} was committed while {record} was not complete"
            yield Violation("offsets", text, record.job)


def _complete_at(history: History, record: Stored) -> int:
    """When a record was complete: its attempt had ended, or a later copy carried it on."""
    ends = (
        a.ended
        for a in history.attempts_of.get(record.job or "", ())
        if a.ended is not None and a.number > record.attempts
    )
    copies = history.copies.get(record.origin, [])
    first = 0 if record.kind == "main" else bisect_left(copies, record.at, key=lambda c: c.at)
    later = (c.at - STAMP_SLACK for c in islice(copies, first, None) if c is not record)
    return min((*ends, next(later, FOREVER)), default=FOREVER)


# -- how long it took ------------------------------------------------------------------------------


def liveness(history: History) -> Iterator[Violation]:
    """A killed worker's partitions run elsewhere within the session and two seconds."""
    limit = limit_of(history)
    for take_over in take_overs(history):
        if take_over.seconds > limit:
            what = f"partition {take_over.partition} of killed worker {take_over.worker}"
            text = f"{what} stood still for {take_over.seconds:.1f} s; {limit:g} are allowed"
            yield Violation("liveness", text, take_over.job)


def exits(history: History) -> Iterator[Violation]:
    """No worker ends unless it is killed or told to; told to, it exits with 0."""
    for process in history.processes.values():
        if process.killed is not None or process.ended is None:
            continue
        # Told to stop before it has begun to listen, it dies of the signal: it had done nothing.
        fine = {0} if process.pid in history.hits_of else {0, -signal.SIGTERM}
        if process.code not in fine:
            text = f"worker {process.worker} ended with exit code {process.code}"
            yield Violation("exits", text)


RULES: tuple[Callable[[History], Iterator[Violation]], ...] = (
    no_loss, one_end, payload, children, order, overlap, attempts, duplicates, moves, offsets,
    liveness, exits,
)  # fmt: skip
