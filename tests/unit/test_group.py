"""What a member of a group hears of its partitions, from a consumer that does nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from streamjobs.kafka import group, membership
from streamjobs.settings import Settings


class FakeConsumer:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.callbacks: dict[str, Any] = {}
        self.member = "m1"
        self.results: list[Any] = []
        self.refusal: KafkaException | None = None
        self.queue: list[Any] = []
        self.owned = [3]
        self.at: dict[int, int] = {}
        self.placed: list[tuple[int, int]] = []

    def poll(self, _: float) -> Any:
        return self.queue.pop(0) if self.queue else None

    def consume(self, *_: Any) -> list[Any]:
        return []

    def resume(self, _: list[TopicPartition]) -> None:
        pass

    def position(self, asked: list[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(p.topic, p.partition, self.at.get(p.partition, OFFSET_INVALID))
            for p in asked
        ]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.placed = [(p.partition, p.offset) for p in partitions]

    def memberid(self) -> str:
        return self.member

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("shop.mail", number) for number in self.owned]

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        if self.refusal is not None:
            raise self.refusal
        return self.results

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks


class NoOffset:
    """The event that nothing was ever committed of a partition, or another that it is told by."""

    def __init__(self, number: int, text: str = "", at: int | None = None) -> None:
        self.number, self.at = number, at
        self.text = text or f"no previously committed offset: {group._NO_OFFSET}"

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET, self.text)

    def topic(self) -> str:
        return "shop.mail"

    def partition(self) -> int:
        return self.number

    def offset(self) -> int | None:
        return self.at  # the client's own are None where it has none


class FakeRecord(NoOffset):
    """A record."""

    def error(self) -> Any:
        return None


Heard = list[tuple[str, Any]]


@pytest.fixture
def heard() -> Heard:
    return []


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> group.GroupConsumer:
    monkeypatch.setattr(group, "Consumer", FakeConsumer)
    return group.GroupConsumer(
        Settings(),
        "shop.mail",
        ["shop.mail"],
        protocol="classic",
        on_assigned=lambda partitions: heard.append(("assigned", partitions)),
        on_revoked=lambda partitions: heard.append(("revoked", partitions)),
        on_lost=lambda partitions: heard.append(("lost", partitions)),
    )


def test_lost_partitions_are_told_apart_from_those_taken_back(
    member: group.GroupConsumer, heard: Heard
) -> None:
    consumer: Any = member._consumer

    for name in ("on_assign", "on_revoke", "on_lost"):
        consumer.callbacks[name](consumer, [TopicPartition("shop.mail", 3)])

    where = [("shop.mail", 3)]
    assert heard == [("assigned", where), ("revoked", where), ("lost", where)]


@pytest.mark.parametrize("which", [3, 4])
def test_a_record_of_an_assignment_that_is_over_is_not_taken_for_the_next_ones(
    member: group.GroupConsumer, which: int
) -> None:
    # given a record, and a partition that goes and comes back before the rest is taken
    consumer: Any = member._consumer
    consumer.callbacks["on_assign"](consumer, [TopicPartition("shop.mail", n) for n in (3, 4)])
    record = FakeRecord(3)
    consumer.queue = [record]

    def goes_and_comes_back(*_: Any) -> list[Any]:
        for name in ("on_revoke", "on_assign"):
            consumer.callbacks[name](consumer, [TopicPartition("shop.mail", which)])
        return []

    consumer.consume = goes_and_comes_back

    # then it is dropped where that was its own, which is read again from what is committed
    assert member.poll(0).messages == ([] if which == record.partition() else [record])


def test_who_is_in_no_group_commits_nothing_of_what_it_still_holds(
    member: group.GroupConsumer,
) -> None:
    consumer: Any = member._consumer
    consumer.callbacks["on_assign"](consumer, [TopicPartition("shop.mail", 3)])
    offsets = {("shop.mail", 3): (7, "x"), ("shop.mail", 4): (7, "x")}
    assert [(p.partition, p.offset, p.metadata) for p in member.offsets(offsets)] == [(3, 7, "x")]

    consumer.member = ""

    with pytest.raises(membership.NotAMember, match=r"shop\.mail"):
        member.offsets(offsets)


def test_where_nothing_was_committed_a_partition_begins_at_its_beginning_once(
    member: group.GroupConsumer,
) -> None:
    # Given three partitions that an eager assignor gave, and that have no offsets
    consumer: Any = member._consumer
    consumer.owned = [3, 4, 5]

    # When it is told of each, of the first twice, after its first records were handed over
    consumer.queue = [NoOffset(3), NoOffset(4)]
    member.poll(0)
    first = consumer.placed
    member.poll(0)
    second = consumer.placed
    consumer.at[3] = 7
    consumer.queue, consumer.placed = [NoOffset(3)], []
    member.poll(0)
    again = consumer.placed
    consumer.queue = [NoOffset(5)]
    member.poll(0)

    # Then each begins at its beginning once, and goes on where it is when others begin
    assert first == [(3, OFFSET_BEGINNING), (4, OFFSET_INVALID), (5, OFFSET_INVALID)]
    assert sorted(second) == [(3, OFFSET_BEGINNING), (4, OFFSET_BEGINNING), (5, OFFSET_INVALID)]
    assert again == []
    assert sorted(consumer.placed) == [(3, 7), (4, OFFSET_BEGINNING), (5, OFFSET_BEGINNING)]

    # And when they are assigned anew, the same may be told again
    consumer.callbacks["on_assign"](consumer, [TopicPartition("shop.mail", 3)])
    consumer.at.clear()
    consumer.queue, consumer.placed = [NoOffset(3)], []
    member.poll(0)
    assert (3, OFFSET_BEGINNING) in consumer.placed


def test_an_offset_that_the_log_does_not_have_is_told_and_where_it_was_cut_off(
    member: group.GroupConsumer,
) -> None:
    # Given what librdkafka says of an offset out of range, and of logs cut off before an election
    gone = "fetch failed due to requested offset not available on the broker: Broker: out of range"
    cut = (
        "Partition log truncation detected at offset 50 (leader epoch 3): broker end offset is 20 "
        "(offset leader epoch 2). Reset to INVALID.: Local: Partition log truncation detected"
    )
    older = (
        "No epoch found less or equal to offset 50 (leader epoch 3): broker end offset is -1 "
        "(offset leader epoch -1). Reset using configured policy.: "
        "Local: Partition log truncation detected (broker 1)"
    )
    consumer: Any = member._consumer
    consumer.queue = [NoOffset(3, gone, 50), NoOffset(3, cut), NoOffset(3, older, 50)]

    told = [stray for _ in range(3) for stray in member.poll(0).strayed]

    assert [(stray.offset, stray.cut) for stray in told] == [(50, None), (0, 20), (50, 0)]


def test_a_commit_that_one_partition_refuses_is_refused(member: group.GroupConsumer) -> None:
    class Result(TopicPartition):
        error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)

    consumer: Any = member._consumer
    consumer.results = [TopicPartition("shop.mail", 3, 7), Result("shop.mail", 4, 7)]

    with pytest.raises(membership.CommitRefused, match=r"shop\.mail\[4\]"):
        member.commit([])


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        (KafkaError.REBALANCE_IN_PROGRESS, False),
        (KafkaError.UNKNOWN_MEMBER_ID, True),
        (KafkaError._WAIT_COORD, False),
    ],
)
def test_a_commit_that_fails_as_the_group_changes_is_refused_and_no_more(
    member: group.GroupConsumer, code: int, gone: bool
) -> None:
    consumer: Any = member._consumer
    consumer.refusal = KafkaException(KafkaError(code))

    with pytest.raises(membership.CommitRefused) as refused:
        member.commit([])

    assert refused.value.gone is gone


class Refused(TopicPartition):
    """What the client tells of a partition whose offset was not taken."""

    error = KafkaError(KafkaError.REBALANCE_IN_PROGRESS)


@pytest.mark.parametrize(
    ("error", "partitions", "told"),
    [
        (KafkaError(KafkaError.REBALANCE_IN_PROGRESS), [], KafkaError.REBALANCE_IN_PROGRESS),
        (None, [TopicPartition("shop.mail", 3), Refused("shop.mail", 4)], Refused.error.code()),
        (None, [TopicPartition("shop.mail", 3)], None),
    ],
    ids=["all", "one of them", "none"],
)
def test_what_became_of_a_commit_that_was_not_waited_for_is_told_once(
    member: group.GroupConsumer,
    error: KafkaError | None,
    partitions: list[TopicPartition],
    told: int | None,
) -> None:
    consumer: Any = member._consumer
    answers: list[Any] = []
    member.begin_commit([], answers.append)

    for _ in range(2):
        consumer.config["on_commit"](error, partitions)

    assert [None if each is None else each.code() for each in answers] == [told]


def test_where_its_offset_is_not_in_the_log_a_member_is_sent_nowhere_else(
    member: group.GroupConsumer,
) -> None:
    consumer: Any = member._consumer

    assert consumer.config["auto.offset.reset"] == "error"


def test_as_it_leaves_the_client_is_not_asked_for_its_assignment(
    member: group.GroupConsumer,
) -> None:
    """Its answer is an error that no ``except`` catches."""
    consumer: Any = member._consumer
    consumer.callbacks["on_assign"](consumer, [TopicPartition("shop.mail", 3)])
    consumer.assignment = None

    (offset,) = member.offsets({("shop.mail", 3): (7, ""), ("shop.mail", 4): (1, "")})

    assert (offset.partition, offset.offset) == (3, 7)


def test_what_was_given_is_known_until_it_is_taken_away(member: group.GroupConsumer) -> None:
    consumer: Any = member._consumer
    places = [TopicPartition("shop.mail", number) for number in (3, 4, 5)]

    consumer.callbacks["on_assign"](consumer, places)
    assert member.given == {("shop.mail", 3), ("shop.mail", 4), ("shop.mail", 5)}
    consumer.callbacks["on_revoke"](consumer, places[:1])
    consumer.callbacks["on_lost"](consumer, places[1:2])
    assert member.given == {("shop.mail", 5)}


class Fatal(NoOffset):
    """An event that a consumer does not survive."""

    def __init__(self, code: int) -> None:
        super().__init__(0, KafkaError(code).str())

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._FATAL, f"Fatal error: {self.text}")


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (KafkaError.GROUP_ID_NOT_FOUND, membership.GroupForgotten, "Start the worker again"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, membership.GroupDenied, "--operation"),
        (KafkaError.FENCED_INSTANCE_ID, membership.InstanceIdTaken, "GROUP_INSTANCE_ID"),
    ],
)
def test_what_ends_a_member_is_told_with_what_to_do(
    member: group.GroupConsumer, code: int, error: type[Exception], told: str
) -> None:
    consumer: Any = member._consumer
    consumer.queue = [Fatal(code)]

    with pytest.raises(error, match="group shop") as caught:
        member.poll(0)

    assert told in str(caught.value)
