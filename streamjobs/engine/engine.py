"""The engine of one queue: batches of events in, commands out. Pure: it is handed ``now``.

Events: ``assigned``, ``revoked``, ``received``, ``ended``, ``finished``, ``tick``. Commands:
``take_starts`` (runs for the executor), ``take_flow`` (pause, resume, seek), ``cycle`` (moves and
offsets for one commit).

The invariant of the commit: an offset leaves here only together with the moves that complete
records below it. There is at most one cycle out; what is decided meanwhile waits for the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from streamjobs.engine.records import Log, Message, Move, Record, Run
from streamjobs.engine.results import (
    RELEASED,
    Discarded,
    Failed,
    Outcome,
    Rejected,
    Released,
    Result,
    Succeeded,
)
from streamjobs.engine.shard import Shard
from streamjobs.headers import Delivery, Failure, Origin, Reason
from streamjobs.retry import next_tier
from streamjobs.topics import QueueTopics

Partition = tuple[str, int]
# Records of a tier held in memory until due; only above it is the partition paused, since a pause
# throws the client's prefetched records away (librdkafka rd_kafka_toppar_pause_resume).
HELD_PER_TIER = 2_000
# Seconds that main may be full before it is paused; the caller bridges less by not polling.
FULL_BEFORE_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Ladder:
    """A queue's topics as they are: what is read, and what the policy writes to.

    Attributes:
        topics: the queue's names.
        reads: every retry tier that exists, name to delay in seconds, ascending.
        writes: the delays of the policy that have a topic, in seconds, ascending.
    """

    topics: QueueTopics
    reads: Mapping[str, float]
    writes: tuple[float, ...]


@dataclass(slots=True)
class Flow:
    """What the consumer has to be told."""

    pause: list[Partition] = field(default_factory=list)
    resume: list[Partition] = field(default_factory=list)
    seek: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cycle:
    """One commit: everything decided so far.

    Attributes:
        epoch: the assignment it was made in.
        moves: records to write onward.
        children: child jobs to enqueue, each with the record whose success brings it about.
        offsets: what to commit, per owned partition whose watermark moved or that a move is from.
    """

    epoch: int
    moves: list[Move]
    children: list[tuple[Record, Any]]
    offsets: dict[Partition, int]

    @property
    def produces(self) -> bool:
        """Whether it writes records, and so needs a transaction."""
        return bool(self.moves or self.children)


class Engine:
    """Decides for one queue of one worker.

    Args:
        ladder: the queue's topics.
        topic_id: of the main topic, for origins; empty where the broker does not tell.
        capacity: how many records may be in hand before no more are fetched from main.

    Attributes:
        counts: outcomes since the caller last emptied it, by (job name, outcome).
        last_move: the move decided last, as a sample for the log.
    """

    def __init__(self, ladder: Ladder, *, topic_id: str = "", capacity: int = 2_000) -> None:
        self._ladder, self._topic_id, self._capacity = ladder, topic_id, capacity
        self._expected = {ladder.topics.main, *ladder.reads}
        self._rungs = {topic: rung for rung, topic in enumerate(ladder.reads, start=1)}
        self._epoch = 0
        self._shards: dict[int, Shard] = {}
        self._logs: dict[Partition, Log] = {}
        self._starts: list[Run] = []
        self._flow = Flow()
        self._full_since: float | None = None
        self._moves: list[Move] = []
        self._children: list[tuple[Record, Any]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.last_move: Move | None = None

    # -- events ------------------------------------------------------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Own these partitions too, from their committed offsets on."""
        self._epoch += 1
        for topic, number in partitions:
            if topic in self._expected:
                shard = self._shards.setdefault(number, Shard(number, self._starts))
                delay, rung = self._ladder.reads.get(topic), self._rungs.get(topic, 0)
                shard.logs[topic] = Log(topic, number, delay, rung)
                self._logs[topic, number] = shard.logs[topic]
        for number in {number for _, number in partitions}:
            self._activate(number)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Own these no longer: their shards stop as a whole, and what was in hand is void."""
        self._epoch += 1
        for topic, number in partitions:
            log = self._logs.pop((topic, number), None)
            if log is not None:
                log.live = False
                self._shards[number].logs.pop(topic, None)
        # A seek that the consumer was not told must not meet a later assignment.
        self._flow.seek = [(t, n, at) for t, n, at in self._flow.seek if (t, n) in self._logs]
        for number in {number for _, number in partitions}:
            if number in self._shards:
                self._wipe(self._shards[number])
        self._starts[:] = [run for run in self._starts if run[0].log.live]
        self._moves = [move for move in self._moves if move.record.log.live]
        self._children = [child for child in self._children if child[0].log.live]

    def received(self, messages: Sequence[Message], now: float) -> None:
        """Take in records as they were polled; those of partitions no longer owned are dropped."""
        for (topic, partition), batch in _by_partition(messages):
            log = self._logs.get((topic, partition))
            if log is not None and log.seek is None:
                self._receive(log, batch, now)

    def ended(self, topic: str, partition: int, offset: int) -> None:
        """The consumer has reached the end of a partition, after all that was received of it."""
        log = self._logs.get((topic, partition))
        if log is None or log.seek is not None:
            return
        shard = self._shards[partition]
        if shard.active:
            log.watermark.ended(offset)
        else:
            shard.early.append((log, offset))

    def finished(self, records: Sequence[Record]) -> None:
        """Take back what an executor has run or given back, each run's records in order."""
        counts, shards = self.counts, self._shards
        for record in records:
            log = record.log
            if not log.live:
                continue
            log.load -= 1
            last = record.last
            result = record.result
            if result is None:
                log.watermark.complete(record.offset)
                counts[record.job or "", Outcome.SUCCEEDED] += 1
            else:
                outcome = self._decide(record, result)
                if result is not RELEASED:
                    counts[record.job or "", outcome] += 1
            if last and record.key is not None:
                shards[log.partition].free(record.key)

    def tick(self, now: float) -> None:
        """Let time pass: records that came due join their lanes, and flow follows the load."""
        for log in self._logs.values():
            if log.held:
                self._shards[log.partition].release_due(log, now)
            if log.paused and log.delay is not None and len(log.held) <= HELD_PER_TIER // 2:
                self._resume(log)
        self._regulate_main(now)

    # -- commands ----------------------------------------------------------------------------

    def take_starts(self) -> list[Run]:
        """Return the runs to hand to the executor; none is returned twice."""
        starts = self._starts[:]
        self._starts.clear()
        return starts

    def take_flow(self) -> Flow:
        """Return what to pause, resume and seek; the caller does it before it polls again."""
        flow, self._flow = self._flow, Flow()
        for topic, number, _ in flow.seek:
            if (topic, number) in self._logs:
                self._logs[topic, number].seek = None
        return flow

    def cycle(self) -> Cycle | None:
        """Take everything decided that is not committed, or None when nothing is.

        The caller gives it back by ``committed`` or ``aborted`` before it asks again. A cycle that
        produces names an offset of each partition it moves from, even one that stands still: an
        empty list of offsets fences nobody.
        """
        moves, self._moves = self._moves, []
        children, self._children = self._children, []
        sources = {m.record.log for m in moves} | {record.log for record, _ in children}
        offsets: dict[Partition, int] = {}
        for partition, log in self._logs.items():
            offset = log.watermark.advance()
            if offset is not None and (offset != log.committed or log in sources):
                offsets[partition] = offset
        if not offsets and not moves and not children:
            return None
        return Cycle(self._epoch, moves, children, offsets)

    def committed(self, cycle: Cycle) -> None:
        """The broker has the whole cycle."""
        if cycle.epoch == self._epoch:
            for partition, offset in cycle.offsets.items():
                self._logs[partition].committed = offset

    def aborted(self, cycle: Cycle) -> None:
        """The broker has nothing of the cycle: what still holds goes with the next one."""
        self._moves = [m for m in cycle.moves if m.record.log.live] + self._moves
        self._children = [c for c in cycle.children if c[0].log.live] + self._children

    # -- state -------------------------------------------------------------------------------

    @property
    def load(self) -> int:
        """Records that are running, ready or waiting in a lane."""
        return sum(log.load for log in self._logs.values())

    @property
    def held(self) -> int:
        """Records of tiers in memory that are not due."""
        return sum(len(log.held) for log in self._logs.values())

    @property
    def moves_wait(self) -> bool:
        """Whether records wait to be written: they should not wait for the next plain commit."""
        return bool(self._moves or self._children)

    @property
    def full(self) -> bool:
        """Whether no more records should be fetched for now."""
        return self.load >= self._capacity

    @property
    def owned(self) -> set[Partition]:
        """The partitions owned at present."""
        return set(self._logs)

    def next_due(self) -> float | None:
        """When the next held record is due, in seconds since the epoch, or None."""
        heads = (log.held[0][0] for log in self._logs.values() if log.held)
        return min(heads, default=None)

    # -- inside ------------------------------------------------------------------------------

    def _activate(self, number: int) -> None:
        shard = self._shards.get(number)
        if shard is None or shard.active or set(shard.logs) != self._expected:
            return
        shard.active = True
        early, shard.early = shard.early, []
        for log, what in early:
            if isinstance(what, int):
                log.watermark.ended(what)
            else:
                # Nothing of a tier is due at 0: the next tick judges it by the real time.
                self._receive(log, what, 0.0)

    def _receive(self, log: Log, batch: Sequence[Message], now: float) -> None:
        shard = self._shards[log.partition]
        if not shard.active:
            shard.early.append((log, batch))
        elif log.delay is None:
            shard.receive_main(log, batch)
        else:
            shard.receive_tier(log, batch)
            shard.release_due(log, now)
            if len(log.held) >= HELD_PER_TIER and not log.paused:
                self._pause(log)

    def _wipe(self, shard: Shard) -> None:
        """Nothing in hand may start or be committed; what is still owned is read again."""
        shard.wipe()
        for topic, old in list(shard.logs.items()):
            old.live = False
            fresh = Log(topic, old.partition, old.delay, old.rung)
            fresh.committed = old.committed
            fresh.seek = old.seek
            if old.seek is None and (again := old.watermark.advance()) is not None:
                fresh.seek = again
                self._flow.seek.append((topic, old.partition, again))
            if old.paused:
                self._flow.resume.append((topic, old.partition))
            shard.logs[topic] = self._logs[topic, old.partition] = fresh
        if not shard.logs:
            del self._shards[shard.number]

    def _pause(self, log: Log) -> None:
        log.paused = True
        self._flow.pause.append((log.topic, log.partition))

    def _resume(self, log: Log) -> None:
        log.paused = False
        self._flow.resume.append((log.topic, log.partition))

    def _regulate_main(self, now: float) -> None:
        """Pause main only after a while of being full; the caller bridges shorter ones."""
        mains = [log for log in self._logs.values() if log.delay is None]
        if not self.full:
            self._full_since = None
            if self.load <= self._capacity // 2:
                for log in mains:
                    if log.paused:
                        self._resume(log)
        elif self._full_since is None or self._full_since > now:
            self._full_since = now
        elif now - self._full_since > FULL_BEFORE_PAUSE:
            for log in mains:
                if not log.paused:
                    self._pause(log)

    def _decide(self, record: Record, result: Result) -> Outcome:
        match result:
            case Succeeded(children):
                self._children += [(record, child) for child in children]
                record.log.watermark.complete(record.offset)
                return Outcome.SUCCEEDED
            case Discarded():
                record.log.watermark.complete(record.offset)
                return Outcome.DISCARDED
            case Released():
                self._shards[record.log.partition].put_back(record)
                return Outcome.RELEASED
            case Rejected(failure, reason):
                return self._bury(record, failure, reason)
            case Failed():
                return self._retry(record, result)
            case _:
                assert_never(result)

    def _retry(self, record: Record, failed: Failed) -> Outcome:
        before = self._delivery(record)
        tier = next_tier(before.rung, failed.retry_after, self._ladder.writes)
        if tier is None:
            return self._bury(record, failed.failure, failed.final)
        after = replace(before, attempts=before.attempts + 1, rung=before.rung + 1)
        topic = self._ladder.topics.tier(self._ladder.writes[tier])
        self._move(record, Move(record, topic, after, failed.reason, failed.failure))
        return Outcome.RETRIED

    def _bury(self, record: Record, failure: Failure, reason: Reason) -> Outcome:
        before = self._delivery(record)
        after = replace(before, attempts=before.attempts + 1)
        self._move(record, Move(record, self._ladder.topics.dlq, after, reason, failure))
        return Outcome.DEAD

    def _move(self, record: Record, move: Move) -> None:
        self._moves.append(move)
        self.last_move = move
        record.log.watermark.complete(record.offset)

    def _delivery(self, record: Record) -> Delivery:
        if record.delivery is not None:
            return record.delivery
        origin = Origin(self._topic_id, record.log.partition, record.offset)
        return Delivery(attempts=0, rung=0, origin=origin)


def _by_partition(
    messages: Sequence[Message],
) -> Iterator[tuple[Partition, Sequence[Message]]]:
    """Cut a poll into its stretches of one partition: the client hands them over in such."""
    begin = 0
    topic, partition = "", -1
    for index, message in enumerate(messages):
        if message.partition() != partition or message.topic() != topic:
            if index > begin:
                yield (topic, partition), messages[begin:index]
            begin = index
            topic, partition = message.topic(), message.partition()  # type: ignore[assignment]
    if messages:
        yield (topic, partition), messages[begin:]
