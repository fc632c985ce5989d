"""Cycles that only complete commit plainly, beside transactions of the same group: is that safe?

Here it is decided, with either group protocol on Apache Kafka: whoever reads finds what was
acknowledged last or something newer, and an owner that was removed changes nothing any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, get_args

import pytest
from confluent_kafka import Consumer, TopicPartition
from contract.line import Line
from prometheus_client import CollectorRegistry

from streamjobs.clock import monotonic
from streamjobs.engine.cycles import Cycle
from streamjobs.engine.metadata import NOTHING, Note
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.config import consumer_config
from streamjobs.kafka.cycle import TransactionalProducer
from streamjobs.kafka.group import GroupConsumer, Partition
from streamjobs.observe.metrics import WorkerMetrics
from streamjobs.settings import Settings, load_settings
from streamjobs.testing import GroupProtocol
from streamjobs.topics import TopicSpec
from streamjobs.worker.commit import CommitCycle, Onward

ROUNDS = 200
# How long a plain commit is held up: a transaction takes some milliseconds.
HELD = 0.3


class Decided(NamedTuple):
    """A cycle of the engine's, of one offset; with a record to write, it is a transaction."""

    offset: int
    moves: tuple[()]
    children: list[tuple[None, Onward]]
    notes: dict[Partition, Note]
    produces: bool
    offsets: dict[Partition, int]


class Decisions:
    """What a commit cycle asks of an engine, which decides what the test tells it to."""

    def __init__(self) -> None:
        self.next: Any = None
        self.done: list[int] = []
        self.failed: list[int] = []
        self.standing: dict[Partition, Note] = {}

    def cycle(self, *, everything: bool) -> Any:
        assert not everything
        taken, self.next = self.next, None
        return taken

    def committed(self, cycle: Cycle) -> None:
        self.done += cycle.offsets.values()
        self.standing = cycle.notes

    def aborted(self, cycle: Cycle) -> None:
        self.failed += cycle.offsets.values()


class Place:
    """A topic of one partition, and those that commit and read what is committed of it."""

    def __init__(
        self, broker: Broker, name: str, protocol: GroupProtocol, stack: ExitStack
    ) -> None:
        self.broker, self.name, self.protocol, self.stack = broker, name, protocol, stack
        self.partition = (name, 0)
        broker.create_topics([TopicSpec(name, 1), TopicSpec(f"{name}.moved", 1)])

    def settings(self, bootstrap: str = "") -> Settings:
        return load_settings(
            {},
            bootstrap_servers=bootstrap or self.broker.bootstrap,
            kafka={"session.timeout.ms": 6000},
        )

    def line(self) -> Line:
        """A way to the broker that can be held up; it ends after those that go by it."""
        return self.stack.enter_context(Line(self.broker.bootstrap))

    def join(self, bootstrap: str = "") -> tuple[GroupConsumer, set[Partition]]:
        owned: set[Partition] = set()
        consumer = GroupConsumer(
            self.settings(bootstrap),
            self.name,
            [self.name],
            protocol=self.protocol,
            on_assigned=owned.update,
            on_revoked=owned.difference_update,
            on_lost=owned.difference_update,
        )
        self.stack.callback(consumer.close)
        return consumer, owned

    def member(self, bootstrap: str = "") -> GroupConsumer:
        """One that owns the partition."""
        consumer, owned = self.join(bootstrap)
        poll_until(lambda: owned, consumer)
        return consumer

    def cycles(self, consumer: GroupConsumer, decisions: Decisions) -> CommitCycle:
        """The worker's own commit cycle; its producer takes the direct way to the broker."""
        engine: Any = decisions
        return CommitCycle(
            engine,
            consumer,
            lambda name: TransactionalProducer(self.settings(), fixed=name),
            transactional=True,
            queue="mail",
            worker="w1",
            process="0123456789abcdef",
            metrics=WorkerMetrics(CollectorRegistry()),
        )

    def decided(self, offset: int, *, move: bool) -> Decided:
        note = Note(offset, NOTHING, offset, whole=True, topic_id=f"told-{offset}", epoch=None)
        child = (None, Onward(f"{self.name}.moved", 0, None, b"%d" % offset))
        notes = {self.partition: note}
        return Decided(offset, (), [child] if move else [], notes, move, {self.partition: offset})

    def reader(self) -> Consumer:
        """Somebody else who asks what is committed, and waits for open transactions to end."""
        return Consumer(consumer_config(self.settings(), self.name))

    def read(self, reader: Consumer) -> tuple[int, str]:
        (at,) = reader.committed([TopicPartition(*self.partition)], timeout=10)
        assert at.error is None, at.error
        return at.offset, at.metadata or ""


