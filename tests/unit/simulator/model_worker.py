"""A thin copy of the worker's shell around the real engine: loop, commit cycle, taking a shard.

Each worker is a generator that yields seconds to pass; it can be killed or stopped at every named
step (``World.step``), and whatever it asks of the broker happens at the time it asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from unit.simulator.judge import Judge, Violation
from unit.simulator.model_commit import Committing, Steps
from unit.simulator.model_consumer import Consumer
from unit.simulator.model_executor import Executor
from unit.simulator.model_log import Lane, Log, Msg, Told

from streamjobs.engine.metadata import NOTHING, Committed, Note, conclude, pack, read

Partition = tuple[str, int]

SESSION = 6.0
# Seconds that offsets or a tier may be unstable before a dead owner's transaction is ended.
UNSTABLE_PATIENCE = 0.4


class Question:
    """A shard whose stable offsets, then tier ends, are asked for."""

    __slots__ = ("committed", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.committed: dict[str, Committed | None] | None = None


class Worker(Committing):
    """One process of a worker, from its start to its end.

    Args:
        world: the history it lives in.
        name: for the printed history.
    """

    def __init__(self, world: Any, name: str) -> None:
        super().__init__()
        self.world, self.name, self.rng = world, name, world.rng
        setup = world.setup
        self.setup, self.broker = setup, world.broker
        self.judge: Judge = world.judge
        self.engine = world.make_engine()
        self.executor = Executor(self, world.parts.results.RELEASED, setup.threads)
        self.consumer = Consumer(self.rng, setup.chunk, setup.depth)
        self.frozen = False
        self.closing = self.joined = False
        self.skew = 0.0
        self.told = 0.0
        self.set_back = 0
        self.excused: dict[Log, int] = {}
        self._anew: list[Log] = []
        self.takes: dict[int, int] = {}
        self.busy: dict[Lane, int] = {}
        self.begun: list[Msg] = []
        self._doubting, self._ran = False, 0
        self._questions: dict[int, Question] = {}
        self._cut_since = 0.0
        self._polled = False
        self.steps = self._run()

    # -- what the jobs do (Handlers) ---------------------------------------------------------

    def begin(self, record: Any) -> int:
        if self.world.trace is not None:
            self.world.note(self, f"start {record.message}")
        self.begun.append(record.message)
        return self.judge.started(self, record.message)

    def duration(self, record: Any) -> float:
        seconds: float = self.world.draw_duration()
        return seconds

    def dies(self, record: Any) -> bool:
        # What runs in a child is ended when its partition is taken away.
        killer: bool = record.message.job.killer and (record.log.live or not record.suspect)
        if killer:
            record.message.job.kills += 1
            self.world.die(self)
        return killer

    def finish(self, record: Any, take: int) -> bool:
        self._ran += record.suspect
        halted = self.executor.halted or not record.log.begins
        drawn = self.world.draw_result(record.message, halted=halted)
        record.result, kind, more = drawn
        record.job = "job"
        self.judge.finished(self, record.message, take, kind, more)
        if self.world.trace is not None:
            self.world.note(self, f"end {kind} {record.message}")
        return kind in ("S", "D")

    # -- the loop ----------------------------------------------------------------------------

    def _run(self) -> Steps:
        engine, world = self.engine, self.world
        while not self.closing:
            now = world.now
            self._collect()
            self._tell_time()
            engine.tick(self.told)
            self._suspect()
            for number in engine.take_questions():
                self._questions.setdefault(number, Question(now))
            if self._questions:
                yield from self._take_shards()
            self._tell_consumer()
            self._hand_over()
            urgent = engine.moves_wait or engine.alone.marks
            if now >= self._next_commit or (urgent and now >= self._retry_at):
                yield from self._commit()
            if not engine.full or self.rng.random() < 0.3:
                yield from self._poll()
            yield self._pause()
        self.executor.advance(self.world.now)
        self.executor.halt()
        yield from self._drain({log.number for log in self.consumer.fetches})
        yield from self._flush_wire()
        if self.member is not None:
            self._forget(list(self.consumer.fetches))
            world.group.leave(self.member)

    def _suspect(self) -> None:
        """What its engine has condemned is dead; what it suspects is cleared after a while."""
        if not self.setup.suspects:
            return
        for move in self.engine._out.moves:
            if move.reason == "crashed":
                self.judge.condemned(self, move.record.message)
        self._doubting &= self._ran < self.setup.threads
        if self.engine.alone.on:
            self._doubting = True
        if self.engine.alone.doubts and not self._doubting:
            self.engine.clear()

    def _tell_time(self) -> None:
        """Read the clock; when it was set back, what came due before must not be judged by it."""
        now = self.world.now + self.skew
        if now < self.told - 1e-6:
            self.set_back += 1
            for log, fetch in self.consumer.fetches.items():
                self.excused[log] = fetch.given or 0
        self.told = now

    def _collect(self) -> None:
        self.executor.advance(self.world.now)
        records = self.executor.collect()
        if not records:
            return
        self._tell_time()
        before = self.engine.tripped
        fine = before and any(r.result is None and r.log.live for r in records)
        self.engine.finished(records, self.told)
        if fine and self.engine.tripped:
            raise Violation(f"{self.name} had a success, and pauses its queue all the same")
        if self.engine.tripped and not before:
            self.judge.totals["breaker trips"] += 1
            self.executor.give_back()

    def _hand_over(self) -> None:
        """Give the executor what may start; of a queue that pauses itself that is a probe."""
        ranked = self.engine.take_ranked()
        if self.engine.tripped and sum(map(len, ranked)) > 1:
            raise Violation(f"{self.name} starts more than one job while its queue is paused")
        for rank, runs in enumerate(ranked):
            if runs:
                self._clear(runs)
                self.executor.submit(runs, rank)
        self.executor.fill(self.world.now)

    def _clear(self, runs: Iterable[Any]) -> None:
        if self.setup.suspects and not self._doubting:
            for run in runs:
                for record in run:
                    record.suspect = record.delivery is not None and record.delivery.crashes > 0

    def _tell_consumer(self) -> None:
        flow, logs, consumer = self.engine.take_flow(), self.world.logs, self.consumer
        for topic, number, offset in flow.seek:
            consumer.seek(logs[topic, number], max(0, offset))
        for partition in flow.pause:
            consumer.pause(logs[partition])
        for partition in flow.resume:
            consumer.resume(logs[partition])

    def _pause(self) -> float:
        rng, now, end = self.rng, self.world.now, self.executor.next_end
        nap: float = self.setup.nap * (0.3 + rng.random())
        if end is not None:
            return float(max(nap, min(end - now, 1.0)))
        if self._polled or self._under_way is not None:
            return nap
        calm: float = self.world.calm
        nap = self.setup.idle * (0.2 + rng.random()) * calm
        due: float | None = self.engine.next_due()
        return nap if due is None else min(nap, max(0.1, due - self.told + 0.001))

    # -- taking a shard ----------------------------------------------------------------------

    def _take_shards(self) -> Steps:
        """Stable offsets of all partitions first, the tiers' high watermarks after them."""
        for number, question in list(self._questions.items()):
            if self.cut or self._questions.get(number) is not question:
                continue
            shard = self.world.shards[number]
            if question.committed is None:
                if any(log.pending for log in shard):
                    self._end_old_transactions(shard, question)
                    continue
                question.committed = yield from self._claim(shard)
                if question.committed is None:
                    continue
                if self.trap is not None:
                    yield from self.world.step(self, "question")
                if self.rng.random() < 0.3:
                    continue
            ends = {log.topic: len(log.entries) for log in shard if log.kind == "tier"}
            del self._questions[number]
            known = question.committed
            if any(end > (at.offset if (at := known[t]) else 0) for t, end in ends.items()):
                self.judge.totals["rebuilds"] += 1
            self._tell_time()
            self.engine.taken(number, question.committed, ends, self.told)
            self._doubt(known)
            self.world.watch_tiers(self, number)
            if self.world.trace is not None:
                self.world.note(self, f"taken {number} {question.committed} {ends}")

    def _doubt(self, known: dict[str, Committed | None]) -> None:
        if any(at is not None and at.vanished for at in known.values()):
            self._doubting, self._ran = True, 0
            self.executor.give_back()

    def _committed(self, log: Log) -> Committed | None:
        told = log.committed
        if told is None:
            return None
        # An operator who sets offsets, or a tool that copies them, leaves no text beside them.
        metadata = None if self.setup.strips_text else read(told.text, told)
        if metadata is None or not self.setup.suspects:
            return Committed(int(told), metadata)
        owner = metadata.transactional_id
        lives = self.world.lives(owner)
        return conclude(int(told), metadata, ours=owner == self.name, lives=lives)

    def _claim(self, shard: list[Log]) -> Steps:
        """Say whose the shard is before anything of it starts; None when that was refused."""
        if not self.setup.suspects:
            return {log.topic: self._committed(log) for log in shard}
        yield from self._flush_wire()
        self._answered()
        if any(log.pending for log in shard):
            return None
        found = {log.topic: self._committed(log) for log in shard}
        texts: dict[Log, Told] = {}
        for log in shard:
            at = found[log.topic]
            note = Note(0, NOTHING, 0, whole=True, topic_id=None, epoch=None)
            if at is not None and at.metadata is not None:
                bounds = at.metadata.above.bounds
                runs, upto = pack(bounds, 3_072)
                note = note._replace(offset=at.offset, runs=runs, upto=upto)
                note = note._replace(suspicion=at.suspicion)
            texts[log] = Told(note.offset, note.text(self.name, clean=False))
        return found if self.broker.commit(self.member, self.generation, texts) else None

    def _end_old_transactions(self, shard: list[Log], question: Question) -> None:
        if self.setup.ends_by_id and self.world.now - question.since > UNSTABLE_PATIENCE:
            self.world.end_transactions(shard)

    # -- polling, and what the group does inside it ------------------------------------------

    def _poll(self) -> Steps:
        if self._answer is not None:
            self._answered()
        if self.trap is not None:
            yield from self.world.step(self, "poll")
        early: list[Msg] = []
        early_ends: list[tuple[str, int, int]] = []
        if self._news():
            if self.rng.random() < 0.5:
                early, early_ends = self.consumer.take(self.setup.batch)
            yield from self._rebalance()
            # Records of what was revoked in this call may be returned; but the client drops those
            # of a partition that it was also given anew.
            anew = {log for log in self._anew if log in self.consumer.fetches}
            early = [msg for msg in early if msg.log not in anew]
            early_ends = [e for e in early_ends if self.world.logs[e[:2]] not in anew]
        if not self.cut:
            self.consumer.fetch()
        messages, ends = self.consumer.take(self.setup.batch)
        messages, ends = early + messages, early_ends + ends
        self._polled = bool(messages)
        if messages:
            self._tell_time()
            self.judge.received(messages)
            self.engine.received(messages, self.told)
        for end in ends:
            self.engine.ended(*end, self.told)

    def _news(self) -> bool:
        group = self.world.group
        if self.cut:
            return self.member is not None and self.world.now - self._cut_since > SESSION
        return self.member not in group.members or group.concerns(self.member)

    def cut_off(self) -> None:
        """The network to the broker is gone."""
        self.cut, self._cut_since = True, self.world.now

    def _rebalance(self) -> Steps:
        self._anew = []
        group, owned = self.world.group, self.consumer.fetches
        if self.member is not None and (self.cut or self.member not in group.members):
            self._lost()
        if self.cut:
            return
        if self.member is None:
            self.member = group.join()
            self.generation = -1
        back = group.to_revoke(self.member, list(owned))
        if back:
            yield from self._revoke(back)
        elif not owned:
            group.given_back(self.member, [])
        if self.member not in group.members:
            return
        given = group.to_assign(self.member, list(owned))
        if given is not None:
            self._assigned(given)
            if self.trap is not None:
                yield from self.world.step(self, "assigned")

    def _assigned(self, logs: list[Log]) -> None:
        self.generation = self.world.group.members[self.member]
        self._new_takes(logs)
        self._anew = logs
        self.consumer.assign(logs)
        self.engine.assigned(_pairs(logs))
        if self.world.trace is not None:
            self.world.note(self, f"assigned {_names(logs)}")

    def _revoke(self, logs: list[Log]) -> Steps:
        if self.world.trace is not None:
            self.world.note(self, f"revoking {_names(logs)}")
        if self.setup.drains:
            yield from self._drain({log.number for log in logs})
        self.executor.advance(self.world.now)
        self._forget(logs)
        yield from self._flush_wire()
        self.world.group.given_back(self.member, logs)

    def _lost(self) -> None:
        if self.world.trace is not None:
            self.world.note(self, "lost everything")
        self.judge.totals["lost"] += 1
        self._forget(list(self.consumer.fetches))
        self.member, self.generation = None, -1

    def _forget(self, logs: list[Log]) -> None:
        self.engine.revoked(_pairs(logs))
        self.consumer.unassign(logs)
        self._new_takes(logs)
        for log in logs:
            self._questions.pop(log.number, None)

    def _new_takes(self, logs: Iterable[Log]) -> None:
        for number in {log.number for log in logs}:
            self.takes[number] = self.world.next_take()

    def _drain(self, numbers: set[int]) -> Steps:
        """Begin nothing of these shards, let their jobs end within the budget, commit it all.

        The other shards go on with what is in hand, and with what another consumer reads.
        """
        executor, world = self.executor, self.world
        executor.advance(world.now)
        self.engine.withhold(numbers)
        executor.give_back()
        deadline = world.now + self.setup.drain_budget
        self._collect()
        aside: Consumer | None = None
        while executor.runs_of(numbers) and world.now < deadline:
            self._tell_time()
            self.engine.tick(self.told)
            if aside is None:
                aside = self._read_aside()
            if not self.engine.full:
                self._poll_aside(aside)
            self._hand_over()
            if world.now >= self._next_commit:
                yield from self._commit(wait=True)
            # All may have ended while the commit was under way.
            end = world.now if executor.next_end is None else executor.next_end
            yield min(max(0.001, end - world.now), max(0.001, deadline - world.now))
            self._collect()
        if self.trap is not None:
            yield from world.step(self, "drained")
        yield from self._commit(wait=True, clean=numbers if self.setup.suspects else ())

    def _read_aside(self) -> Consumer:
        """Another consumer, that reads on where the engine is."""
        aside = Consumer(self.rng, self.setup.chunk, self.setup.depth)
        logs = {self.world.logs[pair]: at for pair, at in self.engine.read_ahead().items()}
        aside.assign(list(logs))
        for log, position in logs.items():
            aside.seek(log, position)
        return aside

    def _poll_aside(self, aside: Consumer) -> None:
        aside.fetch()
        messages, ends = aside.take(self.setup.batch)
        self.judge.totals["read aside"] += len(messages)
        self.judge.received(messages)
        self.engine.received_ahead(messages, ends, self.told)


def _pairs(logs: Iterable[Log]) -> list[Partition]:
    return [(log.topic, log.number) for log in logs]


def _names(logs: Iterable[Log]) -> str:
    return " ".join(log.name for log in logs)
