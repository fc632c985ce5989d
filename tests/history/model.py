"""A history: all that is known of a campaign when it is over. Times are monotonic nanoseconds."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Literal, TypeVar

from history.events import FINAL, Event, Kind, Outcome

SECOND = 10**9
FOREVER = 2**63
# A worker's drain budget, as long as it is told no other.
BUDGET = 20 * SECOND
# A thread that has taken a job on may note its start this much later: decoding comes first.
NOTED = SECOND // 4
Place = tuple[str, int]
K = TypeVar("K")
V = TypeVar("V")


class Gap(Enum):
    """What the product is known not to do yet; switched on, its consequences are only counted."""

    # Commits do not say what is complete above their offset: after every hand-over, in order or
    # not, it runs again and is moved again.
    NO_METADATA = "no-metadata"
    # A dead owner's open transaction is not ended by its id: it holds a take-over up until the
    # broker gives the transaction up.
    OPEN_TRANSACTIONS = "open-transactions"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as its process noted it; ``ended`` is None when it did not note an end."""

    job: str
    key: str
    number: int
    worker: int
    started: int
    ended: int | None = None
    outcome: Outcome = Outcome.NONE


@dataclass(slots=True)
class Process:
    """One worker process of the campaign.

    Attributes:
        worker: its incarnation.
        pid: of the system.
        spawned: when.
        halts: when it was stopped (SIGSTOP) and woken.
        asked: when it was told to stop (SIGTERM).
        killed: when it died of SIGKILL.
        ended: when it had ended, however that came.
        code: its exit code.
    """

    worker: int
    pid: int
    spawned: int
    halts: list[tuple[int, int]] = field(default_factory=list)
    asked: int | None = None
    killed: int | None = None
    ended: int | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A failpoint that a process passed; ``action`` is ``-``, ``kill`` or ``stop``."""

    name: str
    pid: int
    at: int
    action: str = "-"


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lay in the log at the end.

    Attributes:
        kind: of its topic.
        topic, partition, offset: where.
        at: when the broker or its producer stamped it.
        key, value: its bytes.
        job: the id it holds; None: it does not decode.
        origin: its partition and offset in main.
        attempts: how many were made.
        waiting: whether it was moved only because an earlier job of its key had not ended.
        parent: the job that enqueued it.
        by: the process id of the worker that moved it there.
    """

    kind: Literal["main", "tier", "dlq"]
    topic: str
    partition: int
    offset: int
    at: int
    key: bytes | None
    value: bytes | None
    job: str | None
    origin: tuple[int, int]
    attempts: int = 0
    waiting: bool = False
    parent: str | None = None
    by: int | None = None

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was committed at some time between ``asked`` and ``at``.

    Attributes:
        at: when the answer had come.
        offsets: the committed ones.
        above: ascending offsets from each of them on, at which it changes whether records are
            complete: not from the first on, from the second on, and so on.
        asked: when it was asked for.
    """

    at: int
    offsets: Mapping[Place, int]
    above: Mapping[Place, tuple[int, ...]] = field(default_factory=dict)
    asked: int = 0

    def complete(self, record: Stored) -> bool | None:
        """Whether a record was complete, as the next owner would see it; None: nothing is known."""
        place = (record.topic, record.partition)
        if (committed := self.offsets.get(place)) is None:
            return None
        bounds = self.above.get(place, ())
        known = bool(bounds) and record.offset < bounds[-1]
        return record.offset < committed or (known and bisect_right(bounds, record.offset) % 2 == 0)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a process was cut off; what it began before ``end`` may go on after it."""

    begin: int
    end: int
    why: Literal["killed", "stopped", "lost", "late"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to the campaign."""

    at: int
    until: int
    what: str

    @property
    def is_broker(self) -> bool:
        """Whether a broker was away."""
        return self.what.startswith("broker")


@dataclass
class History:
    """What the judge is given.

    Attributes:
        session: seconds after which a silent member is out of its group.
        events: of all journals.
        processes: by incarnation.
        hits: of all processes.
        stored: every committed record of main, tiers and DLQ.
        samples: committed offsets while it ran; the last one after the final drain.
        ends: where main and tiers end, by topic and partition.
        faults: what was done, brokers included.
        gaps: what the product is known not to do.
    """

    session: float = 6.0
    events: list[Event] = field(default_factory=list)
    processes: dict[int, Process] = field(default_factory=dict)
    hits: list[Hit] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    ends: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    gaps: frozenset[Gap] = frozenset()

    # -- jobs and attempts -------------------------------------------------------------------

    @cached_property
    def enqueued(self) -> list[Event]:
        """What was acknowledged."""
        return [e for e in self.events if e.kind is Kind.ENQUEUED]

    @cached_property
    def attempts(self) -> list[Attempt]:
        """All attempts, by start."""
        # By process: what runs in a child of its worker counts for itself.
        ends = {(e.pid, e.serial): e for e in self.events if self._is_end(e)}
        found = []
        for e in self.events:
            if e.kind is Kind.STARTED:
                end = ends.get((e.pid, e.serial))
                at, outcome = (None, Outcome.NONE) if end is None else (end.at, end.outcome)
                found.append(Attempt(e.job, e.key, e.attempt, e.worker, e.at, at, outcome))
        return sorted(found, key=lambda a: a.started)

    def _is_end(self, event: Event) -> bool:
        """Whether an attempt ended: one that killed a child has failed, its parent has seen it."""
        if event.kind is Kind.KILLED:
            return event.pid != self.processes[event.worker].pid
        return event.kind is Kind.ENDED

    @cached_property
    def attempts_of(self) -> dict[str, list[Attempt]]:
        """Attempts by job, by start."""
        return grouped((a.job, a) for a in self.attempts)

    @cached_property
    def jobs(self) -> dict[str, Stored]:
        """Every job that lies in main, by id, its first record."""
        return {s.job: s for s in reversed(self.of_kind("main")) if s.job is not None}

    @cached_property
    def copies(self) -> dict[tuple[int, int], list[Stored]]:
        """Records of tiers and DLQ by origin, in the order of time."""
        onward = sorted((s for s in self.stored if s.kind != "main"), key=lambda s: s.at)
        return grouped((s.origin, s) for s in onward)

    def of_kind(self, kind: str) -> list[Stored]:
        """The records of main, tiers or DLQ."""
        return [s for s in self.stored if s.kind == kind]

    # -- processes ---------------------------------------------------------------------------

    @cached_property
    def hits_of(self) -> dict[int, list[Hit]]:
        """Hits by process id, by time."""
        return grouped((h.pid, h) for h in sorted(self.hits, key=lambda h: h.at))

    def last_breath(self, attempt: Attempt) -> int:
        """When the attempt was over at the latest: its end, or its process's."""
        process = self.processes[attempt.worker]
        ends = (attempt.ended, process.killed, process.ended)
        return min((t for t in ends if t is not None), default=FOREVER)

    @cached_property
    def cut_offs(self) -> dict[int, list[Span]]:
        """When each process was killed, or silent for so long that others may have taken over."""
        return {p.worker: sorted(self._cut_offs(p), key=_begin) for p in self.processes.values()}

    def _cut_offs(self, process: Process) -> Iterable[Span]:
        session = round(self.session * SECOND)
        told = [
            h.at
            for h in self.hits_of.get(process.pid, [])
            if h.name in {"loop.lost", "loop.revoked"}
        ]
        halts = [h for h in process.halts if h[1] - h[0] > session / 3]
        explained = set()
        for begin, woken in halts:
            # It learns of it from its next heartbeats, a third of the session apart.
            known = next((t for t in told if t >= woken), FOREVER)
            explained.add(known if known < woken + session else FOREVER)
            yield Span(begin, min(known + NOTED, woken + session), "stopped")
        for hit in self.hits_of.get(process.pid, []):
            # Nobody stopped it, or it has learned of that before, and its group went on without it
            # all the same.
            if hit.name == "loop.lost" and hit.at not in explained:
                yield Span(hit.at - 2 * session, hit.at + NOTED, "lost")
        yield from self._late(process)
        if process.killed is not None:
            yield Span(process.killed, FOREVER, "killed")

    def _late(self, process: Process) -> Iterable[Span]:
        """When what it gave back was not committed within the drain budget, or may not have been.

        Then it is left to whoever comes next: no coordinator has taken the last commit in time.
        """
        asked, ended = process.asked, process.ended
        if asked is not None and ended is not None and ended - asked >= BUDGET:
            yield Span(asked, ended, "late")
        began = 0
        for hit in self.hits_of.get(process.pid, []):
            if hit.name == "loop.revoked":
                began = hit.at
            elif hit.name == "loop.drained" and began and hit.at - began >= BUDGET:
                yield Span(began, hit.at, "late")

    def cut_off_at(self, worker: int, at: int) -> Span | None:
        """The span in which a process was cut off at a time, if it was."""
        return next((s for s in self.cut_offs.get(worker, ()) if s.begin <= at < s.end), None)

    def handed_over(self, first: int, again: int) -> bool:
        """Whether partitions changed hands between two times, in good order or not."""
        spans = (s for spans in self.cut_offs.values() for s in spans)
        gone = any(s.begin <= again and first < s.end for s in spans)
        return gone or any(h.name == "loop.drained" and first < h.at <= again for h in self.hits)

    def surely_committed(self, attempt: Attempt, before: int) -> bool:
        """Whether the outcome of an attempt was in a commit that was answered before a time.

        The cycle taken first after the end may have been taken before the loop heard of it, the
        second one contains it.
        """
        if attempt.ended is None:
            return False
        pid, taken = self.processes[attempt.worker].pid, 0
        hits = self.hits_of.get(pid, [])
        for hit in hits[bisect_right(hits, attempt.ended, key=lambda h: h.at) :]:
            if hit.at >= before:
                return False
            taken += hit.name == "cycle.taken"
            if taken >= 2 and hit.name in {"cycle.plain-done", "cycle.transaction-done"}:
                return True
        return False

    # -- telling -----------------------------------------------------------------------------

    @cached_property
    def zero(self) -> int:
        """When it began."""
        times = [e.at for e in self.events] + [p.spawned for p in self.processes.values()]
        return min(times, default=0)

    def story(self, job: str) -> str:
        """All that is known of a job, a line each, in the order of time."""
        lines: list[tuple[int, str]] = []
        workers = set()
        for e in self.events:
            if e.job == job:
                workers.add(e.worker)
                end = f" {e.outcome.name.lower()}" if e.kind is Kind.ENDED else ""
                place = f" at [{e.partition}]@{e.offset}" if e.kind is Kind.ENQUEUED else ""
                who = f"worker {e.worker} attempt {e.attempt}" if e.worker else "producer"
                lines.append((e.at, f"{who} {e.kind.name.lower()}{end}{place}, key {e.key!r}"))
        for s in self.stored:
            if s.job == job:
                why = "waiting" if s.waiting else "failed"
                more = "" if s.kind == "main" else f" {why}, {s.attempts} attempts"
                lines.append((s.at, f"lies in {s} (stamped then){more}"))
        for worker in sorted(workers - {0}):
            for span in self.cut_offs.get(worker, ()):
                until = "" if span.end == FOREVER else f" until {self._clock(span.end)}"
                lines.append((span.begin, f"worker {worker} {span.why}{until}"))
        return "\n".join(f"  {self._clock(at)} {text}" for at, text in sorted(lines))

    def told(self, sample: Sample, record: Stored) -> str:
        """What a sample says of the partition that a record lies in, and when it was asked for."""
        place = (record.topic, record.partition)
        above = ", ".join(map(str, sample.above.get(place, ()))) or "nothing"
        what = f"offset {sample.offsets.get(place)}, and above it changes at {above}"
        return f"asked at {self._clock(sample.asked).strip()}: {what}"

    def _clock(self, at: int) -> str:
        return f"{(at - self.zero) / SECOND:9.4f}"

    def totals(self) -> Counter[str]:
        """What happened, by name."""
        processes, hits = list(self.processes.values()), Counter(h.name for h in self.hits)
        starts, tiers = Counter((a.job, a.number) for a in self.attempts), self.of_kind("tier")
        spans = [s for spans in self.cut_offs.values() for s in spans]
        return Counter(
            {
                "jobs": len(self.jobs),
                "poison": sum(s.job is None for s in self.of_kind("main")),
                "children": sum(s.parent is not None for s in self.of_kind("main")),
                "starts": starts.total(),
                "duplicates": starts.total() - len(starts),
                "retries": sum(not s.waiting for s in tiers),
                "waiting moves": sum(s.waiting for s in tiers),
                "dead": len(self.of_kind("dlq")),
                "dead with no end noted": sum(
                    s.job is not None and first_end(self.attempts_of.get(s.job, [])) == FOREVER
                    for s in self.of_kind("dlq")
                ),
                "workers": len(processes),
                "kills": sum(p.killed is not None for p in processes),
                "kills by jobs": sum(e.kind is Kind.KILLED for e in self.events),
                "kills and stops at failpoints": sum(h.action != "-" for h in self.hits),
                "stops": sum(p.asked is not None for p in processes),
                "halts past the session": sum(s.why == "stopped" for s in spans),
                "losses unasked": sum(s.why == "lost" for s in spans),
                "drains past the budget": sum(s.why == "late" for s in spans),
                "broker kills": sum(f.is_broker for f in self.faults),
                "scale-ups": sum(f.what.startswith("scale up") for f in self.faults),
                "rebalances": hits["loop.assigned"],
                "offset samples": len(self.samples),
                **{f"hit {name}": count for name, count in hits.items()},
                **Counter(f"end at {h.name}" for h in self.hits if h.action != "-"),
            }
        )


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """Values by key, in the order given."""
    found: dict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return dict(found)


def first_end(attempts: list[Attempt]) -> int:
    """When a job had ended."""
    ends = (a.ended for a in attempts if a.outcome in FINAL and a.ended is not None)
    return min(ends, default=FOREVER)


def _begin(span: Span) -> int:
    return span.begin
