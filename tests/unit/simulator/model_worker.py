"""A thin copy of the worker's shell around the real engine: loop, commit cycle, taking a shard.

Each worker is a generator that yields seconds to pass; it can be killed or stopped at every named
step (``World.step``), and whatever it asks of the broker happens at the time it asks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from unit.simulator.judge import Judge
from unit.simulator.model_broker import Producer, Refused, Txn
from unit.simulator.model_consumer import Consumer
from unit.simulator.model_executor import Executor
from unit.simulator.model_log import Job, Lane, Log, Msg

Partition = tuple[str, int]
Steps = Generator[float, None, Any]

COMMIT_INTERVAL, COMMIT_RETRY, SESSION = 0.1, 0.5, 6.0
# Seconds that offsets or a tier may be unstable before a dead owner's transaction is ended.
UNSTABLE_PATIENCE = 1.0


class Question:
    """A shard whose stable offsets, then tier ends, are asked for."""

    __slots__ = ("committed", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.committed: dict[str, int | None] | None = None


class Worker:
    """One process of a worker, from its start to its end.

    Args:
        world: the history it lives in.
        name: for the printed history.
    """

    def __init__(self, world: Any, name: str) -> None:
        self.world, self.name, self.rng = world, name, world.rng
        setup = world.setup
        self.setup, self.broker = setup, world.broker
        self.judge: Judge = world.judge
        self.engine = world.make_engine()
        self.executor = Executor(self, world.parts.results.RELEASED, setup.threads)
        self.consumer = Consumer(self.rng, setup.chunk, setup.depth)
        self.member: str | None = None
        self.generation = -1
        self.producer: Producer | None = None
        self.alive, self.frozen, self.cut = True, False, False
        self.closing = self.joined = False
        self.skew = 0.0
        self.told = 0.0
        self.excused: dict[Log, int] = {}
        self._anew: list[Log] = []
        self.takes: dict[int, int] = {}
        self.busy: dict[Lane, int] = {}
        self.trap: tuple[str, str, float] | None = None
        self._questions: dict[int, Question] = {}
        self._under_way: Any = None
        self._answer: bool | None = None
        self._wire: tuple[str | None, int, dict[Log, int]] | None = None
        self._cut_since = self._next_commit = self._retry_at = 0.0
        self._polled = False
        self.steps = self._run()

    # -- what the jobs do (Handlers) ---------------------------------------------------------

    def begin(self, record: Any) -> int:
        if self.world.trace is not None:
            self.world.note(self, f"start {record.message}")
        return self.judge.started(self, record.message)

    def duration(self, record: Any) -> float:
        seconds: float = self.world.draw_duration()
        return seconds

    def finish(self, record: Any, take: int) -> bool:
        drawn = self.world.draw_result(record.message, halted=self.executor.halted)
        record.result, kind, children = drawn
        record.job = "job"
        self.judge.finished(self, record.message, take, kind, children)
        if self.world.trace is not None:
            self.world.note(self, f"end {kind} {record.message}")
        return kind in ("S", "D")

    # -- the loop ----------------------------------------------------------------------------

    def _run(self) -> Steps:
        engine, world, executor = self.engine, self.world, self.executor
        while not self.closing:
            now = world.now
            self._collect()
            self._tell_time()
            engine.tick(self.told)
            for number in engine.take_questions():
                self._questions.setdefault(number, Question(now))
            if self._questions:
                yield from self._take_shards()
            self._tell_consumer()
            for rank, runs in enumerate(engine.take_ranked()):
                if runs:
                    executor.submit(runs, rank)
            executor.fill(world.now)
            if now >= self._next_commit or (engine.moves_wait and now >= self._retry_at):
                yield from self._commit()
            if not engine.full or self.rng.random() < 0.3:
                yield from self._poll()
            yield self._pause()
        yield from self._drain()
        yield from self._flush_wire()
        if self.member is not None:
            self._forget(list(self.consumer.fetches))
            world.group.leave(self.member)

    def _tell_time(self) -> None:
        """Read the clock; when it was set back, what came due before must not be judged by it."""
        now = self.world.now + self.skew
        if now < self.told - 1e-6:
            for log, fetch in self.consumer.fetches.items():
                self.excused[log] = fetch.given or 0
        self.told = now

    def _collect(self) -> None:
        self.executor.advance(self.world.now)
        if records := self.executor.collect():
            self._tell_time()
            self.engine.finished(records, self.told)

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
                question.committed = {log.topic: log.committed for log in shard}
                if self.trap is not None:
                    yield from self.world.step(self, "question")
                if self.rng.random() < 0.3:
                    continue
            ends = {log.topic: len(log.entries) for log in shard if log.kind == "tier"}
            del self._questions[number]
            self.engine.taken(number, question.committed, ends)
            self.world.watch_tiers(self, number)
            if self.world.trace is not None:
                self.world.note(self, f"taken {number} {question.committed} {ends}")

    def _end_old_transactions(self, shard: list[Log], question: Question) -> None:
        if self.setup.ends_by_id and self.world.now - question.since > UNSTABLE_PATIENCE:
            self.world.end_transactions(shard)

    # -- commits -----------------------------------------------------------------------------

    def _commit(self, *, wait: bool = False) -> Steps:
        done = yield from self._cycle(wait=wait)
        self._next_commit = self.world.now + (COMMIT_INTERVAL if done else COMMIT_RETRY)
        self._retry_at = 0.0 if done else self._next_commit

    def _cycle(self, *, wait: bool) -> Steps:
        if self._under_way is not None and not wait:
            return True
        cycle = self.engine.cycle()
        if cycle is None:
            return True
        logs, owned = self.world.logs, self.consumer.fetches
        offsets = {logs[p]: o for p, o in cycle.offsets.items() if logs[p] in owned}
        member = self.member is not None and self.generation >= 0
        cut = cycle.produces and (len(offsets) < len(cycle.offsets) or not offsets)
        if not member or cut:
            self.engine.aborted(cycle)
            return False
        if cycle.produces:
            return (yield from self._transaction(cycle, offsets))
        if offsets and wait:
            return (yield from self._plain(cycle, offsets))
        if offsets:
            self._under_way, self._answer = cycle, None
            yield from self._begin_commit(offsets)
        return True

    def _plain(self, cycle: Any, offsets: dict[Log, int]) -> Steps:
        yield from self._flush_wire()
        self._answered()
        yield from self._network("plain")
        done = self.broker.commit(self.member, self.generation, offsets)
        if self.trap is not None:
            yield from self.world.step(self, "plain done")
        self._conclude(cycle, done=done)
        return done

    def _begin_commit(self, offsets: dict[Log, int]) -> Steps:
        self._wire = (self.member, self.generation, offsets)
        if self.trap is not None:
            yield from self.world.step(self, "wire")
        if self.rng.random() < 0.7 and not self.cut:
            self.deliver()
        else:
            self.world.later(self.rng.random() * 0.3, self.deliver)

    def deliver(self) -> None:
        """The plain commit that is under way reaches the broker, whatever became of the worker."""
        if self.cut and self.alive:
            self.world.later(0.5, self.deliver)
        elif self._wire is not None:
            wire, self._wire = self._wire, None
            self._answer = self.broker.commit(*wire)

    def _answered(self) -> None:
        if self._answer is not None:
            cycle, done = self._under_way, self._answer
            self._under_way = self._answer = None
            if cycle is not None:
                self._conclude(cycle, done=done)

    def _conclude(self, cycle: Any, *, done: bool) -> None:
        if done:
            self.engine.committed(cycle)
        else:
            self.engine.aborted(cycle)

    def _flush_wire(self) -> Steps:
        """What was sent before on the same connection arrives before what comes next."""
        while self.cut and self._wire is not None:
            yield 0.3
        self.deliver()

    def _transaction(self, cycle: Any, offsets: dict[Log, int]) -> Steps:
        txn: Txn | None = None
        try:
            yield from self._flush_wire()
            self._answered()
            yield from self._network("begin")
            txn = yield from self._begin()
            yield from self._write(cycle, txn)
            yield from self._network("offsets")
            self.broker.send_offsets(txn, self.member, self.generation, offsets)
            yield from self._network("commit")
            self.broker.end(txn, commit=True)
            yield from self._network("committed")
        except Refused as refused:
            yield from self._give_up(txn, fatal=refused.fatal)
            self.engine.aborted(cycle)
            return False
        self.engine.committed(cycle)
        if self.world.trace is not None:
            self.world.note(self, f"transaction of {len(cycle.moves)} moves {cycle.offsets}")
        return True

    def _begin(self) -> Steps:
        if self.producer is None:
            self.producer = self.world.new_producer(self)
            self.broker.initialise(self.producer)
        producer = self.producer
        while producer.txn is not None and producer.txn.markers:
            yield 0.02
        return self.broker.begin(producer, self.world.now)

    def _write(self, cycle: Any, txn: Txn) -> Steps:
        world = self.world
        cut_at = self.rng.randint(0, len(cycle.moves))
        for index, move in enumerate(cycle.moves):
            if index == cut_at and (self.trap is not None or self.cut):
                yield from self._network("between")
            source: Msg = move.record.message
            log = world.logs.get((move.topic, source.log.number))
            copy = world.onward(move, source, log)
            self.broker.produce(txn, log, copy)
            txn.copies.append((source, copy, self.takes.get(source.log.number, 0)))
        for record, child in cycle.children:
            log = world.logs[child.topic, child.partition]
            copy = Msg(log, child.key, world.now_ms)
            copy.job = Job(None, log, -1)
            self.broker.produce(txn, log, copy)
            txn.copies.append((record.message, copy, 0))
        yield from self._network("written")
        if world.refuses(self):
            raise Refused("a record was not delivered")

    def _give_up(self, txn: Txn | None, *, fatal: bool) -> Steps:
        if not fatal and txn is not None:
            yield from self._network("abort")
            try:
                self.broker.end(txn, commit=False)
            except Refused:
                fatal = True
        if fatal:
            self.producer = None

    def _network(self, step: str) -> Steps:
        """A step that needs the broker: waits for as long as it cannot be reached."""
        if self.trap is not None:
            yield from self.world.step(self, step)
        if self.setup.slow_network and self.rng.random() < 0.1:
            yield self.rng.random() * 0.2
        while self.cut:
            yield 0.3

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
            yield from self._drain()
        self.executor.advance(self.world.now)
        self._forget(logs)
        self.executor.go_on()
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

    def _drain(self) -> Steps:
        """Begin nothing, let running jobs end within the budget, commit what has ended."""
        executor, world = self.executor, self.world
        executor.advance(world.now)
        executor.halt()
        deadline = world.now + self.setup.drain_budget
        self._collect()
        while executor.out and world.now < deadline:
            yield min(max(0.001, executor.next_end - world.now), deadline - world.now)
            self._collect()
        if self.trap is not None:
            yield from world.step(self, "drained")
        yield from self._commit(wait=True)


def _pairs(logs: Iterable[Log]) -> list[Partition]:
    return [(log.topic, log.number) for log in logs]


def _names(logs: Iterable[Log]) -> str:
    return " ".join(log.name for log in logs)
