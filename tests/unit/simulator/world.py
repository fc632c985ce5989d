"""One history from its first record to the last: time, workers, faults.

Everything happens at a time on one queue; workers are generators that yield how long they wait.
Nothing depends on the machine: the same seed is the same history.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from heapq import heappop, heappush
from random import Random
from types import SimpleNamespace
from typing import Any

from unit.simulator.faults import Faults
from unit.simulator.judge import Judge, Violation
from unit.simulator.model_broker import TRANSACTION_TIMEOUT, Broker, Producer
from unit.simulator.model_group import ClassicGroup, Group, SteppingGroup
from unit.simulator.model_log import Log, Msg
from unit.simulator.parts import Parts
from unit.simulator.setups import TOPICS, Setup, mains_of, make_engine

from streamjobs.engine.metadata import read

BEGIN = 1_000_000.0
SESSION = 6.0
# Seconds without any progress, on top of the longest delay, after which a healed history is stuck;
# and turns after which it is running in circles. Under the small limits a long line of one key
# whose jobs fail again and again takes tens of thousands.
PATIENCE, MOST_TURNS = 120.0, 150_000


class Killed(Exception):
    """The process ends here, at once."""


class World:
    """One history.

    Args:
        setup: what to play.
        parts: the code to play it with.
        trace: whether to keep what happens, for printing.
    """

    def __init__(self, setup: Setup, parts: Parts, *, trace: bool = False) -> None:
        self.setup, self.parts = setup, parts
        self.rng = Random(setup.seed * 2 + 1)
        self.now = BEGIN
        self.trace: list[str] | None = [] if trace else None
        self.judge = Judge(
            setup.writes, setup.immediate, setup.ordering, tells=not setup.strips_text
        )
        parts.shrink(setup.small)
        # A planted bug often makes it run in circles: that shows sooner.
        self._most_turns = MOST_TURNS // 5 if parts.hurried else MOST_TURNS
        self._queue: list[tuple[float, int, Any]] = []
        self._count = self._takes = self._names = self._producers = self._turns = 0
        self._enqueued = 0
        self._make_logs()
        kind: type[Group] = ClassicGroup if setup.classic else SteppingGroup
        self.group = kind(self.rng, self.shards, self._settle_attempts)
        self.judge.whole = self.group.whole
        self.broker = Broker(self.rng, self.group, self.judge, self.later, setup.marker_delay)
        self.workers: list[Any] = []
        self.refusing: set[str] = set()
        self._healed_at: float | None = None
        self._progress, self._progress_at = (0, 0), BEGIN
        # Idle workers poll less often when nothing happens any more, or quiet histories take long.
        self.calm = 1.0
        self._evictions = parts.evictions.total()
        self._failure = parts.headers.Failure("Error", "no", "")

    def _make_logs(self) -> None:
        setup = self.setup
        mains = mains_of(setup.priorities)
        tiers = {TOPICS.tier(delay): delay for delay in setup.reads}
        self.shards = [
            [Log(topic, number, "main", 0.0) for topic in mains]
            + [Log(topic, number, "tier", delay) for topic, delay in tiers.items()]
            for number in range(setup.shards)
        ]
        every = [log for shard in self.shards for log in shard]
        every += [Log(TOPICS.dlq, number, "dlq", 0.0) for number in range(setup.shards)]
        self.logs = {(log.topic, log.number): log for log in every}

    # -- playing -----------------------------------------------------------------------------

    def play(self) -> Judge:
        """Play to the end.

        Raises:
            Violation: a guarantee was broken.
        """
        self._enqueue_all()
        for _ in range(self.setup.workers):
            self.start_worker(self.rng.random() * 2)
        faults = Faults(self)
        for fault in self.setup.faults:
            self.later(fault.at, lambda fault=fault: faults.strike(fault))  # type: ignore[misc]
        last = max((f.at for f in self.setup.faults), default=0.0)
        self.later(max(last, self.setup.batches[-1][0]) + 1.0, self._heal)
        queue = self._queue
        while queue:
            self.now, _, what = heappop(queue)
            if callable(what):
                what()
            else:
                self._turn(what)
                if self._healed_at is not None and self._over():
                    break
        self.judge.close(self.logs.values())
        self._sum_up()
        return self.judge

    def _turn(self, worker: Any) -> None:
        if not worker.alive or worker.frozen:
            return
        try:
            delay = worker.steps.send(None)
        except Killed:
            self.kill(worker)
        except StopIteration:
            worker.alive = False
            self.note(worker, "left")
        else:
            if not worker.frozen:
                self._push(delay, worker)

    def _over(self) -> bool:
        judge = self.judge
        self._turns += 1
        progress = (judge.starts, judge.accepts)
        if progress != self._progress:
            self._progress, self._progress_at = progress, self.now
        elif self.now - self._progress_at > PATIENCE + 4 * max(self.setup.reads, default=0.0):
            raise Violation(f"stuck: {judge.unended} jobs have not ended; {self._lags()}")
        if self._turns > self._most_turns:
            raise Violation(f"in circles: {judge.unended} jobs have not ended; {self._lags()}")
        if judge.unended:
            return False
        return all(
            log.kind == "dlq" or log.judged == len(log.entries) for log in self.logs.values()
        )

    def _lags(self) -> str:
        return ", ".join(
            f"{log.name} {log.judged} of {len(log.entries)}"
            for log in self.logs.values()
            if log.kind != "dlq" and log.judged < len(log.entries)
        )

    def _sum_up(self) -> None:
        totals = self.judge.totals
        totals["histories"] += 1
        totals["jobs"] += len(self.judge.jobs)
        totals["starts"] += self.judge.starts
        totals["evictions"] += self.parts.evictions.total() - self._evictions
        totals["fences"] += self.broker.fences
        totals["rebalances"] += self.group.rebalances

    # -- time --------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return int(self.now * 1000)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._push(seconds, act)

    def _push(self, seconds: float, what: Any) -> None:
        self._count += 1
        heappush(self._queue, (self.now + seconds, self._count, what))

    def note(self, worker: Any, text: str) -> None:
        if self.trace is not None:
            who = worker.name if worker is not None else "-"
            self.trace.append(f"{self.now - BEGIN:9.3f} {who:4s} {text}")

    # -- jobs --------------------------------------------------------------------------------

    def _enqueue_all(self) -> None:
        batches = self.setup.batches
        begin = 0
        for index in range(1, len(batches) + 1):
            if index == len(batches) or batches[index][0] != batches[begin][0]:
                part = batches[begin:index]
                self.later(part[0][0], lambda part=part: self._enqueue(part))  # type: ignore[misc]
                begin = index

    def _enqueue(self, part: Sequence[tuple[float, int, int | None]]) -> None:
        mains = mains_of(self.setup.priorities)
        for _, topic, key in part:
            log = self._log_for(mains[topic], key)
            msg = Msg(log, None if key is None else b"k%d" % key, self.now_ms)
            msg.offset_ = len(log.entries)
            log.entries.append(msg)
            self.judge.enqueued(msg)
            msg.job.killer = self._enqueued in self.setup.killers
            self._enqueued += 1

    def _log_for(self, topic: str, key: int | None) -> Log:
        shards = self.setup.shards
        number = self.rng.randrange(shards) if key is None else zlib.crc32(b"%d" % key) % shards
        return self.logs[topic, number]

    def draw_duration(self) -> float:
        setup, rand = self.setup, self.rng.random
        if setup.long_jobs and rand() < setup.long_jobs:
            return 2.0 + 10.0 * rand()
        return setup.mean * 2.0 * rand()

    def draw_result(self, msg: Msg, *, halted: bool) -> tuple[Any, str, float]:
        """What an attempt comes to, for the engine and, as it wants to be told, for the judge."""
        rand, results, setup = self.rng.random(), self.parts.results, self.setup
        key = msg.key_
        begin, end = setup.outage
        chance = setup.failing[-1 if key is None else int(key[1:])]
        if rand < chance or begin <= self.now - BEGIN < end:
            asked = self.rng.random()
            if asked < 0.8:
                return results.Failed(self._failure), "F", 0
            return results.Failed(self._failure, retry_after=asked * 10), "A", asked * 10
        return self._draw_end(halted=halted)

    def _draw_end(self, *, halted: bool) -> tuple[Any, str, float]:
        results = self.parts.results
        rand = self.rng.random()
        if rand > 0.04 or (rand < 0.005 and not halted):
            return None, "S", 0
        if rand > 0.03:
            return self._children(), "S", 1
        if rand > 0.02:
            return results.DISCARDED, "D", 0
        if rand > 0.015:
            reason = self.parts.headers.Reason.REJECTED
            return results.Rejected(self._failure, reason), "R", 0
        if rand < 0.005:
            return results.INTERRUPTED, "I", 0
        return self._children(), "S", 1

    def _children(self) -> Any:
        key = self.rng.randrange(len(self.setup.failing) - 1)
        log = self._log_for(mains_of(self.setup.priorities)[0], key)
        child = SimpleNamespace(topic=log.topic, partition=log.number, key=b"k%d" % key)
        return self.parts.results.Succeeded((child,))

    def onward(self, move: Any, source: Msg, log: Log | None) -> Msg:
        """The record that a move writes, with its headers as the worker writes them."""
        if log is None or log.kind == "main":
            raise Violation(f"{source} is moved to {move.topic}, which is no tier and no DLQ")
        delivery, origin = move.delivery, move.delivery.origin
        job = source.job
        here = (f"id-{job.main.topic}", job.main.number, job.place)
        if origin is None or (origin.topic_id, origin.partition, origin.offset) != here:
            raise Violation(f"{source} is moved with the origin {origin}")
        copy = Msg(log, source.key_, self.now_ms)
        copy.job = source.job
        copy.attempts, copy.rung = delivery.attempts, delivery.rung
        copy.reason, copy.crashes = str(move.reason), delivery.crashes
        copy.due = copy.at_ms / 1000 + log.delay
        copy.headers_ = self.parts.headers.write_move(
            delivery=delivery,
            reason=move.reason,
            failure=None,
            failed_at_ms=copy.at_ms,
            worker="w",
        )
        return copy

    # -- what workers ask for ----------------------------------------------------------------

    def make_engine(self) -> Any:
        return make_engine(self.parts, self.setup)

    def next_take(self) -> int:
        self._takes += 1
        return self._takes

    def new_producer(self, worker: Any) -> Producer:
        self._producers += 1
        return Producer(f"t{self._producers}")

    def refuses(self, worker: Any) -> bool:
        """Whether a record of this transaction is not delivered, this time."""
        if worker.name in self.refusing:
            self.refusing.discard(worker.name)
            self.note(worker, "a record is not delivered")
            return True
        return False

    def step(self, worker: Any, name: str) -> Generator[float, None, None]:
        """Die or stand still here, if that is what waits for this worker at this step."""
        if worker.trap is not None and worker.trap[0] == name:
            _, what, seconds = worker.trap
            worker.trap = None
            self.note(worker, f"at the step {name}:")
            self.judge.totals[f"{what} {name}"] += 1
            if what == "kill at":
                raise Killed
            self.stop(worker, seconds)
            yield 0.0

    def watch_tiers(self, worker: Any, number: int) -> None:
        """After a while, end what keeps the ends of the tiers unstable."""
        shard = self.shards[number]
        if self.setup.ends_by_id and any(log.open for log in shard):
            self.later(1.0 + self.rng.random(), lambda: self.end_transactions(shard))

    def end_transactions(self, shard: list[Log]) -> None:
        """End transactions of dead owners, and sometimes of one that is alive, by their ids."""
        for log in shard:
            for txn in [*log.open, *log.pending]:
                if txn.state == "open":
                    self.broker.fence(txn.producer)

    # -- workers -----------------------------------------------------------------------------

    def start_worker(self, seconds: float, stays: float | None = None) -> None:
        """Start one after some seconds; one that does not stay leaves in good order."""

        def start() -> None:
            self._names += 1
            worker = self.parts.shell.Worker(self, f"w{self._names}")
            self.workers.append(worker)
            self._push(0.0, worker)
            self.note(worker, "starts")
            if stays is not None:
                self.later(stays, lambda: setattr(worker, "closing", True))

        self.later(seconds, start)

    def _settle_attempts(self) -> None:
        """Before partitions change hands: what has begun and ended until now is the old owner's."""
        for worker in self.workers:
            if worker.alive and not worker.frozen:
                worker.executor.advance(self.now)

    def kill(self, worker: Any) -> None:
        if not worker.frozen:
            worker.executor.advance(self.now)
        worker.alive = False
        worker.steps.close()
        self.judge.totals["crashes"] += 1
        self.note(worker, "is killed")
        self.gone(worker)

    def die(self, worker: Any) -> None:
        """A job ends its worker, whatever ran it; another is started."""

        def act() -> None:
            if worker.alive:
                self.kill(worker)
                self.start_worker(1.0)

        self.later(0.0, act)

    def lives(self, name: str | None) -> bool:
        """Whether a worker is a member of the group."""
        members = self.group.members
        return any(w.name == name and w.alive and w.member in members for w in self.workers)

    def _marked(self, worker: Any) -> Iterator[Msg]:
        """What it is about to try alone, or has put off, as the broker knows or is being told."""
        if (trial := worker.engine.alone._trial) is not None:
            yield trial.message
        for log in self.logs.values() if self.setup.suspects else ():
            text = log.committed
            told = None if text is None else read(text.text, text)
            if told and told.transactional_id == worker.name and told.suspicion.trying:
                marked = log.entries[told.suspicion.crashes[0][0]]
                assert marked is not None
                yield marked

    def gone(self, worker: Any) -> None:
        """It sends no heartbeats any longer, and nobody ends its transaction."""
        self.judge.lost({*worker.begun, *self._marked(worker)})
        member = worker.member
        if member is not None:
            wait = SESSION - self.rng.random()

            def expire() -> None:
                if not worker.alive or worker.frozen or worker.cut:
                    self.note(worker, "is expelled")
                    self.group.leave(member)

            self.later(wait, expire)
        if worker.producer is not None and worker.producer.txn is not None:
            txn = worker.producer.txn
            wait = max(0.0, txn.begun + TRANSACTION_TIMEOUT - self.now)
            self.later(wait, lambda: self.broker.expire(txn))

    def stop(self, worker: Any, seconds: float) -> None:
        """SIGSTOP for so long."""
        worker.executor.advance(self.now)
        worker.frozen = True
        since = self.now
        self.judge.totals["stops"] += 1
        self.note(worker, f"stands still for {seconds:.3f} s")
        self.gone(worker)

        def wake() -> None:
            if worker.alive and worker.frozen:
                worker.frozen = False
                worker.executor.delay(self.now - since)
                if worker.member not in self.group.members:
                    self.judge.totals["zombies"] += 1
                self.note(worker, "wakes")
                self._push(0.0, worker)

        self.later(seconds, wake)

    def _heal(self) -> None:
        """No more faults: enough workers, clocks that agree, a broker within reach."""
        self.note(None, "all is healed")
        self.refusing.clear()
        alive = 0
        for worker in self.workers:
            worker.trap, worker.skew = None, 0.0
            alive += worker.alive and not worker.closing
            if worker.cut:
                worker.cut = False
        for _ in range(max(1, self.setup.workers - alive)):
            self.start_worker(0.1)
        self._healed_at = self.now
        self.later(2 * SESSION, lambda: setattr(self, "calm", 3.0))
        self._progress, self._progress_at = (-1, -1), self.now
