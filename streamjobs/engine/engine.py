"""The engine of one queue: batches of events in, commands out. Pure: it is handed ``now``.

Events: ``assigned``, ``revoked``, ``taken``, ``received``, ``ended``, ``deleted``, ``finished``,
``tick``.
Commands: ``take_questions`` (shards about to be taken), ``take_starts`` (runs for the executor),
``take_flow`` (seek, pause, resume), ``cycle`` (moves and offsets for one commit).

The invariant of the commit: an offset leaves here only together with the moves that complete
records below it. There is at most one cycle out; what is decided meanwhile waits for the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from streamjobs.breaker import Breaker
from streamjobs.engine.ahead import Ahead
from streamjobs.engine.alone import Alone, Permit
from streamjobs.engine.cycles import Cycle, Cycles
from streamjobs.engine.decide import Decider
from streamjobs.engine.deletions import Deletions
from streamjobs.engine.intake import HELD_PER_TIER, Intake
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import Committed
from streamjobs.engine.outbox import Flow, Partition
from streamjobs.engine.parking import Parking
from streamjobs.engine.pressure import Pressure
from streamjobs.engine.records import Log, Message, Record, Run, by_partition
from streamjobs.engine.results import RELEASED, Crashed, Failed, Outcome
from streamjobs.engine.shard import Shard
from streamjobs.engine.state import EngineState
from streamjobs.engine.taking import Taking
from streamjobs.engine.turns import Turns

# Outcomes that say that the work can be done; what is rejected or released says nothing of it.
FINE = frozenset({Outcome.SUCCEEDED, Outcome.DISCARDED})
# Seconds that a head may run before memory is freed of its followers.
HEAD_PATIENCE = 10.0


class Engine(EngineState):
    """Decides for one queue of one worker.

    Args:
        ladder: the queue's topics and policy.
        capacity: how many records may be in hand before no more are fetched from main.
        breaker: when the queue pauses itself; None: never.
        permit: shared by the queues of a process; see ``Alone``.

    Attributes:
        alone: its suspects that are tried one at a time.
    """

    def __init__(
        self,
        ladder: Ladder,
        *,
        capacity: int = 2_000,
        breaker: Breaker | None = None,
        permit: Permit | None = None,
    ) -> None:
        super().__init__(ladder, capacity, breaker)
        self._rungs = {topic: rung for rung, topic in enumerate(ladder.reads, start=1)}
        self._epoch = 0
        self._questions: list[int] = []
        self._probing = self._withheld = False
        self._ahead = Ahead()
        self._parking = Parking(ladder, self._out)
        self._turns = Turns(ladder, self._out, self._parking)
        self._intake = Intake(ladder, self._out, self._parking, self._turns)
        self._taking = Taking(ladder, self._out, self._turns, self._intake)
        self._deletions = Deletions(self._out, self._turns)
        self._cycles = Cycles(ladder, self._out)
        self._decider = Decider(ladder, self._out, self._turns)
        self._pressure = Pressure(ladder, self._out, capacity)
        self.alone = Alone(self._out, permit)

    # -- events ------------------------------------------------------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Own these too; a shard that is whole asks to be taken. Added ones are not fetched."""
        self._epoch += 1
        for topic, number in partitions:
            if not self._ladder.has(number):
                self._out.flow.pause.append((topic, number))
            elif topic in self._expected:
                shard = self._shards.get(number)
                if shard is None:
                    shard = self._shards[number] = Shard(number, self._ladder, self._out)
                delay, rung = self._ladder.reads.get(topic), self._rungs.get(topic, 0)
                shard.logs[topic] = Log(topic, number, delay, rung)
                self._logs[topic, number] = shard.logs[topic]
        self._ask({number for _, number in partitions})

    def lose(self, tiers: Collection[str]) -> None:
        """These retry topics are not there any more: shards are whole without them.

        Nothing of them is committed from now on. What is in hand of a shard that had one, and who
        waits for whom in it, is void as soon as that is revoked: it is taken anew.
        """
        self._expected.difference_update(tiers)
        self._ask(self._shards)

    def taken(
        self,
        number: int,
        committed: Mapping[str, Committed | None],
        ends: Mapping[str, int],
        now: float,
    ) -> None:
        """Take a shard: read its tiers to these ends, then start.

        The order in which the caller asked decides correctness: first the STABLE committed
        offsets of all its partitions, then the tiers' high watermarks. The other way round, or
        with the last stable offset for an end, a move of the last owner could be missed.

        Args:
            number: which shard; nothing happens when it is no longer whole.
            committed: offset, and what stands beside it, by topic; None where nothing was ever
                committed.
            ends: high watermark by topic.
            now: seconds since the epoch.
        """
        shard = self._shards.get(number)
        if shard is None or shard.active or set(shard.logs) != self._expected:
            return
        self._taking.answered(shard, committed, ends, now)
        self.alone.taken(self._logs.values())

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Own these no longer: their shards stop as a whole, and what was in hand is void."""
        self._epoch += 1
        for topic, number in partitions:
            log = self._logs.pop((topic, number), None)
            if log is not None:
                log.live = log.begins = False
                self._shards[number].logs.pop(topic, None)
        for number in {number for _, number in partitions}:
            if number in self._shards:
                self._give_up(self._shards[number])
        self._withheld = False
        self._out.forget_dead()
        self.alone.forget_dead(self._logs.values())
        self._ask({number for _, number in partitions})

    def received(self, messages: Sequence[Message], now: float) -> None:
        """Take in records as they were polled; those of partitions no longer owned are dropped."""
        for (topic, partition), batch in by_partition(messages):
            log = self._logs.get((topic, partition))
            if log is None or log.stale:
                continue
            shard = self._shards[partition]
            if not shard.active:
                self._taking.arrived(shard, log, batch, now)
                self._taking.go_on(shard, now)
            elif log.delay is None:
                self._intake.main(shard, log, batch, now)
            else:
                self._intake.tier(shard, log, batch, now)
                self._intake.release_due(shard, log, now, self._capacity - self.load)

    def ended(self, topic: str, partition: int, offset: int, now: float) -> None:
        """The consumer has reached the end of a partition, after all that was received of it."""
        log = self._logs.get((topic, partition))
        if log is None or log.stale:
            return
        shard = self._shards[partition]
        if not shard.active:
            self._taking.arrived(shard, log, offset, now)
            self._taking.go_on(shard, now)
        elif log.delay is None:
            self._intake.main_ended(shard, log, offset, now)
        else:
            self._intake.tier_ended(log, offset)

    def read_ahead(self) -> dict[Partition, int]:
        """Return from where on what may be read by another reader; see ``Ahead``."""
        active = [x for x in self._logs.values() if self._shards[x.partition].active]
        return self._ahead.begin(active)

    def received_ahead(
        self, messages: Sequence[Message], ends: Sequence[tuple[str, int, int]], now: float
    ) -> None:
        """Take in what another reader brings, until the consumer hands something over again."""
        for partition, batch in by_partition(messages):
            if self._ahead.wants(partition):
                self.received(batch, now)
        for topic, number, offset in ends:
            if self._ahead.wants((topic, number)):
                self.ended(topic, number, offset, now)

    def finished(self, records: Sequence[Record], now: float) -> None:
        """Take back what an executor has run or given back, each run's records in order."""
        counts, shards = self.counts, self._shards
        failed = fine = 0
        records = self.alone.returned(records, now)
        for record in records:
            log = record.log
            if not log.live:
                continue
            log.load -= 1
            last, result = record.last, record.result
            shard = shards[log.partition]
            if result is None:
                log.watermark.complete(record.offset)
                counts[record.job or "", Outcome.SUCCEEDED] += 1
                fine += 1
            else:
                outcome = self._decider.decide(record, result, shard, now)
                if type(result) is Failed or type(result) is Crashed:
                    failed += 1
                elif outcome in FINE:
                    fine += 1
                if result is not RELEASED:
                    counts[record.job or "", outcome] += 1
            if shard.survey:
                self._turns.got_on(shard, record)
            if last and record.key is not None:
                self._turns.ended(shard, record, now)
        self.alone.ended(records)
        if self.breaker is not None and (failed or fine):
            self.breaker.count(failed, fine, now)

    def deleted(self, number: int, ends: Mapping[str, int]) -> None:
        """Records of a shard's tiers were deleted before they were read.

        Args:
            number: which shard.
            ends: high watermark by tier, asked for after that was known.
        """
        shard = self._shards.get(number)
        if shard is not None:
            self._deletions.told(shard, ends)

    def tick(self, now: float) -> None:
        """Let time pass: what came due takes its place in line, and flow follows the load."""
        if due := [x for x in self._logs.values() if x.held and x.held[0][0] <= now]:
            self._release(due, now)
        for log in self._logs.values():
            half = log.holding <= HELD_PER_TIER // 2
            stands = self._shards[log.partition].still
            if log.paused and log.delay is not None and half and not stands:
                self._out.resume(log)
        for shard in self._shards.values():
            self._tick(shard, now)
        if self.breaker is not None and self.breaker.open and self.breaker.probe(now):
            self._probing = True
        if self._pressure.regulate(self._shards.values(), now):
            for shard in self._shards.values():
                self._parking.move_followers(shard, HEAD_PATIENCE, now)
        if not self.alone.idle:
            self.finished(self.alone.go_on(self._logs.values()), now)
            still = {number for number, shard in self._shards.items() if shard.still}
            if (not self.tripped or self._probing) and self.alone.choose(now, still):
                self._probing = False
            self.alone.let_go()

    # -- commands ----------------------------------------------------------------------------

    def take_questions(self) -> list[int]:
        """Return the shards that are whole and want ``taken``."""
        questions, self._questions = self._questions, []
        return questions

    def take_ranked(self) -> list[list[Run]]:
        """Return the runs to hand to the executor, by urgency; none is returned twice.

        While the breaker is open it is one run every few seconds.
        """
        lone = self.alone.take()
        if self.tripped:
            return lone or self._take_probe()
        ranked = self._out.starts
        self._out.starts = [[] for _ in ranked]
        if self._withheld:
            self._out.starts = [[x for x in runs if not x[0].log.begins] for runs in ranked]
            ranked = [[run for run in runs if run[0].log.begins] for runs in ranked]
        return ranked if lone is None else [a + b for a, b in zip(ranked, lone, strict=True)]

    def take_starts(self) -> list[Run]:
        """Return the runs to hand to the executor, the most urgent first."""
        return [run for runs in self.take_ranked() for run in runs]

    def _take_probe(self) -> list[list[Run]]:
        probe = self._out.first(int(self._probing and not self._withheld))
        self._probing &= not any(probe)
        return probe

    def take_flow(self) -> Flow:
        """Return what to seek, pause and resume; the caller does it before it polls again."""
        flow, self._out.flow = self._out.flow, Flow()
        for topic, number, _ in flow.seek:
            if (topic, number) in self._logs:
                self._logs[topic, number].stale = False
        return flow

    def cycle(self, *, everything: bool = False) -> Cycle | None:
        """Take everything decided that is not committed, or None when nothing is.

        The caller gives it back by ``committed`` or ``aborted`` before it asks again. A cycle that
        produces names an offset of each partition it moves from, even one that stands still: an
        empty list of offsets fences nobody.

        Args:
            everything: name every owned partition, for what is told beside its offset.
        """
        ready = {n for n, shard in self._shards.items() if shard.answered and not shard.still}
        known = [
            log
            for log in self._logs.values()
            if log.partition in ready and log.topic in self._expected
        ]
        return self._cycles.take(known, self._epoch, everything=everything)

    def committed(self, cycle: Cycle) -> None:
        """The broker has the whole cycle."""
        if cycle.epoch == self._epoch:
            for partition, note in cycle.notes.items():
                self._logs[partition].committed = note

    def aborted(self, cycle: Cycle) -> None:
        """The broker has nothing of the cycle: what still holds goes with the next one."""
        self._cycles.give_back(cycle)

    def withhold(self, numbers: Collection[int]) -> None:
        """Begin nothing more of these shards: they are being given back, until ``revoked``.

        What runs of them ends and is committed; all others go on.
        """
        for shard in map(self._shards.get, numbers):
            if shard is not None:
                self._withheld = True
                for log in shard.logs.values():
                    log.begins = False
        self.alone.put_off()

    def stand_still(self, numbers: Collection[int]) -> None:
        """Fetch and commit no more of these shards: what they have to write is refused.

        What runs of them ends, and waits with the rest until ``go_on``.
        """
        for shard in map(self._shards.get, numbers):
            if shard is not None:
                shard.still = True
                for log in shard.logs.values():
                    self._out.pause(log)
        self.alone.put_off()

    def clear(self) -> None:
        """Suspect no longer what vanished owners may have been running."""
        self.alone.clear(self._logs.values())

    def go_on(self) -> None:
        """Try again what was refused."""
        for shard in self._shards.values():
            if shard.still:
                shard.still = False
                for log in shard.logs.values():
                    self._out.resume(log)

    # -- inside ------------------------------------------------------------------------------

    def _release(self, tiers: Sequence[Log], now: float) -> None:
        """What came due takes its place in line, of each tier its share of the room there is."""
        due = [log for log in tiers if self._shards[log.partition].active]
        room = self._capacity - self.load
        if due and room > 0:
            for log in due:
                shard = self._shards[log.partition]
                self._intake.release_due(shard, log, now, max(1, room // len(due)))

    def _tick(self, shard: Shard, now: float) -> None:
        if shard.delayed:
            self._turns.tick(shard, now)
        elif not shard.active:
            self._taking.go_on(shard, now)
        if shard.until:
            self._deletions.go_on(shard, now)
        if shard.active and any(log.crowded for log in shard.logs.values()):
            self._parking.make_room(shard, now)

    def _ask(self, numbers: Iterable[int]) -> None:
        """Have those of these shards taken that are whole and not taken."""
        for number in sorted(numbers):
            shard = self._shards.get(number)
            whole = shard is not None and shard.logs.keys() == self._expected
            if shard is not None and whole and not shard.answered and number not in self._questions:
                self._questions.append(number)

    def _give_up(self, shard: Shard) -> None:
        """Nothing in hand may start or be committed; what is still owned is read again."""
        self._taking.give_up(shard)
        if shard.number in self._questions:
            self._questions.remove(shard.number)
        for log in shard.logs.values():
            self._logs[log.topic, log.partition] = log
        if not shard.logs:
            del self._shards[shard.number]
