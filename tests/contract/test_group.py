"""A member of a group on a real broker: what it may commit, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition

from streamjobs.clock import monotonic
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.aside import Polled
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.config import producer_config
from streamjobs.kafka.cycle import TransactionalProducer
from streamjobs.kafka.group import GroupConsumer, Partition
from streamjobs.kafka.members import members_of
from streamjobs.kafka.membership import CommitRefused, NotAMember
from streamjobs.settings import Settings, load_settings
from streamjobs.testing import GroupProtocol
from streamjobs.topics import TopicSpec
from streamjobs.worker.commit import Onward


class Place:
    """A topic of two partitions and the members of its group."""

    def __init__(
        self, broker: Broker, name: str, protocol: GroupProtocol, stack: ExitStack
    ) -> None:
        self.settings: Settings = load_settings({}, bootstrap_servers=broker.bootstrap)
        self.name, self.protocol, self.stack = name, protocol, stack
        broker.create_topics([TopicSpec(name, 2)])

    def join(
        self, process: str | None = None, settings: Settings | None = None
    ) -> tuple[GroupConsumer, set[Partition]]:
        owned: set[Partition] = set()
        consumer = GroupConsumer(
            settings or self.settings,
            self.name,
            [self.name],
            protocol=self.protocol,
            process=process,
            on_assigned=owned.update,
            on_revoked=owned.difference_update,
            on_lost=owned.difference_update,
        )
        self.stack.callback(consumer.close)
        return consumer, owned

    def produce(self, *values: bytes, partition: int = 0) -> None:
        producer = Producer(producer_config(self.settings))
        for value in values:
            producer.produce(self.name, value, partition=partition)
        assert producer.flush(20) == 0

    def committed(self) -> dict[Partition, int]:
        with Admin(self.settings) as admin:
            return admin.committed(self.name, [(self.name, 0), (self.name, 1)])


@pytest.fixture
def place(kafka_broker: Broker, app_name: str, group_protocol: GroupProtocol) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(kafka_broker, app_name, group_protocol, stack)


def poll_until(true: Callable[[], Any], *consumers: GroupConsumer) -> None:
    deadline = monotonic() + 40
    while not true():
        assert monotonic() < deadline
        for consumer in consumers:
            consumer.poll(0.05)


def told_members(settings: Settings, group: str) -> frozenset[str]:
    """The group's members, asked for again while its coordinator does not answer in time."""
    deadline = monotonic() + 30
    while (told := members_of(settings, group, 10)) is None:
        assert monotonic() < deadline
    return told


def test_the_group_tells_which_processes_are_its_members(place: Place) -> None:
    # given a member, and one with a name of its own, which may be a dead one's
    static = load_settings(
        {}, bootstrap_servers=place.settings.bootstrap_servers, group_instance_id="worker-0"
    )
    one, owned = place.join("first")
    poll_until(lambda: len(owned) == 2, one)
    other, owned_too = place.join("second", static)
    poll_until(lambda: owned_too, one, other)

    # then others see both, and whoever has that name does not see it
    assert sorted(told_members(place.settings, place.name)) == [
        "streamjobs-first",
        "streamjobs-second",
    ]
    assert told_members(static, place.name) == frozenset({"streamjobs-first"})

    # and one that has left is none
    one.close()
    assert told_members(place.settings, place.name) == frozenset({"streamjobs-second"})


def test_before_it_is_a_member_it_commits_nothing(place: Place) -> None:
    consumer, _ = place.join()

    # Under KIP-848 the client makes its member id itself, before it joins: there it owns nothing.
    try:
        offsets = consumer.offsets({(place.name, 0): (1, "")})
    except NotAMember as error:
        assert place.name in str(error)  # noqa: PT017 (one of two right answers)
        offsets = []
    assert offsets == []


