"""The judge of a history: it knows the log and what ran, and nothing of the engine.

It is told of each start and end of an attempt and of each thing the broker accepted, and raises
``Violation`` at the first that breaks a guarantee.

What runs again: jobs that were started and are in no commit when their worker is gone. What a
commit told to be complete, below its offset or in the text beside it, neither runs nor is carried
on again. Where that text is lost (``tells`` is false) what stands above the offset may run and be
carried on again after a hand-over; within one taking of a shard nothing may happen twice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Protocol

from unit.simulator.model_log import Job, Lane, Log, Msg, Told

from streamjobs.engine.decide import MAX_CRASHES
from streamjobs.engine.metadata import read

# Workers that one job may end before it is dead: five, and some that do not count; many where
# little can be told of what is complete, so that much runs again before its turn comes.
MOST_KILLS = 30
_by_place = attrgetter("place")


class Violation(AssertionError):
    """A guarantee was broken."""


class Owner(Protocol):
    """A worker, as the judge sees it.

    Attributes:
        member: its id in the group, as it knows it.
        takes: by number, the present taking of the shard.
        busy: lanes with a running attempt, and the taking it is of.
        told: the highest time that its engine was told since its clock was set back.
        set_back: how often its clock was set back.
        excused: positions reached when its clock was set back: what it had been told of time
            before no longer shows.
    """

    member: str | None
    takes: dict[int, int]
    busy: dict[Lane, int]
    told: float
    set_back: int
    excused: dict[Log, int]


class Judge:
    """Decides about one history.

    Args:
        delays: of the ladder's rungs, in seconds.
        immediate: how many tries a job has at once before it uses a rung.
        ordering: of the queue: key, none or partition.
        tells: whether the text beside committed offsets reaches the next owner.

    Attributes:
        totals: what happened, by name.
        unended: jobs that no rightful attempt has ended.
    """

    def __init__(
        self, delays: Sequence[float], immediate: int, ordering: str, *, tells: bool = True
    ) -> None:
        self._delays, self._rungs, self._tells = delays, len(delays), tells
        self._immediate, self._ordering = immediate, ordering
        self.totals: Counter[str] = Counter()
        self.starts = self.unended = self.accepts = 0
        self.lanes: dict[tuple[str, bytes], Lane] = {}
        self.jobs: list[Job] = []
        self.whole: list[str | None] = []

    # -- jobs --------------------------------------------------------------------------------

    def enqueued(self, msg: Msg) -> None:
        """A record of a main topic that can be read is a job."""
        lane, key = None, msg.key_
        if self._ordering == "partition":
            key = b"#%d" % msg.log.number
        if key is not None and self._ordering != "none":
            where = (msg.log.topic, key)
            lane = self.lanes.get(where) or self.lanes.setdefault(where, Lane(key))
        job = msg.job = Job(lane, msg.log, msg.offset_)
        job.copies.append(msg)
        self.jobs.append(job)
        self.unended += 1
        if lane is None:
            return
        if lane.jobs and lane.jobs[-1].place > job.place:
            insort(lane.jobs, job, key=_by_place)
            for rank, other in enumerate(lane.jobs):
                other.rank = rank
        else:
            job.rank = len(lane.jobs)
            lane.jobs.append(job)

    def received(self, messages: list[Msg]) -> None:
        """These were handed to an engine."""
        for msg in messages:
            lane = msg.job.lane
            if lane is not None:
                msg.behind = self._first_open(lane) < msg.job.rank

    def started(self, owner: Owner, msg: Msg) -> int:
        """An attempt begins; returns the taking it belongs to."""
        log, job = msg.log, msg.job
        take = owner.takes.get(log.number, 0)
        self.starts += 1
        self._may_start(owner, msg, take)
        lane = job.lane
        if lane is not None:
            if owner.busy.get(lane) == take:
                raise Violation(f"{msg} starts while its lane has a job running")
            owner.busy[lane] = take
        if log.owner is None or log.owner != owner.member:
            self.totals["zombie starts"] += 1
            return take
        if msg.take != take:
            msg.take, msg.tries, msg.climbed, msg.done = take, 0, 0, False
            msg.not_before = 0.0
        msg.again = False
        if self.whole[log.number] != owner.member:
            raise Violation(f"{msg} starts while its shard is not owned as a whole")
        if not job.started:
            job.started = True
            if lane is not None:
                self._in_order(lane, msg)
        return take

    def _may_start(self, owner: Owner, msg: Msg, take: int) -> None:
        if msg.due > owner.told and msg.reason != "waiting":
            self._early(owner, msg)
        if msg.take == take and msg.set_back == owner.set_back and msg.not_before > owner.told:
            wait = msg.not_before - owner.told
            raise Violation(f"{msg} is tried again in its place {wait:.3f} s too early")
        # One that was expelled and does not know it goes on as if it were not.
        rightful = msg.log.owner is not None and msg.log.owner == owner.member
        if rightful and msg.take == take and not msg.again:
            raise Violation(f"{msg} starts twice in one taking of its shard")
        if msg.moved == take:
            raise Violation(f"{msg} starts after it was carried on")
        if msg.told and rightful:
            raise Violation(f"{msg} starts after it was committed as complete")
        if rightful and msg.offset_ < msg.log.judged:
            raise Violation(f"{msg} starts, and {msg.log.judged} was committed")
        if rightful and msg.log.kind == "main" and (newer := self._newer(msg)) is not None:
            raise Violation(f"{msg} starts, and {newer} carries its job on")
        if msg.moved or (msg.take and msg.take != take):
            self.totals["reruns"] += 1
            msg.job.reruns += 1

    def _newer(self, msg: Msg) -> Msg | None:
        """The record in a tier that carries its job on, if it was not carried on itself, or None.

        Whoever owns the shard knows of it before he starts anything; not of that of a job without
        a lane.
        """
        if msg.job.lane is None or not msg.moved:
            return None
        newest = msg
        while newest.next is not None:
            newest = newest.next
        waits = newest.log.kind == "tier" and newest.offset_ >= newest.log.judged
        return newest if waits and not newest.done else None

    def finished(self, owner: Owner, msg: Msg, take: int, result: str, more: float) -> None:
        """An attempt ends.

        S success with so many children, D discard, R rejected, F failed, A failed and asked for so
        many seconds, I interrupted.
        """
        log, job = msg.log, msg.job
        lane = job.lane
        if lane is not None and owner.busy.get(lane) == take:
            del owner.busy[lane]
        rightful = log.owner is not None and log.owner == owner.member
        if not rightful or msg.take != take or owner.takes.get(log.number) != take:
            self.totals["late ends"] += 1
            return
        if result == "I":
            msg.again = True
            return
        msg.result = result
        msg.tries += 1
        if result in ("S", "D"):
            msg.done, msg.children = True, int(more)
        if result == "A":
            msg.asked = more
        if not self._failed(owner, msg) and not job.ended:
            job.ended = True
            self.unended -= 1

    def lost(self, begun: Iterable[Msg]) -> None:
        """A worker is killed or cut off that had begun these."""
        for msg in begun:
            if msg.offset_ >= msg.log.judged and not msg.told and not msg.moved:
                msg.job.losses += 1

    def condemned(self, owner: Owner, msg: Msg) -> None:
        """It is not run again: workers have vanished while they tried it alone."""
        log, job = msg.log, msg.job
        if log.owner is not None and log.owner == owner.member and not job.ended:
            job.ended = True
            self.unended -= 1

    def _failed(self, owner: Owner, msg: Msg) -> bool:
        """Whether its last attempt failed and it is to be tried again, here or from a tier."""
        if msg.result not in ("F", "A"):
            return False
        if msg.result == "F" and msg.attempts + msg.tries <= self._immediate:
            msg.again = True
            return True
        if msg.rung + msg.climbed >= self._rungs:
            return False
        if self._ordering == "partition":
            msg.not_before = owner.told + self._delay(msg, msg.rung + msg.climbed)
            msg.set_back = owner.set_back
            msg.climbed += 1
            msg.again = True
        return True

    def _delay(self, msg: Msg, rung: int) -> float:
        """How long a failed attempt has to wait: its rung says, or what it asked for."""
        if msg.result == "F":
            return self._delays[rung]
        return self._delays[min(bisect_left(self._delays, msg.asked), self._rungs - 1)]

    # -- what the broker accepted ------------------------------------------------------------

    def accepted(self, offsets: dict[Log, Told]) -> None:
        """Offsets of a commit, or of a transaction that was committed."""
        for log, offset in offsets.items():
            self._commit(log, offset)
            if self._tells:
                self._tell(log, offset)
        self.accepts += 1

    def sent(self, member: str | None, offsets: dict[Log, Told]) -> None:
        """Offsets on their way: they must be of partitions the sender owns, or be refused."""
        for log in offsets:
            if log.owner != member:
                raise Violation(f"{member} commits {log.name}, which is {log.owner}'s")

    def written(self, copies: Iterable[tuple[Msg, Msg, int]]) -> None:
        """Records of a committed transaction that carry others on."""
        for source, copy, take in copies:
            self._copied(source, copy, take)

    def _copied(self, source: Msg, copy: Msg, take: int) -> None:
        job = source.job
        if copy.log.kind == "main":
            self._child(source, copy, take)
            return
        if source.moved == take:
            raise Violation(f"{source} is carried on twice in one taking, now to {copy}")
        if source.done and source.take == take:
            raise Violation(f"{source} is complete, and yet carried on to {copy}")
        if source.told and self._tells:
            raise Violation(f"{source} is committed as complete, and yet carried on to {copy}")
        if source.moved:
            if self._tells:
                raise Violation(f"{source} is carried on again by another owner, to {copy}")
            job.reruns += 1
            self.totals["reruns"] += 1
        self._follows(source, copy, take)
        source.moved, source.done = take, False
        source.next, copy.source = copy, source
        if copy.log.kind == "dlq":
            self.totals["dead"] += 1
            job.ends += 1
            if job.ends > 1 and not job.reruns:
                raise Violation(f"{job} has two ends")
            return
        job.copies.append(copy)
        self.totals["moves"] += 1
        self.totals["waiting moves" if copy.reason == "waiting" else "failed moves"] += 1
        if job.lane is not None and not job.lane.parked:
            job.lane.parked = True
            self.totals["parked keys"] += 1

    def _child(self, source: Msg, child: Msg, take: int) -> None:
        if not source.done or source.take != take or source.children < 1:
            raise Violation(f"{source} has a child that no attempt of its owner brought about")
        source.children -= 1
        self.totals["children"] += 1
        self.enqueued(child)

    def _commit(self, log: Log, offset: int) -> None:
        if offset < log.judged:
            raise Violation(f"the offset of {log.name} goes back from {log.judged} to {offset}")
        if offset > log.stable:
            raise Violation(f"{offset} of {log.name} is committed, and {log.stable} is stable")
        for msg in log.entries[log.judged : offset]:
            if msg is None:
                continue
            if not msg.done:
                if not msg.moved:
                    log.judged = msg.offset_ + 1
                    self._superseded(msg)
                continue
            if msg.children > 0:
                raise Violation(f"{msg} is committed without its children")
            msg.job.ends += 1
            if msg.job.ends > 1 and not msg.job.reruns:
                raise Violation(f"{msg.job} has two ends")
        log.judged = offset

    def _tell(self, log: Log, told: Told) -> None:
        """What the text says to be complete has to be, and will not be touched again."""
        metadata = read(told.text, told)
        if metadata is None:
            raise Violation(f"beside {told} of {log.name} stands {told.text!r}")
        above = metadata.above
        for msg in log.entries[told : above.upto]:
            if msg is None or msg.told or not above.complete(msg.offset_):
                continue
            if not msg.done and not msg.moved:
                self._superseded(msg)
            if msg.done and msg.children > 0:
                raise Violation(f"{msg} is told to be complete without its children")
            msg.told = True
            self.totals["told"] += 1

    def _follows(self, source: Msg, copy: Msg, take: int) -> None:
        """What a copy says must follow from its source and the attempt that was made."""
        inferred = copy.crashes - source.crashes
        if not 0 <= inferred <= source.job.losses:
            raise Violation(
                f"{source} becomes {copy} with {copy.crashes} crashes after {source.crashes}, and "
                f"{source.job.losses} workers were lost that had begun it"
            )
        if copy.reason == "waiting":
            self._waits(source, copy)
            return
        if copy.reason == "crashed":
            self._crashed(copy)
            return
        if source.take != take or source.again or source.result not in ("F", "A", "R"):
            raise Violation(f"{source} is carried on as {copy.reason}, and no attempt failed")
        if copy.attempts != source.attempts + source.tries:
            raise Violation(
                f"{source}, attempt {source.attempts} + {source.tries}, becomes {copy.attempts}"
            )
        rung = source.rung + source.climbed
        dead = source.result == "R" or rung >= self._rungs
        if dead != (copy.log.kind == "dlq"):
            raise Violation(f"{source} came to {source.result} and is moved to {copy}")
        reason = "failed" if not dead else "rejected" if source.result == "R" else "exhausted"
        if copy.reason != reason:
            raise Violation(f"{source} came to {source.result} and is moved as {copy.reason}")
        if not dead and copy.rung != rung + 1:
            raise Violation(f"{source}, rung {rung}, climbs to {copy.rung}")
        if not dead and copy.log.delay != self._delay(source, rung):
            raise Violation(f"{source}, rung {rung}, is moved to {copy}")

    def _crashed(self, copy: Msg) -> None:
        """What ends its workers is dead at the third time that is known."""
        self.totals["crashed"] += 1
        if copy.log.kind != "dlq" or copy.crashes < MAX_CRASHES:
            raise Violation(f"{copy} is dead with {copy.crashes} crashes")

    def _waits(self, source: Msg, copy: Msg) -> None:
        """What is moved to wait for its turn stays as it is."""
        # Tries made at once, in its place, count; they use no rung.
        tried = source.attempts <= copy.attempts <= source.attempts + source.tries
        if not tried or copy.rung != source.rung:
            raise Violation(f"{source} is moved to wait, as attempt {copy.attempts}")
        if copy.log.kind == "dlq":
            raise Violation(f"{source} is moved to the DLQ to wait")
        if source.job.lane is None or self._ordering == "partition":
            raise Violation(f"{source} is moved to wait, and nothing stands before it")

    def _superseded(self, msg: Msg) -> None:
        """A record that neither ended nor went on may be dropped for a newer one of its job."""
        job, copy = msg.job, msg
        while (source := copy.source) is not None and source.next is copy:
            # What it was carried on from may have to do the work again.
            source.moved, source.next, copy = 0, None, source
        others = [
            m for m in job.copies
            if m is not msg and m.offset_ >= m.log.judged and (m.done or not m.moved)
        ]  # fmt: skip
        if not others and not job.ends:
            raise Violation(f"{msg} is committed, and it is not complete")
        if not job.ends and all(m.attempts + m.tries < msg.attempts for m in others):
            if self._tells:
                raise Violation(f"{msg} is dropped for an older record of its job")
            # Copies come of lost texts; which is the newer is not always known: one try too many.
            self.totals["older copies"] += 1
        self.totals["superseded"] += 1

    # -- the end -----------------------------------------------------------------------------

    def close(self, logs: Iterable[Log]) -> None:
        """Nothing moves any longer: all jobs have ended, for good."""
        for job in self.jobs:
            if job.kills > MOST_KILLS:
                raise Violation(f"{job} has ended {job.kills} workers")
            self.totals["kills"] += job.kills
            if not job.ended:
                raise Violation(f"{job} never ended")
            if not job.ends:
                raise Violation(f"{job} ended, and its end was never committed")
        for log in logs:
            if log.kind != "dlq" and log.entries and log.judged != len(log.entries):
                raise Violation(f"{log.name} is committed to {log.judged} of {len(log.entries)}")

    def _first_open(self, lane: Lane) -> int:
        jobs, head = lane.jobs, lane.head
        while head < len(jobs) and jobs[head].ended:
            head += 1
        lane.head = head
        return head

    def _in_order(self, lane: Lane, msg: Msg) -> None:
        head = self._first_open(lane)
        if head < msg.job.rank:
            raise Violation(f"{msg} starts first, and {lane.jobs[head]} has not ended")
        if msg.behind:
            self.totals["holds"] += 1

    def _early(self, owner: Owner, msg: Msg) -> None:
        if msg.offset_ >= owner.excused.get(msg.log, 0):
            raise Violation(f"{msg} starts {msg.due - owner.told:.3f} s before it is due")
