"""The commit cycle of the model shell: a plain commit, or one transaction of moves and offsets."""

from __future__ import annotations

from collections.abc import Collection, Generator
from random import Random
from typing import Any

from unit.simulator.judge import Judge
from unit.simulator.model_broker import Broker, Producer, Refused, Txn
from unit.simulator.model_consumer import Consumer
from unit.simulator.model_log import Job, Log, Msg, Told
from unit.simulator.setups import Setup

Steps = Generator[float, None, Any]

COMMIT_INTERVAL, COMMIT_RETRY = 0.1, 0.5


class Committing:
    """What a worker does of it; its steps are places to be killed or stopped at."""

    world: Any
    name: str
    engine: Any
    judge: Judge
    setup: Setup
    rng: Random
    broker: Broker
    consumer: Consumer
    takes: dict[int, int]

    def __init__(self) -> None:
        self.member: str | None = None
        self.generation = -1
        self.alive, self.cut = True, False
        self.producer: Producer | None = None
        self.trap: tuple[str, str, float] | None = None
        self._under_way: Any = None
        self._answer: bool | None = None
        self._wire: tuple[str | None, int, dict[Log, Told]] | None = None
        self._next_commit = self._retry_at = 0.0

    def _commit(self, *, wait: bool = False, clean: Collection[int] = ()) -> Steps:
        done = yield from self._cycle(wait=wait, clean=clean)
        self._next_commit = self.world.now + (COMMIT_INTERVAL if done else COMMIT_RETRY)
        self._retry_at = 0.0 if done else self._next_commit

    def _cycle(self, *, wait: bool, clean: Collection[int]) -> Steps:
        if self._under_way is not None and not wait:
            return True
        cycle = self.engine.cycle(everything=bool(clean))
        if cycle is None:
            return True
        logs, owned = self.world.logs, self.consumer.fetches
        offsets = {
            logs[p]: Told(o, cycle.notes[p].text(self.name, clean=p[1] in clean))
            for p, o in cycle.offsets.items()
            if logs[p] in owned
        }
        member = self.member is not None and self.generation >= 0
        cut = cycle.produces and (len(offsets) < len(cycle.offsets) or not offsets)
        if not member or cut:
            self._aborted(cycle)
            return False
        if cycle.produces:
            return (yield from self._transaction(cycle, offsets))
        if offsets and wait:
            return (yield from self._plain(cycle, offsets))
        if offsets:
            self._under_way, self._answer = cycle, None
            yield from self._begin_commit(offsets)
        return True

    def _plain(self, cycle: Any, offsets: dict[Log, Told]) -> Steps:
        yield from self._flush_wire()
        self._answered()
        yield from self._network("plain")
        done = self.broker.commit(self.member, self.generation, offsets)
        if self.trap is not None:
            yield from self.world.step(self, "plain done")
        self._conclude(cycle, done=done)
        return done

    def _begin_commit(self, offsets: dict[Log, Told]) -> Steps:
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
            self._aborted(cycle)

    def _aborted(self, cycle: Any) -> None:
        self.judge.totals["aborted cycles"] += 1
        self.engine.aborted(cycle)

    def _flush_wire(self) -> Steps:
        """What was sent before on the same connection arrives before what comes next."""
        while self.cut and self._wire is not None:
            yield 0.3
        self.deliver()

    def _transaction(self, cycle: Any, offsets: dict[Log, Told]) -> Steps:
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
            self._aborted(cycle)
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
            take = self.takes.get(record.message.log.number, 0)
            txn.copies.append((record.message, copy, take))
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
