"""The process of a worker: its queues' loops, its HTTP server, its signals.

Nothing here touches a record. ``Worker`` waits for a broker, checks the topics, starts one loop for
each queue and stops them all when one fails, a signal comes, or the drain is complete.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from prometheus_client import CollectorRegistry

from streamjobs.clock import monotonic
from streamjobs.codec import Decoder
from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.outbox import Partition
from streamjobs.errors import AuthenticationError, BrokerUnavailable, StreamjobsError, TopicsError
from streamjobs.executors.processes import ProcessExecutor
from streamjobs.executors.slot import ChildRecipe
from streamjobs.executors.split import Executor, SplitExecutor
from streamjobs.executors.threads import MayBegin, ThreadExecutor
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.cycle import IdempotentProducer, TransactionalProducer
from streamjobs.kafka.failures import require_broker
from streamjobs.kafka.group import GroupConsumer
from streamjobs.kafka.inquiry import Inquiry
from streamjobs.kafka.protocol import resolve_protocol
from streamjobs.observe.metrics import WorkerMetrics
from streamjobs.registry import Queue
from streamjobs.worker.attempt import Attempt
from streamjobs.worker.checks import check
from streamjobs.worker.commit import CommitCycle, Onward
from streamjobs.worker.drained import Drained
from streamjobs.worker.loop import QueueLoop
from streamjobs.worker.owners import is_gone, read_id, read_tried
from streamjobs.worker.parts import Member, Parts, State
from streamjobs.worker.source import Source
from streamjobs.worker.taking import Taking, Topics
from streamjobs.worker.watch import TopicWatch

logger = logging.getLogger("streamjobs.worker")

# How often a missing broker is mentioned, and how long one try takes at most, in seconds.
BROKER_PATIENCE, BROKER_TRY = 15.0, 3.0
# Seconds before a cluster that had no answer about its topics is asked again.
BROKER_PAUSE = 1.0
# A loop that has not turned for this many seconds is stuck.
STUCK_AFTER = 60.0
DRAIN_CHECK = SIGNAL_CHECK = 0.5
# Records in hand for each thread, and at least: enough that none waits for the loop.
CAPACITY_PER_THREAD, CAPACITY = 50, 2_000


@dataclass(frozen=True)
class Options:
    """How a worker runs.

    Attributes:
        concurrency: threads for each queue.
        drain: stop when every partition of the queues' groups is at its end, whoever owns it.
        drain_budget: seconds that running jobs have to end at a stop or a rebalance.
        children: child processes for each queue's suspects.
        from_earliest: begin where a log begins whose offsets are lost, its beginning with them.
        old_partitions: run although partitions were added to a main topic, without those.
    """

    concurrency: int = 16
    drain: bool = False
    drain_budget: float = 20.0
    children: int = 2
    from_earliest: bool = False
    old_partitions: bool = False


class Worker:
    """Runs queues until it is stopped.

    Args:
        source: the app's parts.
        queues: their names.
        options: how.

    Attributes:
        metrics_registry: where its metrics are registered.
        drained: whether all was done that it was to drain.
    """

    def __init__(self, source: Source, queues: Sequence[str], options: Options) -> None:
        self._source, self._options = source, options
        self._queues = [source.registry.find_queue(name) for name in queues]
        self._stop_asked, self._ended = threading.Event(), threading.Event()
        self._loops: list[QueueLoop] = []
        self.drained = False
        self._outdated: set[str] = set()
        self.metrics_registry = CollectorRegistry()
        self._metrics = WorkerMetrics(self.metrics_registry)
        # Found out once: who joins again does so by the same.
        self._protocol_by = cache(partial(resolve_protocol, source.settings))
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._process, self._permit = secrets.token_hex(8), threading.Lock()
        self._watch = TopicWatch(source.settings, self._renew, self._process, self._given)

    def stop(self) -> None:
        """Ask for a drain; may be called from a signal handler, twice, and before ``run``."""
        self._stop_asked.set()
        self._ended.set()

    def run(self) -> None:
        """Run until stopped, drained or broken.

        Raises:
            StreamjobsError: what ended it: topics, credentials, or a loop's error.
        """
        ladders = self._ladders()
        if ladders is None:
            return
        for queue, ladder in zip(self._queues, ladders, strict=True):
            self._loops.append(self._make_loop(queue, ladder))
        try:
            for loop in self._loops:
                loop.start()
            self._watch.start()
            self._wait(ladders)
        finally:
            self._watch.stop()
            for loop in self._loops:
                loop.stop()
            for loop in self._loops:
                while loop.is_alive():  # not in one wait: see ``_wait``
                    loop.join(SIGNAL_CHECK)
        for loop in self._loops:
            if loop.error is not None:
                raise loop.error

    def live(self) -> tuple[bool, str]:
        """Whether every loop turns; about progress, not about the broker's health."""
        stuck = [
            loop.queue
            for loop in self._loops
            if loop.state is not State.STOPPED and monotonic() - loop.last_turn > STUCK_AFTER
        ]
        return not stuck, f"loops stuck: {', '.join(stuck)}" if stuck else "turning"

    def ready(self) -> tuple[bool, str]:
        """Whether every loop is in its group and running, its topics are sound, and none waits."""
        if not self._loops:
            return False, "waiting for a Kafka broker"
        waiting = []
        for loop in self._loops:
            # A topic that is not there may be told by both, in the same words.
            told = dict.fromkeys((*loop.troubles, *self._watch.problems(loop.queue)))
            if told or loop.state is not State.RUNNING:
                waiting.append(f"{loop.queue}: {'; '.join(told) or loop.state.value}")
        return not waiting, ", ".join(waiting) or "running"

    def report(self) -> list[dict[str, Any]]:
        """What was done, per queue: outcomes, and seconds from first record to last outcome."""
        return [
            {
                "queue": loop.queue,
                **{
                    name: loop.tally.outcomes[name]
                    for name in ("succeeded", "retried", "dead", "discarded", "released")
                },
                "seconds": round(loop.tally.seconds, 3),
            }
            for loop in self._loops
        ]

    # -- inside ------------------------------------------------------------------------------

    def _ladders(self) -> list[Ladder] | None:
        """Wait for a broker and check the topics; None when stopped meanwhile.

        A cluster that has just lost a node lets clients in before its controller answers.
        """
        while self._await_broker():
            try:
                with Admin(self._source.settings) as admin:
                    skip = self._options.old_partitions
                    return [
                        check(admin, queue, self._source, skip=skip, starts=True)
                        for queue in self._queues
                    ]
            except BrokerUnavailable as error:
                logger.warning("%s; trying on", error)
                self._stop_asked.wait(BROKER_PAUSE)
        return None

    def _await_broker(self) -> bool:
        """Wait for a broker, saying so; False when stopped meanwhile."""
        told = -BROKER_PATIENCE
        while not self._stop_asked.is_set():
            try:
                require_broker(self._source.settings, timeout=BROKER_TRY)
            except BrokerUnavailable as error:
                if monotonic() - told >= BROKER_PATIENCE:
                    told = monotonic()
                    logger.warning("%s; trying on", error)
            else:
                return True
        return False

    def _make_loop(self, queue: Queue, ladder: Ladder) -> QueueLoop:
        source, options = self._source, self._options
        parts = self._parts(queue, ladder)
        known = set(parts.tiers)
        self._watch.watch(ladder)

        def renew(topics: Collection[str], reads: Collection[str]) -> Parts | None:
            tiers = set(ladder.topics.tiers_among(topics))
            grown_up = not tiers <= known
            if tiers <= set(reads) and queue.name not in self._outdated:
                return None
            try:
                with Admin(source.settings) as admin:
                    now = check(admin, queue, source, skip=True)
            except (AuthenticationError, TopicsError) as error:
                if grown_up:
                    raise
                self._outdated.discard(queue.name)
                # It may be deleted once more: the next look at the topics sees what has become.
                logger.warning("queue %s: not joined again yet: %s", queue.name, error)
                return None
            self._outdated.discard(queue.name)
            grown = self._parts(queue, now)
            self._watch.watch(now)
            known.update(grown.tiers)
            return grown

        return QueueLoop(
            queue.name,
            parts,
            renew,
            self._make_executor(queue, len(ladder.mains)),
            metrics=self._metrics,
            drain_budget=options.drain_budget,
            on_end=self._ended.set,
        )

    def _parts(self, queue: Queue, ladder: Ladder) -> Parts:
        """What a queue's loop works with as long as the ladder is this one."""
        source, topics = self._source, ladder.topics
        capacity = max(CAPACITY, CAPACITY_PER_THREAD * self._options.concurrency)
        # A drain has to end: what fails goes down the ladder to its end.
        breaker = None if self._options.drain else queue.breaker
        engine = Engine(ladder, capacity=capacity, breaker=breaker, permit=self._permit)

        def join_group(loop: Member) -> GroupConsumer:
            return GroupConsumer(
                source.settings,
                topics.group,
                [*ladder.mains, *ladder.reads],
                protocol=self._protocol_by(ladder.mains[0]),
                process=self._process,
                on_assigned=loop.assigned,
                on_revoked=loop.revoked,
                on_lost=loop.lost,
                on_denied=self._watch.look_now,
            )

        transactional = source.settings.delivery == "transactional"

        def make_producer(name: str) -> TransactionalProducer | IdempotentProducer:
            if transactional:
                return TransactionalProducer(source.settings, fixed=name)
            return IdempotentProducer(source.settings)

        def make_cycle(consumer: GroupConsumer, overdue: Callable[[], bool]) -> CommitCycle:
            return CommitCycle(
                engine,
                consumer,
                make_producer,
                transactional=transactional,
                queue=queue.name,
                worker=self._name,
                process=self._process,
                metrics=self._metrics,
                on_denied=self._watch.look_now,
                overdue=overdue,
            )

        def make_taking(consumer: GroupConsumer) -> Taking:
            gone = partial(is_gone, process=self._process)
            asks = Inquiry(source.settings, topics.group, read_id, read_tried, gone)
            where = Topics(
                topics.group,
                ladder.reads,
                ladder.topic_ids,
                self._options.from_earliest,
                self._options.drain,
                self._id_today,
            )
            return Taking(engine, consumer, asks, where)

        return Parts(engine, frozenset(ladder.reads), join_group, make_cycle, make_taking)

    def _given(self, queue: str) -> frozenset[Partition]:
        """What the loop of a queue has been given, as far as it knows."""
        return next((loop.given for loop in self._loops if loop.queue == queue), frozenset())

    def _renew(self, queue: str) -> None:
        """A topic of this queue is another one than its loop began with, or it missed something."""
        self._outdated.add(queue)
        for loop in self._loops:
            if loop.queue == queue:
                loop.questions.outdated = True

    def _id_today(self, topic: str) -> str | None:
        """Ask for a topic's id; empty: it is not there; None: no answer."""
        try:
            with Admin(self._source.settings) as admin:
                info = admin.described([topic]).get(topic)
        except StreamjobsError as error:
            logger.info("no id of topic %s yet: %s", topic, error)
            return None
        return "" if info is None else info.topic_id

    def _make_executor(self, queue: Queue, ranks: int) -> Executor:
        source, options, name = self._source, self._options, f"streamjobs-{queue.name}"
        decoder = Decoder(source.app, source.registry, source.store)

        def attempt(may_begin: MayBegin) -> Attempt:
            return Attempt(decoder, self._child, self._stop_asked, may_begin)

        threads = ThreadExecutor(attempt, options.concurrency, name, ranks=ranks)
        if not source.child:
            return threads
        recipe = ChildRecipe(
            source.child,
            os.getcwd(),  # noqa: PTH109 (sys.path holds text)
            source.store.schema,
            _onward,
        )
        children = ProcessExecutor(recipe, name, processes=options.children, ranks=ranks)
        return SplitExecutor(threads, children, options.concurrency)

    def _child(self, call: Any) -> Onward:
        outgoing = self._source.outgoing(call)
        return _onward(outgoing.topic, outgoing.key, outgoing.value)

    def _wait(self, ladders: list[Ladder]) -> None:
        """Return when stopped, when a loop has ended, or when all is drained."""
        if not self._options.drain:
            # Not for ever: a signal that another thread is given does not wake this one, whose turn
            # it is to handle it.
            while not self._ended.wait(SIGNAL_CHECK):
                pass
            return
        with Drained(self._source.settings, ladders) as drained:
            while not self._ended.wait(DRAIN_CHECK):
                if drained.now():
                    self.drained = True
                    return


def _onward(topic: str, key: bytes | None, value: bytes) -> Onward:
    """A child job: its key decides its partition."""
    return Onward(topic, -1, key, value)