@pytest.fixture(params=get_args(GroupProtocol))
def place(kafka_broker: Broker, app_name: str, request: Any) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(kafka_broker, app_name, request.param, stack)


def poll_until(true: Callable[[], Any], *consumers: GroupConsumer) -> None:
    deadline = monotonic() + 40
    while not true():
        assert monotonic() < deadline
        for consumer in consumers:
            consumer.poll(0.01)


def run_and_wait(cycles: CommitCycle) -> None:
    """Make a cycle and wait for the broker's word, once the coordinator answers; polls nothing.

    Until then nothing is decided. What fails is decided no more: that has to be looked for.
    """
    deadline = monotonic() + 40
    while not cycles.run(wait=True):
        assert monotonic() < deadline


@contextmanager
def read_all_the_while(place: Place, acknowledged: Callable[[], int]) -> Iterator[list[Any]]:
    """Ask in a thread, again and again; each is what was acknowledged before, offset and text."""
    seen: list[Any] = []
    over = threading.Event()

    def ask() -> None:
        reader = place.reader()
        while not over.is_set():
            before = acknowledged()
            seen.append((before, *place.read(reader)))
        reader.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(30)


def test_who_reads_finds_what_was_acknowledged_last_or_newer(place: Place) -> None:
    # Given a worker's commit cycle, and somebody who reads what is committed all the while
    consumer, decisions = place.member(), Decisions()
    cycles = place.cycles(consumer, decisions)
    with read_all_the_while(place, lambda: decisions.done[-1] if decisions.done else 0) as seen:
        # When it commits plainly and in transactions by turns; every other plain commit is under
        # way still when a transaction has to be made that does not wait for another turn
        for number in range(1, ROUNDS + 1):
            decisions.next = place.decided(2 * number - 1, move=False)
            assert cycles.run()
            assert cycles.under_way
            if number % 2:
                poll_until(lambda: not cycles.under_way, consumer)
            decisions.next = place.decided(2 * number, move=True)
            run_and_wait(cycles)
            consumer.poll(0)
        last = place.read(place.reader())

    # Then nothing was refused, and each answer is no older than what was acknowledged before it
    assert decisions.failed == []
    assert decisions.done == [*range(1, 2 * ROUNDS + 1)]
    assert len(seen) > ROUNDS // 4
    assert [told for told in seen if told[1] < told[0]] == []
    offsets = [offset for _, offset, _ in seen if offset > 0]
    assert offsets == sorted(offsets)

    # And the text beside an offset is the one it was committed with
    assert all(f" told-{offset} " in text for _, offset, text in seen if offset > 0)
    assert last[0] == 2 * ROUNDS
    assert f" told-{last[0]} " in last[1]


def test_a_plain_commit_that_is_slow_to_arrive_never_lands_behind_a_transaction(
    place: Place,
) -> None:
    # Given a plain commit that was sent and has not reached the broker
    line = place.line()
    consumer, decisions = place.member(line.bootstrap), Decisions()
    cycles = place.cycles(consumer, decisions)
    decisions.next = place.decided(1, move=True)  # so that the producer is there
    assert cycles.run()
    line.hold()
    decisions.next = place.decided(5, move=False)
    assert cycles.run()
    timer = threading.Timer(HELD, line.let_go)
    timer.start()

    # When a transaction with a higher offset has to be made, on a connection of its own
    decisions.next = place.decided(9, move=True)
    assert cycles.run()
    assert cycles.under_way  # it was put off, unless it has to be now
    run_and_wait(cycles)
    timer.join()

    # Then it has waited for the other: what is asked on the connection that was held, and so is
    # answered behind all that was sent there, is the higher one
    offset, text = place.read(consumer._consumer)
    assert (offset, decisions.failed) == (9, [])
    assert " told-9 " in text


def test_what_a_removed_member_committed_in_time_is_refused_when_it_arrives(place: Place) -> None:
    # Given a plain commit that was sent, and is held up until its member has been removed
    line = place.line()
    consumer, decisions = place.member(line.bootstrap), Decisions()
    cycles = place.cycles(consumer, decisions)
    line.hold()
    decisions.next = place.decided(9, move=False)
    assert cycles.run()
    successor, decisions_of_successor = place.member(), Decisions()
    decisions_of_successor.next = place.decided(5, move=False)
    run_and_wait(place.cycles(successor, decisions_of_successor))

    # When it arrives, with a higher offset than the next owner's
    line.let_go()
    poll_until(lambda: not cycles.under_way, consumer)

    # Then it was refused, and what the next owner has committed stands
    assert (decisions.done, decisions.failed) == ([], [9])
    offset, text = place.read(place.reader())
    assert offset == 5
    assert " told-5 " in text