def test_only_what_it_owns_is_committed(place: Place) -> None:
    # given two members with a partition each
    (first, owned), (second, others) = place.join(), place.join()
    poll_until(lambda: len(owned) == len(others) == 1, first, second)
    (mine,), (theirs,) = owned, others

    # when one of them is asked for a commit of both
    offsets = first.offsets({mine: (1, ""), theirs: (1, "")})

    # then it makes one of its own
    assert [(p.topic, p.partition, p.offset) for p in offsets] == [(*mine, 1)]
    first.commit(offsets)
    assert place.committed() == {mine: 1}


def test_nothing_is_committed_before_it_is_asked_for(place: Place) -> None:
    place.produce(b"a", b"b")
    consumer, _ = place.join()
    values: list[Any] = []
    deadline = monotonic() + 40
    while len(values) < 2:
        assert monotonic() < deadline
        values += [message.value() for message in consumer.poll(0.1).messages]

    consumer.close()

    assert values == [b"a", b"b"]
    assert place.committed() == {}


def test_the_end_is_told_past_the_marker_of_a_transaction(place: Place) -> None:
    # given one record in a transaction, so that a marker stands behind it
    consumer, owned = place.join()
    poll_until(lambda: len(owned) == 2, consumer)
    producer = TransactionalProducer(place.settings, place.name)
    offset = [TopicPartition(place.name, 1, 0)]
    producer.send([Onward(place.name, 0, None, b"v")], offset, consumer.metadata, lambda: None)

    brought = Polled()
    deadline = monotonic() + 40
    while (place.name, 0, 2) not in brought.ends:
        assert monotonic() < deadline
        polled = consumer.poll(0.1)
        brought.messages += polled.messages
        brought.ends += polled.ends

    assert [(m.offset(), m.value()) for m in brought.messages] == [(0, b"v")]


def test_a_commit_that_is_not_waited_for_is_answered_in_a_later_poll(place: Place) -> None:
    consumer, owned = place.join()
    poll_until(lambda: len(owned) == 2, consumer)
    answers: list[KafkaError | None] = []

    consumer.begin_commit(consumer.offsets({(place.name, 0): (4, "told")}), answers.append)
    assert answers == []
    poll_until(lambda: answers, consumer)

    assert answers == [None]
    assert place.committed() == {(place.name, 0): 4}


@pytest.mark.parametrize("beside", [False, True])
def test_a_commit_that_is_refused_says_so(place: Place, *, beside: bool) -> None:
    consumer, owned = place.join()
    poll_until(lambda: len(owned) == 2, consumer)
    offsets = [TopicPartition(f"{place.name}.nowhere", 0, 1)]
    offsets += [TopicPartition(place.name, 0, 1)] if beside else []
    answers: list[KafkaError | None] = []

    with pytest.raises(CommitRefused):
        consumer.commit(offsets)
    consumer.begin_commit(offsets, answers.append)
    poll_until(lambda: answers, consumer)

    assert answers[0] is not None


def test_what_is_not_owned_is_neither_paused_nor_resumed(place: Place) -> None:
    consumer, owned = place.join()
    poll_until(lambda: len(owned) == 2, consumer)
    consumer.pause([(place.name, 0), ("elsewhere", 7)])
    place.produce(b"a")
    assert consumer.poll(1.0).messages == []

    consumer.resume([(place.name, 0), ("elsewhere", 7)])

    deadline = monotonic() + 20
    while not (messages := consumer.poll(0.1).messages):
        assert monotonic() < deadline
    assert [m.value() for m in messages] == [b"a"]


def test_what_was_paused_when_it_was_taken_away_flows_when_it_comes_back(place: Place) -> None:
    # Given a member that has paused both of its partitions, with a record in each
    consumer, owned = place.join()
    poll_until(lambda: len(owned) == 2, consumer)
    consumer.pause(owned)
    place.produce(b"0")
    place.produce(b"1", partition=1)

    # When one goes to another member and comes back
    other, theirs = place.join()
    poll_until(lambda: len(theirs) == len(owned) == 1, consumer, other)
    (moved,) = theirs
    other.close()
    got: list[Any] = []

    def back() -> bool:
        got.extend(consumer.poll(0.05).messages)
        return len(owned) == 2 and moved[1] in {message.partition() for message in got}

    # Then nobody has to resume it
    poll_until(back)
